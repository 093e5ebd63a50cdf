"""RpcManagementOptions: query strings of the local RPC endpoint (specs/sdk.md 2.12)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from durable_ext import EntityId, OrchestrationRuntimeStatus

from ..constants import DATETIME_STRING_FORMAT


class RpcManagementOptions:
    """What a request asks for; `to_url` writes it."""

    def __init__(
        self,
        instance_id: str | None = None,
        task_hub_name: str | None = None,
        connection_name: str | None = None,
        show_history: bool | None = None,
        show_history_output: bool | None = None,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None = None,
        show_input: bool | None = None,
        operation_name: str | None = None,
        entity_Id: EntityId | None = None,
        instance_id_prefix: str | None = None,
    ) -> None:
        self._instance_id, self._entity_id = instance_id, entity_Id
        self._query: list[tuple[str, Any]] = [
            ("taskHub", task_hub_name),
            ("connectionName", connection_name),
            ("showInput", show_input),
            ("showHistory", show_history),
            ("showHistoryOutput", show_history_output),
            ("createdTimeFrom", _time_text(created_time_from)),
            ("createdTimeTo", _time_text(created_time_to)),
            ("op", operation_name),
            ("instanceIdPrefix", None if entity_Id or instance_id else instance_id_prefix),
            ("runtimeStatus", ",".join(status.value for status in runtime_status or ())),
        ]

    def to_url(self, base_url: str | None) -> str:
        """Return the URL; the base ends with `/`.

        Raises:
            ValueError: There is no base.
        """
        if base_url is None:
            raise ValueError("orchestration bindings has not RPC base url")
        if self._entity_id:
            path = EntityId.get_entity_id_url_path(self._entity_id)
        else:
            path = f"instances/{self._instance_id or ''}"
        query = "&".join(f"{name}={value}" for name, value in self._query if value)
        return f"{base_url}{path}" + (f"?{query}" if query else "")


def _time_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime(DATETIME_STRING_FORMAT)


__all__ = ["RpcManagementOptions"]
