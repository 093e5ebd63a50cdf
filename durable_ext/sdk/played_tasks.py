"""Which episode a task ended in, where a whole history is replayed at once, as in 1.x.

There `is_replaying` follows the task that the code goes on with, also one that had ended before it was yielded
(specs/sdk.md 4.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from durable_ext.core.events import (
    EventRaised,
    HistoryEvent,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TimerFired,
)
from durable_ext.core.replay import Replay
from durable_ext.core.tasks import Task

_IDS: Final[dict[type[HistoryEvent], str]] = {
    TaskCompleted: "task_scheduled_id",
    TaskFailed: "task_scheduled_id",
    SubOrchestrationInstanceCompleted: "task_scheduled_id",
    SubOrchestrationInstanceFailed: "task_scheduled_id",
    TimerFired: "timer_id",
}


def note_new_end(event: HistoryEvent, replay: Replay) -> None:
    """Note in the task that an event of this episode is about to end, and in the compounds around it, that it is new."""
    member = _IDS.get(event.__class__)
    task: Task[Any] | None
    if member is not None:
        task = replay.open_tasks.get(getattr(event, member))
    elif isinstance(event, EventRaised):
        task = _hearer(event.name, replay)
    else:
        return
    if task is not None:
        _mark_new(task)


def note_compound(compound: Task[Any], children: Sequence[Task[Any]]) -> None:
    """Note in a compound that has ended as it was made whether it counts as new: as its last ended child."""
    if compound.is_completed:
        ended = [child for child in children if child.is_completed]
        if not ended or not was_played(ended[-1]):
            compound.__dict__["is_played"] = False


def was_played(task: Task[Any]) -> bool:
    """Whether the task ended in an earlier episode; false for a compound of nothing, as in 1.x."""
    return task.is_completed and bool(task.__dict__.get("is_played", True))


def _hearer(name: str, replay: Replay) -> Task[Any] | None:
    answered = replay.entities.waiting.get(name)
    if answered is not None:
        return answered
    waits = replay.mailbox.waiting.get(name)
    return waits[-1] if waits else None


def _mark_new(task: Task[Any]) -> None:
    task.__dict__["is_played"] = False
    for parent in task._parents or ():
        if not parent.is_completed:
            _mark_new(parent)
