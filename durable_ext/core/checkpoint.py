"""From decisions to what is stored and sent: history events, task messages, changes of the instance row. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from durable_ext.core.actions import (
    Action,
    CompleteOrchestration,
    ScheduleActivity,
    ScheduleTimer,
    SendEvent,
    StartSubOrchestration,
)
from durable_ext.core.events import (
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    HistoryEvent,
    OrchestrationStatus,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from durable_ext.core.instances import InstanceUpdate
from durable_ext.core.messages import (
    ExecutionId,
    InstanceId,
    OrchestrationInstance,
    OutgoingMessage,
    ParentInstance,
    TaskMessage,
)
from durable_ext.core.timestamps import Ticks
from durable_ext.failure import FailureDetails

FIRE_AND_FORGET_TAG: Final = "FireAndForget"


@dataclass(slots=True)
class Outbox:
    """Collects what one generation stores and sends in an episode, in the order of its decisions.

    `messages` is the episode's list, which also has those of generations that ended in it.
    """

    started: ExecutionStarted
    now: Ticks
    store_inputs: bool
    new_execution_id: Callable[[], ExecutionId]
    messages: list[OutgoingMessage]
    events: list[HistoryEvent] = field(default_factory=list)
    activities: list[TaskMessage] = field(default_factory=list)
    failure: FailureDetails | None = None

    def add(self, action: Action) -> None:
        """Add the events and messages of one decision."""
        _ADD[action.__class__](self, action)

    def _activity(self, action: ScheduleActivity) -> None:
        event = TaskScheduled(
            timestamp=self.now,
            event_id=action.task_id,
            name=action.name,
            version=action.version,
            input=action.input,
            tags=action.tags,
        )
        self.activities.append(TaskMessage(event=event, target=self.started.instance, tags=self.started.tags or {}))
        if not self.store_inputs:
            event = TaskScheduled(
                timestamp=self.now, event_id=action.task_id, name=action.name, version=action.version, tags=action.tags
            )
        self.events.append(event)

    def _timer(self, action: ScheduleTimer) -> None:
        self.events.append(TimerCreated(timestamp=self.now, event_id=action.task_id, fire_at=action.fire_at))
        fired = TimerFired(timestamp=self.now, timer_id=action.task_id, fire_at=action.fire_at)
        message = TaskMessage(event=fired, target=self.started.instance)
        self.messages.append(OutgoingMessage(message=message, due=action.fire_at))

    def _sub_orchestration(self, action: StartSubOrchestration) -> None:
        parent = self.started
        child_id = action.instance_id or InstanceId(f"{parent.instance.execution_id}:{action.task_id}")
        tags = child_tags(parent.tags, action.tags)
        self.events.append(
            SubOrchestrationInstanceCreated(
                timestamp=self.now,
                event_id=action.task_id,
                instance_id=child_id,
                name=action.name,
                version=action.version,
                input=action.input if self.store_inputs else None,
                tags=action.tags,
            )
        )
        child = OrchestrationInstance(instance_id=child_id, execution_id=self.new_execution_id())
        start = ExecutionStarted(
            timestamp=self.now,
            instance=child,
            name=action.name,
            version=action.version,
            input=action.input,
            parent=ParentInstance(
                name=parent.name, instance=parent.instance, task_schedule_id=action.task_id, version=parent.version
            ),
            tags=tags,
        )
        self.messages.append(OutgoingMessage(message=TaskMessage(event=start, target=child, tags=parent.tags or {})))

    def _sent_event(self, action: SendEvent) -> None:
        self.events.append(
            EventSent(
                timestamp=self.now,
                event_id=action.task_id,
                instance_id=action.target,
                name=action.name,
                input=action.input,
            )
        )
        raised = EventRaised(timestamp=self.now, name=action.name, input=action.input)
        message = TaskMessage(event=raised, target=OrchestrationInstance(instance_id=action.target))
        self.messages.append(OutgoingMessage(message=message, due=action.due))

    def _completion(self, action: CompleteOrchestration) -> None:
        self.failure = action.failure
        self.events.append(
            ExecutionCompleted(timestamp=self.now, event_id=action.task_id, status=action.status, result=action.result)
        )
        parent = self.started.parent
        if parent is None or FIRE_AND_FORGET_TAG in (self.started.tags or ()):
            return
        event: HistoryEvent
        if action.status is OrchestrationStatus.COMPLETED:
            event = SubOrchestrationInstanceCompleted(
                timestamp=self.now, task_scheduled_id=parent.task_schedule_id, result=action.result
            )
        else:
            event = SubOrchestrationInstanceFailed(
                timestamp=self.now,
                task_scheduled_id=parent.task_schedule_id,
                reason=action.result,
                details=_details(action.failure),
                failure=action.failure,
            )
        self.messages.append(OutgoingMessage(message=TaskMessage(event=event, target=parent.instance)))


_ADD: Final[dict[type[Any], Callable[[Outbox, Any], None]]] = {
    ScheduleActivity: Outbox._activity,
    ScheduleTimer: Outbox._timer,
    StartSubOrchestration: Outbox._sub_orchestration,
    SendEvent: Outbox._sent_event,
    CompleteOrchestration: Outbox._completion,
}


def _details(failure: FailureDetails | None) -> str | None:
    if failure is None:
        return None
    return f"Message: {failure.error_message}, StackTrace: {failure.stack_trace or ''}"


def child_tags(parent: Mapping[str, str] | None, own: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """Return the tags of a child: the parent's under its own, without the one that silences it; `None` if none are left."""
    tags = {**(parent or {}), **(own or {})}
    if FIRE_AND_FORGET_TAG not in (own or {}):
        tags.pop(FIRE_AND_FORGET_TAG, None)
    return tags or None


def instance_update(
    events: Iterable[HistoryEvent], *, execution_id: ExecutionId, custom_status: str | None, last_updated_at: Ticks
) -> InstanceUpdate:
    """Return what an episode's events change of the row (specs/azure-storage.md 6.3); the last one wins."""
    columns: dict[str, Any] = {}
    for event in events:
        read = _COLUMNS.get(event.__class__)
        if read is not None:
            read(event, columns)
    return InstanceUpdate(execution_id=execution_id, last_updated_at=last_updated_at, custom_status=custom_status, **columns)


def _of_start(event: ExecutionStarted, columns: dict[str, Any]) -> None:
    columns.update(
        name=event.name,
        version=event.version,
        input=event.input,
        created_at=event.timestamp,
        status=OrchestrationStatus.RUNNING,
        tags=event.tags,
        generation=event.generation,
        scheduled_start_at=event.scheduled_start_time,
    )


def _of_suspension(event: ExecutionSuspended, columns: dict[str, Any]) -> None:
    columns.update(status=OrchestrationStatus.SUSPENDED, output=event.reason)


def _of_resumption(event: ExecutionResumed, columns: dict[str, Any]) -> None:
    columns.update(status=OrchestrationStatus.RUNNING, output=event.reason)


def _of_completion(event: ExecutionCompleted, columns: dict[str, Any]) -> None:
    columns.update(status=event.status, output=event.result, completed_at=event.timestamp)


_COLUMNS: Final[dict[type[HistoryEvent], Callable[[Any, dict[str, Any]], None]]] = {
    ExecutionStarted: _of_start,
    ExecutionSuspended: _of_suspension,
    ExecutionResumed: _of_resumption,
    ExecutionCompleted: _of_completion,
}
