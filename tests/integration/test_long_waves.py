"""Activities that outlive what is in memory: they run once, and the instance is Running for everybody meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from azure_hub import AzureHub
from support.functions import registry_of
from support.store_place import HubPlace, worker_at

from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.core.events import EventRaised, OrchestrationStatus, TaskScheduled
from durable_ext.core.messages import InstanceId
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import RunningTaskHub

PATIENCE = timedelta(seconds=20)
EVERY = timedelta(milliseconds=50)


class LongActivities:
    """Orchestrations whose activities wait for `gate`, all but those called "quick"."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.ran: Counter[str] = Counter()

    def registry(self) -> FunctionRegistry:
        async def work(name: str) -> str:
            self.ran[name] += 1
            if name != "quick":
                await self.gate.wait()
            return name

        def fan(context: Any) -> Any:
            results = yield context.task_all([context.call_activity("work", name) for name in context.get_input()])
            yield context.wait_for_external_event("go")
            return results

        return registry_of(orchestrators=[fan], activities=[work])


@asynccontextmanager
async def running(place: HubPlace, registry: FunctionRegistry, **settings: Any) -> AsyncIterator[AzureHub | RunningTaskHub]:
    limits = WorkerSettings(
        local_activity_spill=timedelta(milliseconds=100), session_idle_timeout=timedelta(milliseconds=300), **settings
    )
    async with worker_at(place, registry, limits) as hub:
        yield hub


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], ["quick", "a", "b"]], ids=len)
async def test_activities_that_outlive_their_session_run_once(place: HubPlace, names: list[str]) -> None:
    app = LongActivities()
    async with running(place, app.registry()) as hub:
        instance_id = InstanceId(await hub.client.start("fan", names))
        await eventually(lambda: app.ran.keys() == set(names), within=PATIENCE)
        await eventually(
            lambda: _has_left(hub, instance_id, len(names)), "the session does not end", within=PATIENCE, every=EVERY
        )
        await hub.client.raise_event(instance_id, "go")
        await eventually(lambda: _has_event(hub, instance_id), "the event is not played", within=PATIENCE, every=EVERY)

        app.gate.set()
        status = await hub.client.wait_for_completion(instance_id, timeout=PATIENCE)
        history = await hub.backend.instances.get_history(instance_id)

    assert status.output == names
    assert app.ran == dict.fromkeys(names, 1)
    assert sum(isinstance(event, TaskScheduled) for event in history) == len(names)


async def _has_left(hub: AzureHub | RunningTaskHub, instance_id: InstanceId, activities: int) -> bool:
    """Whether the activities are stored, which their session does, and nobody has the instance in memory."""
    history = await hub.backend.instances.get_history(instance_id)
    if sum(isinstance(event, TaskScheduled) for event in history) < activities:
        return False
    if isinstance(hub, AzureHub):
        return hub.backend._directory.active_sessions(0) == 0
    assert isinstance(hub.backend, SqliteBackend)
    return not hub.backend._parts.dispatch._sessions


async def _has_event(hub: AzureHub | RunningTaskHub, instance_id: InstanceId) -> bool:
    return any(isinstance(event, EventRaised) for event in await hub.backend.instances.get_history(instance_id))


@pytest.mark.parametrize(("names", "slots"), [(["a"], 10), (["a", "b"], 1), (["a", "b"], 10)])
async def test_an_instance_with_long_activities_is_running(place: HubPlace, names: list[str], slots: int) -> None:
    app = LongActivities()
    async with running(place, app.registry(), max_concurrent_activities=slots) as hub:
        instance_id = await hub.client.start("fan", names)

        async def is_running() -> bool:
            status = await hub.client.get_status(instance_id)
            return status is not None and status.runtime_status is OrchestrationStatus.RUNNING

        await eventually(is_running, "the row still says Pending", within=PATIENCE, every=EVERY)
        app.gate.set()


async def test_activities_that_have_not_begun_when_a_worker_drains_run_elsewhere(place: HubPlace) -> None:
    one, other = LongActivities(), LongActivities()
    other.gate.set()
    limits = WorkerSettings(local_activity_spill=timedelta(milliseconds=100), max_concurrent_activities=2)
    names = [f"activity {number}" for number in range(12)]
    async with worker_at(place, one.registry(), limits) as first:
        instance_id = await first.client.start("fan", names)
        await eventually(lambda: sum(one.ran.values()) == 2, "they do not begin", within=PATIENCE)

        draining = asyncio.ensure_future(first.worker.drain(timedelta(seconds=60)))
        async with worker_at(place, other.registry(), limits) as second:
            await eventually(lambda: sum(other.ran.values()) == 10, "they do not run elsewhere", within=PATIENCE)
            one.gate.set()
            assert await draining
            await second.client.raise_event(instance_id, "go")
            status = await second.client.wait_for_completion(instance_id, timeout=PATIENCE)

    assert status.output == names
    assert one.ran + other.ran == dict.fromkeys(names, 1)
