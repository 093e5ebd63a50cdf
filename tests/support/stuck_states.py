"""Says whether a plain worker could go on from what lies in a hub: the outcomes of interop/local-activities as rules.

A worker that runs activities beside its orchestration writes history only; each state it could leave behind was tried on
the real provider. What got stuck there got stuck by one of the rules below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from durable_ext.backends.azure_storage.early_messages import KnownTasks, is_result
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.events import (
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionStarted,
    GenericEvent,
    HistoryEvent,
    OrchestratorCompleted,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from durable_ext.core.instances import InstanceRow
from durable_ext.core.live import LiveOrchestration
from durable_ext.core.messages import (
    ExecutionId,
    InstanceId,
    OrchestrationInstance,
    ReceivedMessage,
    TaskMessage,
)
from durable_ext.core.orchestrators import ReplayOptions
from durable_ext.core.timestamps import Ticks
from durable_ext.runtime.registry import FunctionRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedMessage:
    """A message that lies in a queue, visible or not; `visible_at` orders messages by when they (re)appear."""

    message: TaskMessage
    sender_id: str
    is_work_item: bool
    visible_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """History of the current generation and row of one instance; either may be missing."""

    instance_id: InstanceId
    events: Sequence[HistoryEvent] = ()
    execution_id: ExecutionId | None = None
    row: InstanceRow | None = None

    @property
    def is_over(self) -> bool:
        return any(isinstance(event, ExecutionCompleted) for event in self.events)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHub:
    """What lies in a hub at one moment."""

    instances: Mapping[InstanceId, StoredInstance]
    messages: Sequence[QueuedMessage]

    def to_instance(self, instance_id: str) -> Iterator[QueuedMessage]:
        """Return what is queued for an instance."""
        return (one for one in self.messages if not one.is_work_item and one.message.target.instance_id == instance_id)

    def work_item_ids(self, stored: StoredInstance) -> set[int]:
        """Return the ids of activities of an instance's generation that wait in the work-item queue."""
        return {
            one.message.event.event_id
            for one in self.messages
            if one.is_work_item
            and one.message.target.instance_id == stored.instance_id
            and one.message.target.execution_id == stored.execution_id
        }


def stuck_instances(hub: StoredHub, registry: FunctionRegistry) -> list[str]:
    """Return why which instances would never end, or lose something, if a plain worker found the hub like this."""
    found: list[str] = []
    for stored in hub.instances.values():
        if stored.instance_id.startswith("@"):
            continue
        found += [f"{stored.instance_id}: {reason}" for reason in _reasons(hub, stored, registry)]
    return found


def _reasons(hub: StoredHub, stored: StoredInstance, registry: FunctionRegistry) -> Iterator[str]:
    if stored.is_over:
        yield from _untold_parent(hub, stored)
    elif stored.events:
        yield from _unanswerable(hub, stored)
        wakes = any(_wakes(one, stored) for one in hub.to_instance(stored.instance_id)) or _will_be_answered(hub, stored)
        if not wakes and _has_more_to_do(stored, registry):
            yield "it has more to do, and nothing queued wakes it (S2d, S6e, S15c, S15d)"
    else:
        yield from _unstarted(hub, stored)


def _unstarted(hub: StoredHub, stored: StoredInstance) -> Iterator[str]:
    if stored.row is None or stored.row.status.is_terminal:
        return
    queued = list(hub.to_instance(stored.instance_id))
    starts = [one for one in queued if isinstance(one.message.event, ExecutionStarted)]
    if not starts:
        yield "its start message is gone and nothing is in history"
        return
    first = min(one.visible_at for one in starts)
    if any(one.visible_at < first for one in queued):
        yield "what is queued for it appears before its start message and is lost, because it has no history (S11a, S11c)"


def _unanswerable(hub: StoredHub, stored: StoredInstance) -> Iterator[str]:
    """Name what history waits for and nobody will ever answer (S4d, S6c, S17c)."""
    events = [*stored.events, *(one.message.event for one in hub.to_instance(stored.instance_id))]
    answered, work_items = _answered_tasks(events), hub.work_item_ids(stored)
    fired = {event.timer_id for event in events if isinstance(event, TimerFired)}
    for event in stored.events:
        if isinstance(event, TaskScheduled) and event.event_id not in answered | work_items:
            yield f"activity {event.event_id} has neither a result nor a work item"
        elif isinstance(event, TimerCreated) and event.event_id not in fired:
            yield f"timer {event.event_id} has no message"
        elif isinstance(event, SubOrchestrationInstanceCreated) and event.event_id not in answered:
            if not _child_is_under_way(hub, event):
                yield f"child {event.event_id} was not started"
        elif isinstance(event, EventSent) and _is_unheard(hub, event, events):
            yield f"the request {event.event_id} to an entity, or its answer, is lost"


def _answered_tasks(events: Iterable[HistoryEvent]) -> set[int]:
    return {
        event.task_scheduled_id
        for event in events
        if isinstance(event, (TaskCompleted, TaskFailed, SubOrchestrationInstanceCompleted, SubOrchestrationInstanceFailed))
    }


def _is_unheard(hub: StoredHub, sent: EventSent, known: Iterable[HistoryEvent]) -> bool:
    """Whether an entity owes an answer to a request that lies nowhere any more."""
    if not sent.instance_id.startswith("@") or not sent.input or not sent.name.startswith("op"):
        return False
    request = JsonEntityCodec().read_request(sent.input)
    if request.is_signal or any(isinstance(event, EventRaised) and event.name == request.request_id for event in known):
        return False
    # In any entity: a request for several locks goes from one to the next.
    texts = [
        str(event) for stored in hub.instances.values() if stored.instance_id.startswith("@") for event in stored.events
    ]
    texts += [str(one.message.event) for one in hub.messages if one.message.target.instance_id.startswith("@")]
    return not any(request.request_id in text for text in texts)


def _child_is_under_way(hub: StoredHub, created: SubOrchestrationInstanceCreated) -> bool:
    child = hub.instances.get(InstanceId(created.instance_id))
    if child is not None and child.events:
        return True  # its end is told before it is written: `_untold_parent`
    return any(isinstance(one.message.event, ExecutionStarted) for one in hub.to_instance(created.instance_id))


def _untold_parent(hub: StoredHub, stored: StoredInstance) -> Iterator[str]:
    """A child that has ended has told its parent (S14c)."""
    started = next((event for event in stored.events if isinstance(event, ExecutionStarted)), None)
    if started is None or started.parent is None:
        return
    parent = hub.instances.get(started.parent.instance.instance_id)
    task_id = started.parent.task_schedule_id
    if parent is None or parent.is_over or parent.execution_id != started.parent.instance.execution_id:
        return
    if task_id not in _answered_tasks([*parent.events, *(one.message.event for one in hub.to_instance(parent.instance_id))]):
        yield "it has ended and its parent was never told"


def _wakes(queued: QueuedMessage, stored: StoredInstance) -> bool:
    """Whether a message loads this generation and is not put back as too early."""
    message = queued.message
    wanted = message.target.execution_id
    if isinstance(message.event, ExecutionStarted):
        # One that the row stands for begins the instance anew; any other is a duplicate (8.3).
        row = stored.row
        return wanted == stored.execution_id or (row is not None and row.execution_id in (None, wanted))
    if wanted and wanted != stored.execution_id:
        return False
    if not is_result(message, queued.sender_id):
        return True
    known = KnownTasks()
    known.add(stored.events)
    return known.answers(message.event, from_entity=queued.sender_id.startswith("@"))


def _will_be_answered(hub: StoredHub, stored: StoredInstance) -> bool:
    """Whether a result is still to come that history knows the question of."""
    scheduled = {event.event_id for event in stored.events if isinstance(event, TaskScheduled)}
    answered = _answered_tasks(stored.events)
    children = [event for event in stored.events if isinstance(event, SubOrchestrationInstanceCreated)]
    return bool((scheduled - answered) & hub.work_item_ids(stored)) or any(
        child.event_id not in answered and _child_is_under_way(hub, child) for child in children
    )


def _has_more_to_do(stored: StoredInstance, registry: FunctionRegistry) -> bool:
    """Whether the code decides something that is not in history when it is woken now."""
    live = LiveOrchestration(
        instance=OrchestrationInstance(instance_id=stored.instance_id, execution_id=stored.execution_id),
        history=stored.events,
        custom_status=None,
        lookup=registry.orchestrator,
        converter=DataConverter(),
        entity_codec=JsonEntityCodec(),
        options=ReplayOptions(),
        new_execution_id=lambda: ExecutionId("next"),
    )
    knock = GenericEvent(timestamp=stored.events[-1].timestamp)
    message = TaskMessage(event=knock, target=live.instance)
    episode = live.play([ReceivedMessage(message_id="knock", message=message, dequeue_count=1)], lambda: Ticks(0))
    live.close()
    return any(not isinstance(event, (OrchestratorStarted, OrchestratorCompleted)) for event in episode.decisions)
