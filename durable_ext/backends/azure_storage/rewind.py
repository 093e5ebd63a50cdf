"""Rewinds a failed instance and its failed children, row by row as the provider does.

Source: specs/azure-storage.md 9.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.azure_storage.history_table import HistoryTable, current_generation
from durable_ext.backends.azure_storage.instances_table import InstancesTable
from durable_ext.backends.azure_storage.key_encoding import escape_key
from durable_ext.backends.azure_storage.transport.edm import EdmValue, Row
from durable_ext.backends.azure_storage.transport.table import Change, TableChange, TableVerbs, literal
from durable_ext.core.messages import InstanceId
from durable_ext.core.timestamps import ticks_from_datetime
from durable_ext.errors import InstanceNotFoundError

_GENERIC: Final = "GenericEvent"
_FAILURES: Final = frozenset({"TaskFailed", "SubOrchestrationInstanceFailed"})


class Rewind:
    """Rewrites histories of one hub."""

    def __init__(
        self, *, tables: TableVerbs, history_table: str, history: HistoryTable, instances: InstancesTable, clock: Clock
    ) -> None:
        self._tables, self._history_table = tables, history_table
        self._history, self._instances, self._clock = history, instances, clock

    async def rewind(self, instance_id: InstanceId) -> list[InstanceId]:
        """Clear the failures of an instance and of its failed children; return the leaves, to be woken.

        Rows are replaced one by one, each with its ETag; after a crash the call can be repeated.

        Raises:
            InstanceNotFoundError: There is no history.
        """
        rows = await self._generation(instance_id)
        if not rows:
            raise InstanceNotFoundError(instance_id)
        leaves: list[InstanceId] = []
        for row in rows:
            kind = row.entity.get("EventType")
            if kind not in _FAILURES and row.entity.get("OrchestrationStatus") != "Failed":
                continue
            if kind == "TaskFailed":
                await self._clear_cause(rows, row, "TaskScheduled", {"EventType": _GENERIC})
            elif kind == "SubOrchestrationInstanceFailed":
                cause = await self._clear_cause(rows, row, "SubOrchestrationInstanceCreated", {})
                child = cause.entity.get("InstanceId") if cause is not None else None
                if isinstance(child, str):
                    leaves += await self.rewind(InstanceId(child))
            await self._replace(row, {"Reason": f"Rewound: {kind}", "EventType": _GENERIC})
        now = ticks_from_datetime(self._clock.now())
        await self._instances.set_pending(instance_id, now)
        return leaves or [instance_id]

    async def _generation(self, instance_id: InstanceId) -> list[Row]:
        rows = await self._history.rows(f"PartitionKey eq {literal(escape_key(instance_id))}")
        # The reference takes the greatest OrchestratorStarted, which may be a leftover of an older generation.
        return current_generation(rows)[1]

    async def _clear_cause(self, rows: list[Row], failure: Row, kind: str, also: Mapping[str, EdmValue]) -> Row | None:
        wanted = failure.entity.get("TaskScheduledId")
        for row in rows:
            if row.entity.get("EventType") == kind and row.entity.get("EventId") == wanted:
                await self._replace(row, {"Reason": f"Rewound: {kind}", **also})
                return row
        return None

    async def _replace(self, row: Row, changed: Mapping[str, EdmValue]) -> None:
        entity = {**row.entity, **changed}
        await self._tables.apply(self._history_table, TableChange(Change.REPLACE, entity, row.etag))
