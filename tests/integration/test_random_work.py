"""Random orchestrations on real stores: whatever fails or dies, and whoever goes on, their outputs and counts are known."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from azure_hub import run_azure_hub, short_settings
from azurite import Azurite
from support.crash_matrix import PATIENCE, CrashMatrix, MortalBackend, Story, azure_processes, running_process
from support.hub_reader import HubReader, WriteByWrite
from support.mortal_sqlite import every_write, sqlite_processes
from support.random_faults import RandomFaults
from support.random_work import RandomWork
from support.stuck_states import StoredHub, stuck_instances

from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.runtime.settings import LocalActivities, WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import FailingTransport, When, is_work

OpenBackend = Callable[[str, FailingTransport | None], MortalBackend]

FEW = pytest.param(range(6), id="few")
MANY = pytest.param(range(6, 60), id="many", marks=pytest.mark.slow)
AT_ONCE = 6
MOST_CALLS = 150
SECOND = timedelta(seconds=1)


async def each(seeds: Iterable[int], play: Callable[[int], Awaitable[None]]) -> None:
    """Play some at a time; fails with every seed that failed."""
    slots, failures = asyncio.Semaphore(AT_ONCE), list[str]()

    async def one(seed: int) -> None:
        async with slots:
            try:
                await asyncio.wait_for(play(seed), 3 * PATIENCE.total_seconds())
            except (AssertionError, asyncio.TimeoutError, Exception) as error:
                failures.append(f"seed {seed}: {type(error).__name__} {error}")

    await asyncio.gather(*(one(seed) for seed in seeds))
    assert not failures, "\n".join(sorted(failures))


def local_activities(dice: random.Random) -> LocalActivities:
    choices: list[LocalActivities] = ["on", "on", "off", "batched"]
    return dice.choice(choices)


async def crash_somewhere(seed: int, open_backend: OpenBackend, counts: Callable[[StorageCall], bool]) -> None:
    dice = random.Random(seed)
    matrix = CrashMatrix(
        open_backend=open_backend, first=local_activities(dice), second=local_activities(dice), counts=counts
    )
    await matrix.play(RandomWork(seed), FailingTransport(dice.randint(1, MOST_CALLS), dice.choice(list(When)), counts))


@pytest.mark.azurite
@pytest.mark.parametrize("seeds", [FEW, MANY])
async def test_a_process_that_dies_somewhere_changes_nothing(azurite_on_disk: Azurite, seeds: range) -> None:
    async def play(seed: int) -> None:
        await crash_somewhere(seed, azure_processes(azurite_on_disk.connection_string, 1 + seed % 3), is_work)

    await each(seeds, play)


@pytest.mark.parametrize("seeds", [FEW, MANY])
async def test_a_process_on_the_embedded_store_that_dies_somewhere_changes_nothing(tmp_path: Path, seeds: range) -> None:
    async def play(seed: int) -> None:
        place = tmp_path / str(seed)
        place.mkdir()
        await crash_somewhere(seed, sqlite_processes(place), every_write)

    await each(seeds, play)


@asynccontextmanager
async def client_of(open_backend: OpenBackend, hub: str) -> AsyncIterator[tuple[DurableClient, MortalBackend]]:
    """A client whose calls never fail."""
    backend = open_backend(hub, None)
    await backend.open()
    try:
        yield DurableClient(backend.instances, converter=DataConverter(), entity_codec=JsonEntityCodec()), backend
    finally:
        await backend.close()


@pytest.mark.azurite
@pytest.mark.slow  # most of the time waits for messages of the dead to come back
@pytest.mark.parametrize("seeds", [FEW, MANY])
async def test_calls_that_fail_now_and_then_change_nothing(azurite_on_disk: Azurite, seeds: range) -> None:
    async def play(seed: int) -> None:
        dice, work, story = random.Random(seed), RandomWork(seed), Story()
        open_backend = azure_processes(azurite_on_disk.connection_string, dice.randint(1, 3))
        hub, faults = f"Hub{uuid.uuid4().hex[:12]}", RandomFaults(dice, dice.choice([0.01, 0.03, 0.1]))
        async with client_of(open_backend, hub) as (client, backend):
            worker = open_backend(hub, faults)
            async with running_process(worker, work.registry(story), local_activities(dice), faults):
                faults.armed = True
                await work.play(client, story)
                faults.armed = False
                await work.check(client, backend, story)

    await each(seeds, play)


@pytest.mark.azurite
@pytest.mark.slow  # most of the time waits for messages of the dead to come back
@pytest.mark.parametrize("seeds", [FEW, MANY])
async def test_two_workers_that_come_and_go_change_nothing(azurite_on_disk: Azurite, seeds: range) -> None:
    """Some drain, some are killed, and calls of some fail now and then; each runs activities in its own way."""

    async def play(seed: int) -> None:
        work, story, done = RandomWork(seed, instances=5), Story(), asyncio.Event()
        open_backend = azure_processes(azurite_on_disk.connection_string, 1 + seed % 4)
        hub = f"Hub{uuid.uuid4().hex[:12]}"

        async def come_and_go(dice: random.Random) -> None:
            while not done.is_set():
                faults = RandomFaults(dice, dice.choice([0, 0, 0.02, 0.05]))
                worker = open_backend(hub, faults)
                async with running_process(worker, work.registry(story), local_activities(dice), faults):
                    faults.armed = True
                    await asyncio.wait((stopping,), timeout=dice.uniform(0.3, 6))
                    faults.armed = False
                    if dice.random() < 0.7 and not done.is_set():
                        faults.kill()

        async with client_of(open_backend, hub) as (client, backend):
            stopping = asyncio.ensure_future(done.wait())
            workers = [asyncio.ensure_future(come_and_go(random.Random(f"{seed} {number}"))) for number in range(2)]
            try:
                await work.play(client, story)
                await work.check(client, backend, story)
            finally:
                done.set()
                await asyncio.gather(*workers, stopping)

    await each(seeds, play)


@pytest.mark.azurite
@pytest.mark.parametrize("seeds", [FEW, MANY])
async def test_a_plain_worker_could_go_on_with_random_work_after_each_of_our_writes(
    azurite: Azurite, transport: StorageTransport, seeds: range
) -> None:
    async def play(seed: int) -> None:
        work, story, bad = RandomWork(seed, instances=2, rewinds=False), Story(), list[str]()
        registry = work.registry(story)

        def look(call: StorageCall, hub: StoredHub) -> None:
            bad.extend(f"after {call.verb} {call.resource}: {reason}" for reason in stuck_instances(hub, registry))

        settings = short_settings(azurite, f"Hub{uuid.uuid4().hex[:12]}", partition_count=2, use_app_lease=False)
        writes = WriteByWrite(HubReader(transport, settings.names), settings.names.work_item_queue, look)
        worker = WorkerSettings(
            local_activities=local_activities(random.Random(seed)), local_activity_spill=timedelta(hours=1)
        )
        async with run_azure_hub(settings, registry, worker_settings=worker, interceptor=writes) as hub:
            # Without it the start message is taken before its row is there, and comes back after two seconds.
            await eventually(lambda: hub.backend.owns(0) and hub.backend.owns(1), within=20 * SECOND)
            await work.play(hub.client, story)
            await work.check(hub.client, hub.backend, story)
        assert bad == []
        assert writes.states > 2

    await each(seeds, play)
