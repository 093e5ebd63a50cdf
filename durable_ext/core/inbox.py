"""Which messages of a batch an instance takes: discard and auto-start rules, the same for every store.

Rules: specs/azure-storage.md 8.6 and 10.2; specs/execution-semantics.md 14.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from durable_ext.core.entities.ids import is_entity_instance
from durable_ext.core.events import (
    EventRaised,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    HistoryEvent,
    OrchestrationStatus,
)
from durable_ext.core.instances import InstanceUpdate
from durable_ext.core.messages import ExecutionId, OrchestrationInstance, ReceivedMessage
from durable_ext.core.received import was_received
from durable_ext.core.runtime_state import RuntimeState

_PATIENCE: Final = 5
_CONTROL: Final = (ExecutionTerminated, ExecutionSuspended, ExecutionResumed)
_NO_EXECUTION: Final = ExecutionId("")


class AdmissionKind(Enum):
    """What to do with a batch of messages.

    PLAY: run an episode with the events; none if what history has came again, which wakes the instance. DISCARD: consume
    everything, there is nothing to run. ABANDON: give the messages back with back-off, the start may still come.
    TERMINATED_BEFORE_START: consume everything and write `update`.
    """

    PLAY = "play"
    DISCARD = "discard"
    ABANDON = "abandon"
    TERMINATED_BEFORE_START = "terminated before start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The verdict on a batch.

    Attributes:
        kind: What to do.
        events: What the episode gets, the start first.
        dropped: Messages of the batch that are consumed without effect.
        update: For TERMINATED_BEFORE_START the row; for DISCARD of an ended instance what its row should say.
        restarts: The events start a new run; the state so far belongs to an ended one.
        reason: For ABANDON because this worker must not run the instance: why, for people.
    """

    kind: AdmissionKind
    events: tuple[HistoryEvent, ...] = ()
    dropped: tuple[ReceivedMessage, ...] = ()
    update: InstanceUpdate | None = None
    restarts: bool = False
    reason: str | None = None


def admit(
    state: RuntimeState, messages: Sequence[ReceivedMessage], new_execution_id: Callable[[], ExecutionId]
) -> Admission:
    """Judge a non-empty batch of messages, all for the instance that `state` belongs to."""
    restarts = False
    if state.is_terminal:
        if not _has_new_start(state, messages):
            return Admission(kind=AdmissionKind.DISCARD, dropped=tuple(messages), update=row_of_ended(state))
        state, restarts = RuntimeState(), True
    started = state.started
    lead: tuple[HistoryEvent, ...] = ()
    if started is None:
        start = _first_start(messages)
        if start is not None:
            started, lead = start, (start,)
        elif _starts_entity(messages):
            started = _entity_start(messages[0], new_execution_id())
            lead = (started,)
        else:
            return _without_start(messages)
    execution_id = started.instance.execution_id
    events: list[HistoryEvent] = []
    dropped: list[ReceivedMessage] = []
    repeated: list[ReceivedMessage] = []
    for received in messages:
        message = received.message
        target = message.target.execution_id
        if message.event is started:
            continue
        is_repeated = received.dequeue_count > 1 or received.is_old
        is_foreign = isinstance(message.event, ExecutionStarted) or (target and execution_id and target != execution_id)
        if is_foreign or (is_repeated and _is_for_former_run(started, message.event)):
            dropped.append(received)
        elif is_repeated and was_received(state.events, message.event):
            repeated.append(received)
        else:
            events.append(message.event)
    dropped += repeated
    if not (events or lead or repeated) and not _repeats_start(dropped, execution_id):
        return Admission(kind=AdmissionKind.DISCARD, dropped=tuple(dropped))
    return Admission(kind=AdmissionKind.PLAY, events=(*lead, *events), dropped=tuple(dropped), restarts=restarts)


def _has_new_start(state: RuntimeState, messages: Sequence[ReceivedMessage]) -> bool:
    return any(
        isinstance(received.message.event, ExecutionStarted)
        and received.message.event.instance.execution_id != state.execution_id
        for received in messages
    )


def _repeats_start(dropped: Sequence[ReceivedMessage], execution_id: ExecutionId | None) -> bool:
    """Whether the start message of this generation came again: a worker died that had kept it as the wake-up (rule R6)."""
    return any(
        isinstance(received.message.event, ExecutionStarted) and received.message.event.instance.execution_id == execution_id
        for received in dropped
    )


def _is_for_former_run(started: ExecutionStarted, event: HistoryEvent) -> bool:
    """Whether what was delivered before was done to a generation that is over: its message could not be deleted then.

    Only of one that a client has started is the time known, by its generation: one without may have continued as new.
    The first one of an id, number 0, follows none: a message that is older came from a clock that is behind.
    """
    return event.__class__ in _CONTROL and bool(started.generation) and event.timestamp < started.timestamp


def _first_start(messages: Sequence[ReceivedMessage]) -> ExecutionStarted | None:
    for received in messages:
        event = received.message.event
        if isinstance(event, ExecutionStarted):
            return event
    return None


def _starts_entity(messages: Sequence[ReceivedMessage]) -> bool:
    first = messages[0].message
    return (
        is_entity_instance(first.target.instance_id)
        and isinstance(first.event, EventRaised)
        and not first.target.execution_id
    )


def _entity_start(received: ReceivedMessage, execution_id: ExecutionId) -> ExecutionStarted:
    instance_id = received.message.target.instance_id
    return ExecutionStarted(
        timestamp=received.message.event.timestamp,
        instance=OrchestrationInstance(instance_id=instance_id, execution_id=execution_id),
        name=instance_id,
        version="",
    )


def _without_start(messages: Sequence[ReceivedMessage]) -> Admission:
    for received in messages:
        event = received.message.event
        if isinstance(event, ExecutionTerminated):
            update = InstanceUpdate(
                execution_id=received.message.target.execution_id or _NO_EXECUTION,
                last_updated_at=event.timestamp,
                custom_status=None,
                status=OrchestrationStatus.TERMINATED,
                output=event.input,
                completed_at=event.timestamp,
            )
            return Admission(kind=AdmissionKind.TERMINATED_BEFORE_START, dropped=tuple(messages), update=update)
    # The start may be late: a message that came before it is offered again, but not for ever.
    if any(received.dequeue_count <= _PATIENCE for received in messages):
        return Admission(kind=AdmissionKind.ABANDON, dropped=tuple(messages))
    return Admission(kind=AdmissionKind.DISCARD, dropped=tuple(messages))


def row_of_ended(state: RuntimeState) -> InstanceUpdate | None:
    """Return what the row of an ended instance says, for repairing it; `None` if the generation has not ended."""
    started, completed = state.started, state.completed
    if started is None or completed is None:
        return None
    failure = completed.failure
    return InstanceUpdate(
        execution_id=started.instance.execution_id or _NO_EXECUTION,
        last_updated_at=state.events[-1].timestamp,
        custom_status=None,
        status=completed.status,
        name=started.name,
        version=started.version,
        input=started.input,
        output=f"{failure.error_type}: {failure.error_message}" if failure is not None else completed.result,
        created_at=started.timestamp,
        completed_at=completed.timestamp,
        scheduled_start_at=started.scheduled_start_time,
        tags=started.tags,
    )
