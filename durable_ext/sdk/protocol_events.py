"""History events of the host's request → events of `core`; only those that a replay without comparison needs.

Timestamps other than OrchestratorStarted's are not read: parsing them is a third of the cost of a replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from durable_ext.core.events import (
    EventRaised,
    EventSent,
    ExecutionStarted,
    HistoryEvent,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TimerFired,
)
from durable_ext.core.messages import OrchestrationInstance
from durable_ext.core.timestamps import MIN_TICKS, ticks_from_iso

EXECUTION_STARTED: Final = 0
ORCHESTRATOR_STARTED: Final = 12

_Members = Mapping[str, Any]
_Reader = Callable[[_Members], HistoryEvent]


def core_events(history: Iterable[_Members], instance: OrchestrationInstance) -> Iterator[HistoryEvent]:
    """Yield the events that count for a replay, in order; others (21, newer ones) are passed over."""
    readers = _READERS
    for members in history:
        kind = members["EventType"]
        reader = readers.get(kind)
        if reader is not None:
            yield reader(members)
        elif kind == EXECUTION_STARTED:
            yield ExecutionStarted(
                timestamp=MIN_TICKS,
                is_played=members["IsPlayed"],
                instance=instance,
                name=members.get("Name") or "",
                version=members.get("Version"),
                input=members.get("Input"),
            )


def _orchestrator_started(members: _Members) -> OrchestratorStarted:
    return OrchestratorStarted(timestamp=ticks_from_iso(members["Timestamp"]))


def _success(kind: type[TaskCompleted] | type[SubOrchestrationInstanceCompleted]) -> _Reader:
    def read(members: _Members) -> HistoryEvent:
        return kind(
            timestamp=MIN_TICKS,
            is_played=members["IsPlayed"],
            task_scheduled_id=members["TaskScheduledId"],
            result=members.get("Result"),
        )

    return read


def _failure(kind: type[TaskFailed] | type[SubOrchestrationInstanceFailed]) -> _Reader:
    def read(members: _Members) -> HistoryEvent:
        return kind(
            timestamp=MIN_TICKS,
            is_played=members["IsPlayed"],
            task_scheduled_id=members["TaskScheduledId"],
            reason=members.get("Reason"),
            details=members.get("Details"),
        )

    return read


def _timer_fired(members: _Members) -> TimerFired:
    return TimerFired(timestamp=MIN_TICKS, is_played=members["IsPlayed"], timer_id=members["TimerId"], fire_at=MIN_TICKS)


def _event_sent(members: _Members) -> EventSent:
    return EventSent(
        timestamp=MIN_TICKS,
        event_id=members["EventId"],
        instance_id=members.get("InstanceId") or "",
        name=members.get("Name") or "",
        input=members.get("Input"),
    )


def _event_raised(members: _Members) -> EventRaised:
    return EventRaised(
        timestamp=MIN_TICKS,
        is_played=members["IsPlayed"],
        name=members.get("Name") or "",
        input=members.get("Input"),
    )


_READERS: Final[dict[int, _Reader]] = {
    ORCHESTRATOR_STARTED: _orchestrator_started,
    5: _success(TaskCompleted),
    6: _failure(TaskFailed),
    8: _success(SubOrchestrationInstanceCompleted),
    9: _failure(SubOrchestrationInstanceFailed),
    11: _timer_fired,
    14: _event_sent,
    15: _event_raised,
}
