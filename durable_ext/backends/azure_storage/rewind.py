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
_CHILD_CREATED: Final = "SubOrchestrationInstanceCreated"
_CHILD_FAILED: Final = "SubOrchestrationInstanceFailed"
_FAILURES: Final = frozenset({"TaskFailed", _CHILD_FAILED})


class Rewind:
    """Rewrites histories of one hub."""

    def __init__(
        self, *, tables: TableVerbs, history_table: str, history: HistoryTable, instances: InstancesTable, clock: Clock
    ) -> None:
        self._tables, self._history_table = tables, history_table
        self._history, self._instances, self._clock = history, instances, clock

    async def rewind(self, instance_id: InstanceId) -> list[InstanceId]:
        """Clear the failures of an instance and of its failed children; return the instances to be woken.

        Rows are replaced one by one, each with its ETag, the end of an instance last. So after a crash the call can be
        repeated, also where the reference would no longer find the children that failed. Instances that do not stand at
        a failed end (any more) keep their rows, against the reference, which would clear what they caught meanwhile:
        those that have not ended are woken, because the call that cleared them may not have come to that.

        Raises:
            InstanceNotFoundError: There is no history.
        """
        rows = await self._generation(instance_id)
        if not rows:
            raise InstanceNotFoundError(instance_id)
        end = _end_of(rows)
        if end is not None and end != "Failed":
            return []
        leaves: list[InstanceId] = []
        is_repeated = end is None
        for row in rows:
            kind = row.entity.get("EventType")
            if _is_unanswered(row, rows):
                is_repeated = True
                leaves += await self._rewind_child(_cause_of(rows, row, _CHILD_CREATED))
                continue
            if end is None or (kind not in _FAILURES and row.entity.get("OrchestrationStatus") != "Failed"):
                continue
            if kind == "TaskFailed":
                await self._clear_cause(rows, row, "TaskScheduled", {"EventType": _GENERIC})
            elif kind == _CHILD_FAILED:
                leaves += await self._rewind_child(await self._clear_cause(rows, row, _CHILD_CREATED, {}))
            await self._replace(row, {"Reason": f"Rewound: {kind}", "EventType": _GENERIC})
        if end is not None:
            await self._instances.set_pending(instance_id, ticks_from_datetime(self._clock.now()))
        return [*leaves, instance_id] if is_repeated or not leaves else leaves

    async def _generation(self, instance_id: InstanceId) -> list[Row]:
        rows = await self._history.rows(f"PartitionKey eq {literal(escape_key(instance_id))}")
        # The reference takes the greatest OrchestratorStarted, which may be a leftover of an older generation.
        return current_generation(rows)[1]

    async def _clear_cause(self, rows: list[Row], failure: Row, kind: str, also: Mapping[str, EdmValue]) -> Row | None:
        cause = _cause_of(rows, failure, kind)
        if cause is not None:
            await self._replace(cause, {"Reason": f"Rewound: {kind}", **also})
        return cause

    async def _rewind_child(self, created: Row | None) -> list[InstanceId]:
        child = created.entity.get("InstanceId") if created is not None else None
        return await self.rewind(InstanceId(child)) if isinstance(child, str) else []

    async def _replace(self, row: Row, changed: Mapping[str, EdmValue]) -> None:
        entity = {**row.entity, **changed}
        await self._tables.apply(self._history_table, TableChange(Change.REPLACE, entity, row.etag))


def _cause_of(rows: list[Row], failure: Row, kind: str) -> Row | None:
    wanted = failure.entity.get("TaskScheduledId")
    return next(
        (row for row in rows if row.entity.get("EventType") == kind and row.entity.get("EventId") == wanted),
        None,
    )


def _is_unanswered(failure: Row, rows: list[Row]) -> bool:
    """Whether the failure of a child was cleared before, and the child has not ended since.

    A rewind that broke off may not have woken it, and a second one does not find it by its failure any more: the
    reference wakes only the parent then, which waits for ever.
    """
    if failure.entity.get("Reason") != f"Rewound: {_CHILD_FAILED}":
        return False
    wanted = failure.entity.get("TaskScheduledId")
    ends = (_CHILD_FAILED, "SubOrchestrationInstanceCompleted")
    return not any(row.entity.get("EventType") in ends and row.entity.get("TaskScheduledId") == wanted for row in rows)


def _end_of(rows: list[Row]) -> EdmValue | None:
    """Return the status with which a generation has ended, if it has; a rewind that is complete takes the end away."""
    return next(
        (row.entity.get("OrchestrationStatus") for row in rows if row.entity.get("EventType") == "ExecutionCompleted"), None
    )
