"""Rewinds a failed instance and its failed children, row by row as the provider does.

Source: specs/azure-storage.md 9.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.azure_storage.event_columns import event_from_columns
from durable_ext.backends.azure_storage.history_table import HistoryTable, current_generation
from durable_ext.backends.azure_storage.instances_table import InstancesTable
from durable_ext.backends.azure_storage.key_encoding import escape_key
from durable_ext.backends.azure_storage.transport.edm import EdmValue, Row
from durable_ext.backends.azure_storage.transport.errors import (
    StorageNotFoundError,
    StoragePreconditionError,
    StorageResourceMissingError,
)
from durable_ext.backends.azure_storage.transport.table import Change, TableChange, TableVerbs, literal
from durable_ext.core.events import EventSent, GenericEvent, HistoryEvent, OrchestrationStatus
from durable_ext.core.ids import is_same_execution
from durable_ext.core.messages import InstanceId, OrchestrationInstance, TaskMessage
from durable_ext.core.rewind import ChildCall, ChildVerdict, answer_of, end_of, judge_child, plan_rewind, undone_request
from durable_ext.core.runtime_state import started_in
from durable_ext.core.timestamps import Ticks, ticks_from_datetime
from durable_ext.errors import InstanceNotFoundError, MissingPayloadError

_GENERIC: Final = "GenericEvent"
_UNREAD: Final = frozenset({"FailureDetails", "Tags"})  # they may be empty because a blob holds them, which is no JSON
_BAD_ENDS: Final = frozenset({OrchestrationStatus.FAILED, OrchestrationStatus.TERMINATED, OrchestrationStatus.CANCELED})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Generation:
    """The current rows of an instance, with ETags, and what they say, large texts left out; empty if there are none."""

    rows: Sequence[Row]
    events: Sequence[HistoryEvent]

    @property
    def was_rewound(self) -> bool:
        """Whether it has had an end, which keeps its status when it is cleared."""
        return any(row.entity.get("EventType") == _GENERIC and "OrchestrationStatus" in row.entity for row in self.rows)


@dataclass(slots=True)
class _Call:
    """One call of `rewind`.

    Attributes:
        reason: Of the messages that wake.
        cleared: Instances that it has cleared; whether they have children, all rewound, that will wake them.
        woken: Instances that it has come to in step 2.
    """

    reason: str
    cleared: dict[InstanceId, bool] = field(default_factory=dict)
    woken: set[InstanceId] = field(default_factory=set)


class Rewind:
    """Rewrites histories of one hub."""

    def __init__(
        self, *, tables: TableVerbs, history_table: str, history: HistoryTable, instances: InstancesTable, clock: Clock
    ) -> None:
        self._tables, self._history_table = tables, history_table
        self._history, self._instances, self._clock = history, instances, clock

    async def rewind(self, instance_id: InstanceId, reason: str) -> list[TaskMessage]:
        """Clear the failures of an instance and of its failed children; return the messages that make them go on.

        Order: 1 of each instance, children before what waits for them: its history, its end last, each row with its ETag,
        then its row; 2 the messages, which the caller sends. So after a crash the call can be repeated, also where the
        reference would no longer find the children that failed: what has no end is woken once more. Instances that do not
        stand at a failed end (any more) keep their history, against the reference, which would clear what they caught
        meanwhile. An answer that is made between 1 of a child and 1 of its parent was dropped: 2 finds and sends it.

        Raises:
            InstanceNotFoundError: There is no history.
        """
        call = _Call(reason)
        while True:
            call.woken.clear()
            try:
                found = await self._read(instance_id)
                if not found.rows:
                    raise InstanceNotFoundError(instance_id)
                end = end_of(found.events)
                if end is OrchestrationStatus.FAILED:
                    await self._clear(instance_id, found, call, frozenset({instance_id}))
                return [] if end not in (None, OrchestrationStatus.FAILED) else await self._wake(instance_id, call)
            except StorageResourceMissingError:
                raise
            except (StoragePreconditionError, StorageNotFoundError):
                continue  # another client rewinds or purges it at this moment, and has got on

    async def _read(self, instance_id: InstanceId) -> _Generation:
        rows = await self._history.rows(f"PartitionKey eq {literal(escape_key(instance_id))}")
        # The reference takes the greatest OrchestratorStarted, which may be a leftover of an older generation.
        rows = current_generation(rows)[1]
        events = [
            event_from_columns({name: value for name, value in row.entity.items() if name not in _UNREAD}) for row in rows
        ]
        return _Generation(rows=rows, events=events)

    async def _clear(self, instance_id: InstanceId, found: _Generation, call: _Call, above: frozenset[InstanceId]) -> None:
        """Step 1, for what stands at a failed end; `above` = it and those that wait for it."""
        events = [await self._with_request(*each) for each in zip(found.rows, found.events, strict=True)]
        plan = plan_rewind(events)
        verdicts = [await self._clear_child(instance_id, one, found.rows[one.created], call, above) for one in plan.calls]
        for index in plan.neutralized:
            await self._neutralize(found.rows[index], undone_request(events[index]))
        await self._show_pending(instance_id)
        call.cleared[instance_id] = bool(verdicts) and all(verdict is ChildVerdict.REWIND for verdict in verdicts)

    async def _clear_child(
        self, parent: InstanceId, called: ChildCall, created: Row, call: _Call, above: frozenset[InstanceId]
    ) -> ChildVerdict:
        child = await self._read(called.child)
        verdict = judge_child(child.events, parent=parent, task_id=called.task_id)
        if verdict is ChildVerdict.CALL_AGAIN:
            await self._neutralize(created)
        elif verdict is ChildVerdict.REWIND and called.child not in above:
            if called.has_failed:
                await self._replace(created, {"Reason": f"Rewound: {created.entity['EventType']}"})
            await self._clear(called.child, child, call, above | {called.child})
        return verdict

    async def _wake(self, instance_id: InstanceId, call: _Call) -> list[TaskMessage]:
        """Step 2, for what has no end, and for the children that it waits for if they have been rewound."""
        found = await self._read(instance_id)
        if instance_id in call.woken or not found.rows or end_of(found.events) is not None:
            return []  # it has gone on and ended meanwhile
        call.woken.add(instance_id)
        messages: list[TaskMessage] = []
        for called in plan_rewind(found.events).calls:
            if not called.has_failed:
                messages += await self._wake_child(instance_id, called, call)
        if instance_id not in call.cleared:
            await self._show_pending(instance_id)  # the call that cleared it may not have come to that
        if not call.cleared.get(instance_id, False):
            messages.append(_message(instance_id, GenericEvent(timestamp=self._now(), data=call.reason)))
        return messages

    async def _wake_child(self, parent: InstanceId, called: ChildCall, call: _Call) -> list[TaskMessage]:
        child = await self._read(called.child)
        verdict = judge_child(child.events, parent=parent, task_id=called.task_id)
        if verdict is ChildVerdict.ANSWER:
            whole = await self._history.load(called.child)
            if end_of(whole.events) is OrchestrationStatus.COMPLETED:
                return [_message(parent, answer_of(whole.events, called, at=self._now()))]
        elif verdict is ChildVerdict.REWIND:
            await self._clear(called.child, child, call, frozenset({parent, called.child}))
            return await self._wake(called.child, call)
        elif verdict is ChildVerdict.WAIT and child.was_rewound:
            return await self._wake(called.child, call)
        return []

    async def _show_pending(self, instance_id: InstanceId) -> None:
        """Let the row that shows a failed end say that there is none any more.

        Only as long as history says so after the row was read: what goes on meanwhile may fail again, and writes its row.
        """
        while True:
            stored = await self._instances.read(instance_id, with_payloads=False)
            if stored is None or stored.row.status not in _BAD_ENDS:
                return
            events = (await self._read(instance_id)).events
            if end_of(events) is not None or not _is_of_this_run(stored.row.execution_id, events):
                return
            try:
                await self._instances.set_pending(instance_id, self._now(), stored.etag)
                return
            except StoragePreconditionError:
                continue

    def _now(self) -> Ticks:
        return ticks_from_datetime(self._clock.now())

    async def _with_request(self, row: Row, event: HistoryEvent) -> HistoryEvent:
        """Return a row's event, and with its text if that is a request in a blob."""
        blob = row.entity.get("InputBlobName")
        if not isinstance(event, EventSent) or not isinstance(blob, str) or not blob:
            return event
        try:
            return replace(event, input=await self._history.text(blob))
        except MissingPayloadError:
            return event  # its generation is gone, and no row will be replaced

    async def _neutralize(self, row: Row, undone: str | None = None) -> None:
        changed = {"Reason": f"Rewound: {row.entity['EventType']}", "EventType": _GENERIC}
        await self._replace(row, changed if undone is None else {**changed, "Data": undone})

    async def _replace(self, row: Row, changed: Mapping[str, EdmValue]) -> None:
        entity = {**row.entity, **changed}
        await self._tables.apply(self._history_table, TableChange(Change.REPLACE, entity, row.etag))


def _is_of_this_run(execution_id: str | None, events: Sequence[HistoryEvent]) -> bool:
    """Whether a row that names this execution is not that of another run under the same id, whose row is not ours."""
    started = started_in(events)
    ours = started.instance.execution_id if started is not None else None
    return is_same_execution(execution_id, ours, if_unknown=True)


def _message(instance_id: InstanceId, event: HistoryEvent) -> TaskMessage:
    return TaskMessage(event=event, target=OrchestrationInstance(instance_id=instance_id))
