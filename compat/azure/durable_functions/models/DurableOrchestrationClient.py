"""The client: as that of `durable_ext`, but events arrive as JSON text, as 1.x sends them (specs/sdk.md 7, row 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import durable_ext
from durable_ext.sdk.bindings import origin_of
from durable_ext.sdk.orchestration_client import purged

from .PurgeHistoryResult import PurgeHistoryResult
from .utils.df_serialization import df_dumps

if TYPE_CHECKING:
    from durable_ext.sdk.engine_client import EngineOrchestrationClient


class DurableOrchestrationClient(durable_ext.DurableOrchestrationClient):
    """See `durable_ext.DurableOrchestrationClient`."""

    _is_1x: ClassVar[bool] = True

    @staticmethod
    def _replace_url_origin(request_url: str, value_url: str) -> str:
        """Return `value_url` at the scheme and authority of `request_url`."""
        wanted, parts = origin_of(request_url), urlsplit(value_url)
        return value_url.replace(f"{parts.scheme}://{parts.netloc}/", f"{wanted}/")

    @staticmethod
    def _parse_purge_instance_history_response(response: list[Any]) -> PurgeHistoryResult:
        """Return what was purged according to `[status, body]`."""
        return purged(*response)

    @staticmethod
    def _get_json_input(client_input: Any) -> str | None:
        return None if client_input is None else df_dumps(client_input)

    @classmethod
    def engine_class(cls) -> type[EngineOrchestrationClient]:
        """Return the class of the client on the engine of this process."""
        from .._engine_client import EngineClient

        return EngineClient


__all__ = ["DurableOrchestrationClient"]
