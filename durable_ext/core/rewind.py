"""Rewind: which events of a failed instance stop counting so that only its failed steps run again. Pure.

The provider's algorithm (specs/azure-storage.md 9.5), for every store: the caller rewrites the history, sets the row to
Pending, goes on with the children, and wakes each leaf with a GenericEvent whose data is the reason. Beyond it: what came
after an instance had ended was dropped, so what was still open then is asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from durable_ext.core.entities.messages import SentKind, sent_to_entity
from durable_ext.core.events import (
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionTerminated,
    GenericEvent,
    HistoryEvent,
    OrchestrationStatus,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from durable_ext.core.messages import InstanceId
from durable_ext.core.runtime_state import started_in
from durable_ext.core.timestamps import Ticks

_GOOD_END: Final = OrchestrationStatus.COMPLETED


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildCall:
    """A call of a sub-orchestration that has failed, or had no answer when its parent ended.

    Attributes:
        created: Index of its SubOrchestrationInstanceCreated.
        task_id: Its event id, which the answer names.
        child: The instance that was called.
        has_failed: False if it had no answer.
    """

    created: int
    task_id: int
    child: InstanceId
    has_failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RewindPlan:
    """What a rewind does to one instance; numbers are indexes into its history.

    Attributes:
        neutralized: Events that become GenericEvents in place, in order, the end of the instance last.
        calls: Those of children, in order; what becomes of them, their histories tell (`judge_child`).
    """

    neutralized: tuple[int, ...]
    calls: tuple[ChildCall, ...]


class ChildVerdict(Enum):
    """What the parent that is rewound may expect of a child."""

    REWIND = "it has failed or was terminated: rewound likewise, it answers"
    WAIT = "it goes on, and answers"
    ANSWER = "it has completed since, and its answer was dropped: the parent gets it again"
    CALL_AGAIN = "it is gone, or works for somebody else: the parent has to call it again"


def plan_rewind(history: Sequence[HistoryEvent]) -> RewindPlan:
    """Decide which events of the current generation, which has ended, a rewind takes out."""
    asked: dict[int, int] = {}
    created: dict[int, int] = {}
    failed: set[int] = set()
    neutralized: set[int] = set()
    for index, event in enumerate(history):
        if isinstance(event, (TaskScheduled, TimerCreated)):
            asked.setdefault(event.event_id, index)
        elif isinstance(event, SubOrchestrationInstanceCreated):
            created.setdefault(event.event_id, index)
        elif isinstance(event, TaskCompleted):
            asked.pop(event.task_scheduled_id, None)
        elif isinstance(event, TimerFired):
            asked.pop(event.timer_id, None)
        elif isinstance(event, SubOrchestrationInstanceCompleted):
            created.pop(event.task_scheduled_id, None)
        elif isinstance(event, SubOrchestrationInstanceFailed):
            neutralized.add(index)
            failed.add(event.task_scheduled_id)
        elif isinstance(event, (TaskFailed, ExecutionTerminated)) or _is_bad_end(event):
            neutralized.add(index)
    neutralized.update(asked.values())
    neutralized.update(_unanswered(history))
    return RewindPlan(
        neutralized=tuple(sorted(neutralized)),
        calls=tuple(_call(history, index, failed) for index in sorted(created.values())),
    )


def _unanswered(history: Sequence[HistoryEvent]) -> Iterator[int]:
    """Yield the calls of entities, and requests for their locks, that had no answer, with the releases of those locks.

    Releases of locks that nobody had are sent where the code ends, which may be before the instance does: an answer that
    came behind them is none, and taken out with them. So is what belongs to a request that is undone already: a rewind may
    have been broken off. The entities know all these: they are asked again by requests of other ids (`EntityCalls`).
    """
    waiting: dict[str, int] = {}
    given_up: set[str] = set()
    for index, event in enumerate(history):
        if isinstance(event, EventRaised):
            request_id = event.name.lower()
            if request_id in given_up:
                yield index
            else:
                waiting.pop(request_id, None)
        elif isinstance(event, EventSent):
            sent = sent_to_entity(event.name, event.input)
            if sent is None or sent.kind is SentKind.SIGNAL:
                continue
            if sent.kind is not SentKind.RELEASE:
                waiting[sent.request_id] = index
            elif sent.request_id in waiting or sent.request_id in given_up:
                given_up.add(sent.request_id)
                yield index
        elif isinstance(event, GenericEvent) and event.event_id != -1 and event.data is not None:
            given_up.add(event.data)
    yield from waiting.values()


def _call(history: Sequence[HistoryEvent], index: int, failed: set[int]) -> ChildCall:
    event = history[index]
    assert isinstance(event, SubOrchestrationInstanceCreated)
    child = InstanceId(event.instance_id)
    return ChildCall(created=index, task_id=event.event_id, child=child, has_failed=event.event_id in failed)


def _is_bad_end(event: HistoryEvent) -> bool:
    return isinstance(event, ExecutionCompleted) and event.status is not _GOOD_END


def judge_child(history: Sequence[HistoryEvent], *, parent: InstanceId, task_id: int) -> ChildVerdict:
    """Decide what becomes of a child; of its history only start and end count."""
    started = started_in(history)
    caller = started.parent if started is not None else None
    if caller is None or (caller.instance.instance_id, caller.task_schedule_id) != (parent, task_id):
        return ChildVerdict.CALL_AGAIN
    end = end_of(history)
    if end is None:
        return ChildVerdict.WAIT
    return ChildVerdict.ANSWER if end is _GOOD_END else ChildVerdict.REWIND


def end_of(history: Sequence[HistoryEvent]) -> OrchestrationStatus | None:
    """Return the status with which a generation has ended, if it has.

    Only one that stands at a failed end is rewound: what runs (again) may have caught the failures in its history.
    """
    return next((event.status for event in history if isinstance(event, ExecutionCompleted)), None)


def answer_of(history: Sequence[HistoryEvent], call: ChildCall, *, at: Ticks) -> SubOrchestrationInstanceCompleted:
    """Return the answer of a child that has completed, as its parent gets it."""
    end = next(event for event in history if isinstance(event, ExecutionCompleted))
    return SubOrchestrationInstanceCompleted(timestamp=at, task_scheduled_id=call.task_id, result=end.result)


def rewound(history: Sequence[HistoryEvent], neutralized: Sequence[int]) -> tuple[HistoryEvent, ...]:
    """Return the history with these events neutralized: they keep their place, time and event id."""
    events = list(history)
    for index in neutralized:
        event = events[index]
        events[index] = GenericEvent(
            timestamp=event.timestamp, event_id=event.event_id, is_played=event.is_played, data=undone_request(event)
        )
    return tuple(events)


def undone_request(event: HistoryEvent) -> str | None:
    """Return the id of the entity request that was undone with an event, which the GenericEvent in its place keeps as data.

    The answer may still come, and is told from one to a request that is not in history yet by that.
    """
    sent = sent_to_entity(event.name, event.input) if isinstance(event, EventSent) else None
    return sent.request_id if sent is not None else None
