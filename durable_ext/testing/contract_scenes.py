"""What the contract tests need of a store, and the values they play with; builders instead of literals."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from durable_ext.backends.protocol import (
    Backend,
    Checkpoint,
    MessageBatch,
    OrchestrationSession,
    OutgoingActivity,
    Receipt,
)
from durable_ext.core.events import (
    EventRaised,
    ExecutionCompleted,
    ExecutionStarted,
    HistoryEvent,
    OrchestrationStatus,
    OrchestratorCompleted,
    OrchestratorStarted,
    TaskScheduled,
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
from durable_ext.core.timestamps import Ticks, ticks_add, ticks_from_datetime

OpenBackend = Callable[..., Awaitable[Backend]]
Crash = Callable[[Backend], Awaitable[None]]
AT_ONCE = timedelta(0)
RUNNING_STATUSES = frozenset({OrchestrationStatus.RUNNING, OrchestrationStatus.PENDING, OrchestrationStatus.SUSPENDED})
ANY_STATUS: frozenset[OrchestrationStatus] = frozenset()


def now() -> Ticks:
    return ticks_from_datetime(datetime.now(timezone.utc))


def later(span: timedelta) -> Ticks:
    return ticks_add(now(), span)


def new_id(prefix: str = "instance") -> InstanceId:
    return InstanceId(f"{prefix}-{uuid.uuid4().hex}")


def start_event(instance_id: str, **fields: Any) -> ExecutionStarted:
    """Return the start of a new generation of an instance; `fields` overwrite name, input and so on."""
    values: dict[str, Any] = {"name": "Hello", "version": "", "input": '"Tokyo"', "timestamp": now(), **fields}
    instance = OrchestrationInstance(instance_id=InstanceId(instance_id), execution_id=ExecutionId(uuid.uuid4().hex))
    return ExecutionStarted(instance=instance, **values)


def child_start(instance_id: str, parent: OrchestrationInstance, task_id: int = 0) -> OutgoingMessage:
    """Return the message that starts a sub-orchestration."""
    event = start_event(
        instance_id, parent=ParentInstance(name="Parent", instance=parent, task_schedule_id=task_id, version="")
    )
    return OutgoingMessage(message=TaskMessage(event=event, target=event.instance, tags={}))


def raised(instance_id: str, name: str, payload: str | None = "null", due: Ticks | None = None) -> OutgoingMessage:
    """Return an event for whatever generation is current."""
    target = OrchestrationInstance(instance_id=InstanceId(instance_id))
    return OutgoingMessage(
        message=TaskMessage(event=EventRaised(timestamp=now(), name=name, input=payload), target=target), due=due
    )


def timer(target: OrchestrationInstance, timer_id: int, fire_at: Ticks) -> OutgoingMessage:
    """Return the message of a timer of the instance itself."""
    event = TimerFired(timestamp=now(), timer_id=timer_id, fire_at=fire_at)
    return OutgoingMessage(message=TaskMessage(event=event, target=target), due=fire_at)


def activity(
    target: OrchestrationInstance, task_id: int, *, run_here: bool = False, argument: str = '["\\"x\\""]'
) -> OutgoingActivity:
    """Return an activity of an instance."""
    event = TaskScheduled(timestamp=now(), event_id=task_id, name="SayHello", input=argument)
    return OutgoingActivity(message=TaskMessage(event=event, target=target, tags={}), run_here=run_here)


def update(
    execution_id: str, status: OrchestrationStatus | None = OrchestrationStatus.RUNNING, **fields: Any
) -> InstanceUpdate:
    """Return a change of the row, by default to Running without custom status."""
    values: dict[str, Any] = {"custom_status": None, "last_updated_at": now(), "status": status, **fields}
    return InstanceUpdate(execution_id=ExecutionId(execution_id), **values)


def names(batch: object) -> list[str]:
    """Return the names of the events in a batch, in order."""
    assert isinstance(batch, MessageBatch), f"expected messages, got {batch!r}"
    return [getattr(message.message.event, "name", type(message.message.event).__name__) for message in batch.messages]


def ids(batch: MessageBatch) -> tuple[str, ...]:
    """Return the message ids of a batch."""
    return tuple(message.message_id for message in batch.messages)


async def messages_of(session: OrchestrationSession, wait: timedelta) -> MessageBatch:
    """Return the next messages of a session; it is an error if there are none in time."""
    batch = await session.next_messages(wait)
    assert isinstance(batch, MessageBatch), f"expected messages, got {batch!r}"
    return batch


def first_episode(start: ExecutionStarted, *decisions: HistoryEvent) -> tuple[HistoryEvent, ...]:
    """Return the history after the first episode."""
    moment = now()
    return (OrchestratorStarted(timestamp=moment), start, *decisions, OrchestratorCompleted(timestamp=moment))


def next_episode(*received: HistoryEvent, decisions: tuple[HistoryEvent, ...] = ()) -> tuple[HistoryEvent, ...]:
    """Return the events of a later episode."""
    moment = now()
    return (OrchestratorStarted(timestamp=moment), *received, *decisions, OrchestratorCompleted(timestamp=moment))


class Scene:
    """An instance that a test drives through its life on one backend.

    `patience` bounds every wait of something that has to happen.
    """

    def __init__(self, backend: Backend, patience: timedelta) -> None:
        self.backend = backend
        self.patience = patience

    async def start(self, instance_id: str | None = None, **fields: Any) -> ExecutionStarted:
        """Create an instance as a client."""
        start = start_event(instance_id or new_id(), **fields)
        await self.backend.instances.create_instance(start, reject=RUNNING_STATUSES)
        return start

    async def session(self) -> OrchestrationSession:
        """Return the next session; it is an error if there is none in time."""
        session = await self.backend.orchestrations.lock_next_orchestration(self.patience)
        assert session is not None, f"no orchestration was handed out within {self.patience}"
        return session

    async def entity_session(self) -> OrchestrationSession:
        session = await self.backend.orchestrations.lock_next_entity(self.patience)
        assert session is not None, f"no entity was handed out within {self.patience}"
        return session

    async def entity_batch(self, entity: InstanceId, *operations: str) -> None:
        """Send to an entity, store the batch that this makes, and let the session go."""
        for operation in operations:
            await self.backend.instances.send(raised(entity, operation))
        session = await self.entity_session()
        batch = await messages_of(session, self.patience)
        start = start_event(entity, name=entity)
        execution_id = start.instance.execution_id
        assert execution_id is not None
        await session.checkpoint(
            Checkpoint(
                execution_id=execution_id,
                new_events=next_episode(start),
                starts_generation=True,
                consumed=ids(batch),
                instance=update(execution_id, name=entity, created_at=start.timestamp),
            )
        )
        await session.release()

    async def begin(
        self, session: OrchestrationSession, *decisions: HistoryEvent, **checkpoint: Any
    ) -> tuple[ExecutionStarted, Receipt]:
        """Take the start message of a session and store its first episode."""
        batch = await messages_of(session, self.patience)
        start = batch.messages[0].message.event
        assert isinstance(start, ExecutionStarted)
        execution_id = start.instance.execution_id
        assert execution_id is not None
        values: dict[str, Any] = {
            "new_events": first_episode(start, *decisions),
            "instance": update(execution_id, name=start.name, version=start.version, created_at=start.timestamp),
            "consumed": ids(batch),
            **checkpoint,
        }
        return start, await session.checkpoint(Checkpoint(execution_id=execution_id, **values))

    async def started_session(self, **fields: Any) -> tuple[OrchestrationSession, ExecutionStarted]:
        """Start an instance and store its first episode; the session goes on."""
        await self.start(**fields)
        session = await self.session()
        start, _ = await self.begin(session)
        return session, start

    async def finish(
        self,
        session: OrchestrationSession,
        execution_id: str,
        status: OrchestrationStatus = OrchestrationStatus.COMPLETED,
        **checkpoint: Any,
    ) -> None:
        """Store the end of an instance and let the session go."""
        ended = ExecutionCompleted(timestamp=now(), event_id=99, status=status, result='"done"')
        await session.checkpoint(
            Checkpoint(
                execution_id=ExecutionId(execution_id),
                new_events=next_episode(decisions=(ended,)),
                instance=update(execution_id, status, output='"done"', completed_at=now()),
                **checkpoint,
            )
        )
        await session.release()

    async def finished(self, **fields: Any) -> ExecutionStarted:
        """Start an instance and let it complete."""
        session, start = await self.started_session(**fields)
        assert start.instance.execution_id is not None
        await self.finish(session, start.instance.execution_id)
        return start
