"""Rewind: which events of a failed instance stop counting so that only its failed steps run again. Pure.

The provider's algorithm (specs/azure-storage.md 9.5), for every store: the caller rewrites the history, sets the row to
Pending, goes on with the children, and wakes each leaf with a GenericEvent whose data is the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from durable_ext.core.events import (
    ExecutionCompleted,
    GenericEvent,
    HistoryEvent,
    OrchestrationStatus,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskFailed,
    TaskScheduled,
)
from durable_ext.core.messages import InstanceId


@dataclass(frozen=True, slots=True, kw_only=True)
class RewindPlan:
    """What a rewind does to one instance; numbers are indexes into its history.

    Attributes:
        neutralized: Events that become GenericEvents in place, in order.
        marked: SubOrchestrationInstanceCreated events that stay in force; stores with a reason column note the rewind.
        children: Failed sub-orchestrations, to be rewound likewise.
    """

    neutralized: tuple[int, ...]
    marked: tuple[int, ...]
    children: tuple[InstanceId, ...]

    @property
    def is_leaf(self) -> bool:
        """Whether the instance has no failed child, so that it has to be woken itself."""
        return not self.children


def plan_rewind(history: Sequence[HistoryEvent]) -> RewindPlan:
    """Decide which events of the current generation a rewind takes out."""
    scheduled: dict[int, int] = {}
    children: dict[int, int] = {}
    neutralized: set[int] = set()
    marked: list[int] = []
    failed: list[InstanceId] = []
    for index, event in enumerate(history):
        if isinstance(event, TaskScheduled):
            scheduled.setdefault(event.event_id, index)
        elif isinstance(event, SubOrchestrationInstanceCreated):
            children.setdefault(event.event_id, index)
        elif isinstance(event, TaskFailed):
            neutralized.add(index)
            if event.task_scheduled_id in scheduled:
                neutralized.add(scheduled[event.task_scheduled_id])
        elif isinstance(event, SubOrchestrationInstanceFailed):
            neutralized.add(index)
            created = children.get(event.task_scheduled_id)
            if created is not None:
                marked.append(created)
                child = history[created]
                assert isinstance(child, SubOrchestrationInstanceCreated)
                failed.append(InstanceId(child.instance_id))
        elif isinstance(event, ExecutionCompleted) and event.status is OrchestrationStatus.FAILED:
            neutralized.add(index)
    return RewindPlan(neutralized=tuple(sorted(neutralized)), marked=tuple(marked), children=tuple(failed))


def end_of(history: Sequence[HistoryEvent]) -> OrchestrationStatus | None:
    """Return the status with which a generation has ended, if it has.

    Only one that stands at a failed end is rewound: what runs (again) may have caught the failures in its history.
    """
    return next((event.status for event in history if isinstance(event, ExecutionCompleted)), None)


def rewound(history: Sequence[HistoryEvent], plan: RewindPlan) -> tuple[HistoryEvent, ...]:
    """Return the history after the plan; neutralized events keep their place, time and event id."""
    events = list(history)
    for index in plan.neutralized:
        event = events[index]
        events[index] = GenericEvent(timestamp=event.timestamp, event_id=event.event_id, is_played=event.is_played)
    return tuple(events)
