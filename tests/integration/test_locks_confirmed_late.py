"""Local activities whose session cannot tell at once whether its lock is still held."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from support.functions import registry_of
from support.recording_backend import RecordingBackend, RecordingSession

from durable_ext.backends.protocol import OrchestrationSession
from durable_ext.core.events import EventRaised, OrchestrationStatus
from durable_ext.errors import BackendUnavailableError
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually
from tests.integration.test_local_activity_rules import recorded


class LateSession(RecordingSession):
    """Knows whether its lock is held once the backend does; until then nothing begins."""

    def __init__(self, session: OrchestrationSession, backend: LateBackend) -> None:
        super().__init__(session, backend.checkpoints.setdefault(session.instance.instance_id, []))
        self._backend = backend

    async def confirm(self) -> bool:
        self._backend.asked += 1
        await self._backend.known.wait()
        if self._backend.asked <= self._backend.fails:
            raise BackendUnavailableError("The store cannot be asked.")
        return await self._session.confirm()


@dataclass
class LateBackend(RecordingBackend):
    known: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    fails: int = 0

    async def lock_next_orchestration(self, wait: timedelta) -> Any:
        session = await self.inner.orchestrations.lock_next_orchestration(wait)
        return None if session is None else LateSession(session, self)


def both(context: Any) -> Any:
    stop = context.wait_for_external_event("stop")
    results = yield context.task_all([context.call_activity("echo", i) for i in range(3)])
    return [*results, (yield stop)]


async def echo(value: Any) -> Any:
    return value


async def test_activities_of_a_wave_that_is_handed_over_before_they_may_begin_are_run(tmp_path: Path) -> None:
    registry = registry_of(orchestrators=[both], activities=[echo])
    settings = WorkerSettings(local_activity_spill=timedelta(milliseconds=50))
    async with recorded(tmp_path, registry, settings, kind=LateBackend) as hub:
        backend = hub.backend
        assert isinstance(backend, LateBackend)
        instance_id = await hub.client.start("both")
        await eventually(lambda: backend.asked == 3, "the wave has not begun")
        await hub.client.raise_event(instance_id, "stop", "stopped")
        await eventually(
            lambda: any(
                isinstance(event, EventRaised)
                for checkpoint in backend.checkpoints[instance_id]
                for event in checkpoint.new_events
            ),
            "the event is not stored",
        )

        backend.known.set()

        status = await hub.client.wait_for_completion(instance_id, timeout=timedelta(seconds=20))
        assert (status.runtime_status, status.output) == (OrchestrationStatus.COMPLETED, [0, 1, 2, "stopped"])


async def test_a_store_that_cannot_say_whether_the_lock_is_held_costs_a_repetition_only(tmp_path: Path) -> None:
    def fan(context: Any) -> Any:
        return (yield context.task_all([context.call_activity("echo", i) for i in range(3)]))

    async with recorded(tmp_path, registry_of(orchestrators=[fan], activities=[echo]), kind=LateBackend) as hub:
        backend = hub.backend
        assert isinstance(backend, LateBackend)
        backend.fails = 3
        backend.known.set()

        output, _ = await hub.finish("fan")

        assert (output, backend.asked) == ([0, 1, 2], 3)
