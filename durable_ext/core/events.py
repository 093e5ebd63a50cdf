"""History events: one frozen value per event type of DurableTask.Core; know no JSON.

Fields mirror specs/azure-storage.md 4.5 in snake case. `event_id` is -1 unless the event is a decision that later events
refer to (TaskScheduled, TimerCreated, SubOrchestrationInstanceCreated, EventSent, ExecutionCompleted).
Events are built on the hot path: keep them plain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import ClassVar, Final

from durable_ext.core.messages import OrchestrationInstance, ParentInstance, TraceContext
from durable_ext.core.timestamps import Ticks
from durable_ext.failure import FailureDetails


class EventType(IntEnum):
    """DurableTask.Core's numbers (specs/azure-storage.md 4.5)."""

    EXECUTION_STARTED = 0
    EXECUTION_COMPLETED = 1
    EXECUTION_FAILED = 2
    EXECUTION_TERMINATED = 3
    TASK_SCHEDULED = 4
    TASK_COMPLETED = 5
    TASK_FAILED = 6
    SUB_ORCHESTRATION_INSTANCE_CREATED = 7
    SUB_ORCHESTRATION_INSTANCE_COMPLETED = 8
    SUB_ORCHESTRATION_INSTANCE_FAILED = 9
    TIMER_CREATED = 10
    TIMER_FIRED = 11
    ORCHESTRATOR_STARTED = 12
    ORCHESTRATOR_COMPLETED = 13
    EVENT_SENT = 14
    EVENT_RAISED = 15
    CONTINUE_AS_NEW = 16
    GENERIC_EVENT = 17
    HISTORY_STATE = 18
    EXECUTION_SUSPENDED = 19
    EXECUTION_RESUMED = 20
    EXECUTION_REWOUND = 21


class OrchestrationStatus(str, Enum):
    """Runtime status of an instance; the value is the text in stores and on the wire."""

    RUNNING = "Running"
    COMPLETED = "Completed"
    CONTINUED_AS_NEW = "ContinuedAsNew"
    FAILED = "Failed"
    CANCELED = "Canceled"
    TERMINATED = "Terminated"
    PENDING = "Pending"
    SUSPENDED = "Suspended"

    @property
    def is_terminal(self) -> bool:
        """True for Completed, Failed, Canceled and Terminated."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {
        OrchestrationStatus.COMPLETED,
        OrchestrationStatus.FAILED,
        OrchestrationStatus.CANCELED,
        OrchestrationStatus.TERMINATED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEvent:
    """What all events share; `timestamp` is the creation time of the event."""

    event_type: ClassVar[EventType]

    timestamp: Ticks
    event_id: int = -1
    is_played: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionStarted(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.EXECUTION_STARTED

    instance: OrchestrationInstance
    name: str
    version: str | None = None
    input: str | None = None
    parent: ParentInstance | None = None
    tags: Mapping[str, str] | None = None
    correlation: str | None = None
    trace_context: TraceContext | None = None
    scheduled_start_time: Ticks | None = None
    generation: int | None = None
    generate_new_trace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionCompleted(HistoryEvent):
    """End of a generation. `status` is never CONTINUED_AS_NEW here (that is `ContinueAsNew`)."""

    event_type: ClassVar[EventType] = EventType.EXECUTION_COMPLETED

    status: OrchestrationStatus
    result: str | None = None
    failure: FailureDetails | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinueAsNew(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.CONTINUE_AS_NEW

    status: OrchestrationStatus = OrchestrationStatus.CONTINUED_AS_NEW
    result: str | None = None
    failure: FailureDetails | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionTerminated(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.EXECUTION_TERMINATED

    input: str | None = None  # the reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSuspended(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.EXECUTION_SUSPENDED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionResumed(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.EXECUTION_RESUMED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRewound(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.EXECUTION_REWOUND

    reason: str | None = None
    parent_execution_id: str | None = None
    instance_id: str | None = None
    trace_context: TraceContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScheduled(HistoryEvent):
    """`input` travels in the message; history keeps it only with storeInputsInOrchestrationHistory."""

    event_type: ClassVar[EventType] = EventType.TASK_SCHEDULED

    name: str
    version: str | None = ""
    input: str | None = None
    trace_context: TraceContext | None = None
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCompleted(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.TASK_COMPLETED

    task_scheduled_id: int
    result: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailed(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.TASK_FAILED

    task_scheduled_id: int
    reason: str | None = None
    details: str | None = None
    failure: FailureDetails | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubOrchestrationInstanceCreated(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.SUB_ORCHESTRATION_INSTANCE_CREATED

    instance_id: str
    name: str
    version: str | None = None
    input: str | None = None
    client_span_id: str | None = None
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubOrchestrationInstanceCompleted(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.SUB_ORCHESTRATION_INSTANCE_COMPLETED

    task_scheduled_id: int
    result: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubOrchestrationInstanceFailed(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.SUB_ORCHESTRATION_INSTANCE_FAILED

    task_scheduled_id: int
    reason: str | None = None
    details: str | None = None
    failure: FailureDetails | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerCreated(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.TIMER_CREATED

    fire_at: Ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.TIMER_FIRED

    timer_id: int
    fire_at: Ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorStarted(HistoryEvent):
    """Opens an episode; its timestamp is the orchestration's time until the next one."""

    event_type: ClassVar[EventType] = EventType.ORCHESTRATOR_STARTED


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorCompleted(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.ORCHESTRATOR_COMPLETED


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSent(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.EVENT_SENT

    instance_id: str
    name: str
    input: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRaised(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.EVENT_RAISED

    name: str
    input: str | None = None
    trace_context: TraceContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenericEvent(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.GENERIC_EVENT

    data: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryState(HistoryEvent):
    event_type: ClassVar[EventType] = EventType.HISTORY_STATE

    state: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent(HistoryEvent):
    """An event of a type that is newer than this version: kept, ignored by replay.

    `kind` is the type as the store had it (name or number as text), `raw` its JSON text.
    """

    event_type: ClassVar[EventType] = EventType.GENERIC_EVENT

    kind: str
    raw: str


ACTIVITY_RESULTS: Final = (TaskCompleted, TaskFailed)
CHILD_RESULTS: Final = (SubOrchestrationInstanceCompleted, SubOrchestrationInstanceFailed)
TASK_RESULTS: Final = (*ACTIVITY_RESULTS, *CHILD_RESULTS)
"""Types of the events that answer a TaskScheduled or a SubOrchestrationInstanceCreated by its `task_scheduled_id`."""

EVENT_CLASSES: dict[EventType, type[HistoryEvent]] = {
    cls.event_type: cls
    for cls in (
        ExecutionStarted,
        ExecutionCompleted,
        ExecutionTerminated,
        TaskScheduled,
        TaskCompleted,
        TaskFailed,
        SubOrchestrationInstanceCreated,
        SubOrchestrationInstanceCompleted,
        SubOrchestrationInstanceFailed,
        TimerCreated,
        TimerFired,
        OrchestratorStarted,
        OrchestratorCompleted,
        EventSent,
        EventRaised,
        ContinueAsNew,
        GenericEvent,
        HistoryState,
        ExecutionSuspended,
        ExecutionResumed,
        ExecutionRewound,
    )
}
