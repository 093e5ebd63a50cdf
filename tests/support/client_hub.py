"""A client on an open hub, and a hand that ends instances as a worker would."""

from __future__ import annotations

from datetime import timedelta

from durable_ext.backends.protocol import Backend, Checkpoint, MessageBatch, OrchestrationSession, SessionEnd
from durable_ext.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.events import ExecutionStarted, HistoryEvent, OrchestrationStatus, OrchestratorStarted
from durable_ext.core.instances import InstanceUpdate
from durable_ext.core.messages import ExecutionId


class Hub:
    """One open hub. `client` starts and asks; `put` does a worker's part."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.client = self.new_client()

    def new_client(self, **options: object) -> DurableClient:
        return DurableClient(
            self.backend.instances,
            converter=DataConverter(),
            entity_codec=JsonEntityCodec(),
            **options,  # type: ignore[arg-type]
        )

    async def next_session(self) -> OrchestrationSession:
        session = await self.backend.orchestrations.lock_next_orchestration(timedelta(seconds=5))
        assert session is not None, "no orchestration has messages"
        return session

    async def received(self, *, entity: bool = False) -> list[HistoryEvent]:
        """Take the next instance's messages and give them back."""
        store = self.backend.orchestrations
        lock = store.lock_next_entity if entity else store.lock_next_orchestration
        session = await lock(timedelta(seconds=5))
        assert session is not None, "nothing has messages"
        batch = await session.next_messages(timedelta(0))
        await session.release()
        assert isinstance(batch, MessageBatch)
        return [received.message.event for received in batch.messages]

    async def put(
        self, instance_id: str, status: OrchestrationStatus, output: str | None = None, custom_status: str | None = None
    ) -> None:
        """Take the instance's messages and write its row with a status."""
        session = await self.next_session()
        assert session.instance.instance_id == instance_id
        batch = await session.next_messages(timedelta(0))
        assert not isinstance(batch, SessionEnd)
        events = [received.message.event for received in batch.messages]
        started = next((event for event in events if isinstance(event, ExecutionStarted)), None)
        execution_id = started.instance.execution_id if started is not None else session.instance.execution_id
        now = events[0].timestamp
        await session.checkpoint(
            Checkpoint(
                execution_id=ExecutionId(str(execution_id)),
                new_events=(OrchestratorStarted(timestamp=now), *events),
                consumed=tuple(received.message_id for received in batch.messages),
                instance=InstanceUpdate(
                    execution_id=ExecutionId(str(execution_id)),
                    last_updated_at=now,
                    custom_status=custom_status,
                    status=status,
                    output=output,
                ),
            )
        )
        await session.release()
