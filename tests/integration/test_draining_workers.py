"""A worker that stops begins nothing more: what waits for an activity slot is another worker's at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure_hub import short_settings
from support.functions import registry_of
from support.store_place import HubPlace, worker_at

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.protocol import Backend
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.core.events import OrchestrationStatus
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.runtime.worker import TaskHubWorker
from durable_ext.testing.eventually import eventually

PATIENCE = timedelta(seconds=20)
ONE_SLOT = WorkerSettings(max_concurrent_activities=1)
WAITING = {"chain": 3, "fan": 4}  # of four instances: one runs, and of a fan so many that it waits, too


class Steps:
    """Orchestrations whose activities wait for `gate`."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.ran: Counter[str] = Counter()

    def registry(self) -> FunctionRegistry:
        async def step(name: str) -> str:
            self.ran[name] += 1
            await self.gate.wait()
            return name

        def chain(context: Any) -> Any:
            for number in range(3):
                yield context.call_activity("step", f"{context.get_input()}{number}")
            return "done"

        def fan(context: Any) -> Any:
            name = context.get_input()
            yield context.task_all([context.call_activity("step", f"{name}{number}") for number in range(3)])
            return "done"

        return registry_of(orchestrators=[chain, fan], activities=[step])


def waiting_for_a_slot(worker: TaskHubWorker) -> int:
    assert worker._machinery is not None
    return len(worker._machinery.activity_slots._waiting)


@pytest.mark.parametrize("name", ["chain", "fan"])
async def test_chains_that_wait_for_a_slot_when_a_worker_drains_go_on_elsewhere(place: HubPlace, name: str) -> None:
    one, other = Steps(), Steps()
    other.gate.set()
    async with worker_at(place, one.registry(), ONE_SLOT) as first:
        ids = [await first.client.start(name, letter) for letter in "abcd"]
        await eventually(lambda: waiting_for_a_slot(first.worker) == WAITING[name], "they do not wait", within=PATIENCE)
        begun = Counter(one.ran)

        draining = asyncio.ensure_future(first.worker.drain(timedelta(seconds=60)))
        async with worker_at(place, other.registry(), ONE_SLOT) as second:
            others = 9 if name == "chain" else 11
            await eventually(lambda: sum(other.ran.values()) == others, "not while one runs here", within=PATIENCE)
            one.gate.set()
            assert await draining
            outputs = [(await second.client.wait_for_completion(each, timeout=PATIENCE)).output for each in ids]

    assert outputs == ["done"] * 4
    assert one.ran == begun
    assert sum(begun.values()) == 1
    assert one.ran + other.ran == {f"{letter}{number}": 1 for letter in "abcd" for number in range(3)}


@pytest.mark.parametrize("name", ["chain", "fan"])
async def test_an_activity_that_ends_during_a_drain_makes_room_for_none(place: HubPlace, name: str) -> None:
    one, other = Steps(), Steps()
    other.gate.set()
    patient = WorkerSettings(max_concurrent_activities=1, local_activity_spill=timedelta(minutes=5))
    async with worker_at(place, one.registry(), patient) as first:
        ids = [await first.client.start(name, letter) for letter in "abcd"]
        await eventually(lambda: waiting_for_a_slot(first.worker) == WAITING[name], "they do not wait", within=PATIENCE)
        begun = Counter(one.ran)

        draining = asyncio.ensure_future(first.worker.drain(PATIENCE))
        await asyncio.sleep(0)
        one.gate.set()
        assert await draining
        await first.worker.stop()
    async with worker_at(place, other.registry(), ONE_SLOT) as second:
        outputs = [(await second.client.wait_for_completion(each, timeout=PATIENCE)).output for each in ids]

    assert outputs == ["done"] * 4
    assert one.ran == begun
    assert one.ran + other.ran == {f"{letter}{number}": 1 for letter in "abcd" for number in range(3)}


async def test_an_instance_whose_only_activity_waits_for_a_slot_can_be_terminated(place: HubPlace) -> None:
    app = Steps()
    async with worker_at(place, app.registry(), ONE_SLOT) as hub:
        await hub.client.start("chain", "a")
        await eventually(lambda: app.ran == {"a0": 1}, "it does not begin", within=PATIENCE)
        waiting = await hub.client.start("chain", "b")
        await eventually(lambda: waiting_for_a_slot(hub.worker) == 1, "it does not wait", within=PATIENCE)

        await hub.client.terminate(waiting, "enough")
        status = await hub.client.wait_for_completion(waiting, timeout=PATIENCE)
        ran = Counter(app.ran)
        app.gate.set()

    assert status.runtime_status is OrchestrationStatus.TERMINATED
    assert ran == {"a0": 1}


@asynccontextmanager
async def store_at(place: HubPlace) -> AsyncIterator[Backend]:
    """What takes work at a `place` when no worker is there."""
    opened: SqliteBackend | AzureStorageBackend
    if place.store == "sqlite":
        opened = SqliteBackend(SqliteSettings(path=Path(place.address), task_hub=place.task_hub))
    else:
        opened = AzureStorageBackend(short_settings(place.address, place.task_hub, partition_count=1, use_app_lease=False))
    async with opened as store:
        await store.start_worker()
        yield store


async def test_an_activity_that_a_stop_cancels_may_begin_elsewhere_at_once(place: HubPlace) -> None:
    steps = Steps()
    limits = WorkerSettings(local_activities="off")
    async with worker_at(place, steps.registry(), limits, drain=timedelta(0)) as hub:
        await hub.client.start("chain", "cancelled")
        await eventually(lambda: steps.ran, "nothing begins", within=PATIENCE)

    async with store_at(place) as store:
        item = await store.activities.lock_next_activity(timedelta(seconds=1))

    assert item is not None
    assert (item.dequeue_count, item.deaths) == (1, 0)
