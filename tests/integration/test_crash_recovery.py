"""A worker that dies at any moment: nothing is lost, nothing that is recorded runs again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.functions import registry_of

from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus, TaskCompleted
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.runtime.worker import TaskHubWorker
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import run_task_hub


def settings_of(path: Path) -> SqliteSettings:
    return SqliteSettings(
        path=path,
        task_hub="TestHub",
        synchronous="NORMAL",
        lock_timeout=timedelta(seconds=1),
        heartbeat=timedelta(milliseconds=200),
    )


@asynccontextmanager
async def run_and_die(
    path: Path, registry: FunctionRegistry, settings: WorkerSettings | None = None
) -> AsyncIterator[tuple[DurableClient, SqliteBackend]]:
    """A hub whose process "dies" at the end of the block: no drain, no release, locks stay in the file."""
    converter, codec = DataConverter(), JsonEntityCodec()
    backend = SqliteBackend(settings_of(path))
    await backend.open()
    worker = TaskHubWorker(backend, registry, settings=settings or WorkerSettings(), converter=converter, entity_codec=codec)
    await worker.start()
    try:
        yield DurableClient(backend.instances, converter=converter, entity_codec=codec), backend
    finally:
        await backend.abort()
        await worker.stop()


async def histories(path: Path, ids: list[str]) -> dict[str, set[int]]:
    """Read which results are recorded, as another process would."""
    backend = SqliteBackend(settings_of(path))
    async with backend:
        recorded = {}
        for instance_id in ids:
            events = await backend.instances.get_history(instance_id)  # type: ignore[arg-type]
            recorded[instance_id] = {event.task_scheduled_id for event in events if isinstance(event, TaskCompleted)}
        return recorded


@pytest.mark.parametrize("local", ["on", "off"])
@pytest.mark.parametrize("die_after", [30, 150, 400])
async def test_instances_in_flight_finish_and_recorded_results_are_not_computed_again(
    tmp_path: Path, die_after: int, local: Any
) -> None:
    runs: Counter[tuple[str, int]] = Counter()
    dead = asyncio.Event()

    async def step(value: list[Any]) -> int:
        instance_id, number = value
        runs[instance_id, number] += 1
        if runs.total() >= die_after:
            dead.set()
        await asyncio.sleep(0)
        return int(number)

    def five(context: Any) -> Any:
        done = []
        for number in range(5):
            done.append((yield context.call_activity("step", [context.instance_id, number])))
        return done

    registry = registry_of(orchestrators=[five], activities=[step])
    path = tmp_path / "hub.db"
    settings = WorkerSettings(local_activities=local, max_concurrent_orchestrations=400)
    async with run_and_die(path, registry, settings) as (client, _):
        ids = [await client.start("five", instance_id=f"i{i}") for i in range(100)]
        await dead.wait()
    recorded = await histories(path, ids)
    before = Counter(runs)
    async with run_task_hub(path, registry, heartbeat=timedelta(milliseconds=100)) as hub:
        ends = await asyncio.gather(*(hub.client.wait_for_completion(instance_id) for instance_id in ids))

    assert [end.output for end in ends] == [[0, 1, 2, 3, 4]] * 100
    again = {key for key, count in runs.items() if count > before[key] and key[1] in recorded[key[0]]}
    assert again == set()
    assert max(runs.values()) <= 2


async def test_an_instance_that_died_between_two_waves_goes_on_without_a_message(tmp_path: Path) -> None:
    reached = asyncio.Event()
    blocked = True

    async def step(value: int) -> int:
        if value == 3 and blocked:
            reached.set()
            await asyncio.Event().wait()
        return value

    def count(context: Any) -> Any:
        total = 0
        for i in range(5):
            total += yield context.call_activity("step", i)
        return total

    registry = registry_of(orchestrators=[count], activities=[step])
    path = tmp_path / "hub.db"
    async with run_and_die(path, registry) as (client, _):
        instance_id = await client.start("count")
        await reached.wait()
    blocked = False
    async with run_task_hub(path, registry, heartbeat=timedelta(milliseconds=100)) as hub:
        end = await hub.client.wait_for_completion(instance_id)

    assert end.output == 10


async def test_effects_of_an_entity_happen_once_although_its_code_ran_twice(tmp_path: Path) -> None:
    ran = 0
    stuck = asyncio.Event()
    blocked = True

    async def counter(context: Any) -> None:
        nonlocal ran
        ran += 1
        context.set_state(context.get_state(lambda: 0) + context.get_input())
        if blocked and ran == 3:
            stuck.set()
            await asyncio.Event().wait()

    registry = registry_of(entities=[counter])
    path, entity = tmp_path / "hub.db", EntityId("counter", "c")
    async with run_and_die(path, registry) as (client, _):
        for _ in range(5):
            await client.signal_entity(entity, "add", 1)
        await stuck.wait()
    blocked = False
    async with run_task_hub(path, registry, heartbeat=timedelta(milliseconds=100)) as hub:

        async def total() -> bool:
            return (await hub.client.read_entity(entity)).state == 5

        await eventually(total)

    assert ran > 5


async def test_a_claimed_activity_of_a_dead_worker_runs_on_the_next_one(tmp_path: Path) -> None:
    began = asyncio.Event()
    blocked = True

    async def wait(value: Any) -> str:
        began.set()
        if blocked:
            await asyncio.Event().wait()
        return "done"

    def slow(context: Any) -> Any:
        return (yield context.call_activity("wait"))

    registry = registry_of(orchestrators=[slow], activities=[wait])
    path = tmp_path / "hub.db"
    settings = WorkerSettings(local_activity_spill=timedelta(milliseconds=10))
    async with run_and_die(path, registry, settings) as (client, backend):
        instance_id = await client.start("slow")
        await began.wait()

        async def spilled() -> bool:
            return bool(await backend.instances.get_history(instance_id))  # type: ignore[arg-type]

        await eventually(spilled)
    blocked = False
    async with run_task_hub(path, registry, heartbeat=timedelta(milliseconds=100)) as hub:
        end = await hub.client.wait_for_completion(instance_id)

    assert end.runtime_status is OrchestrationStatus.COMPLETED
