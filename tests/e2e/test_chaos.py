"""Workers on Azure Storage are killed, stopped and continued while they work: nothing is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from azurite import Azurite, running_azurite
from support.chaos_app import COUNTERS, FIRST, KINDS, chaos_settings
from support.chaos_fleet import ActivityRun, Fleet

from durable_ext.backends.azure_storage.lease_table import LeaseTable
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.transport.connection import open_transport
from durable_ext.client.client import DurableClient
from durable_ext.client.query import InstanceQuery
from durable_ext.client.status import InstanceStatus
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import ExecutionCompleted, ExecutionStarted, OrchestrationStatus, TaskCompleted, TaskScheduled
from durable_ext.runtime.settings import LocalActivities
from durable_ext.testing.eventually import eventually

pytestmark = [pytest.mark.azurite, pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")]

PATIENCE = timedelta(seconds=240)
NOW_AND_THEN = timedelta(milliseconds=300)


@pytest.fixture
def azurite(tmp_path: Path) -> Iterator[Azurite]:
    with running_azurite(location=tmp_path / "azurite") as running:  # in memory it freezes after a minute of this
        yield running


class Story:
    """What a client did and what must have come of it."""

    def __init__(self, client: DurableClient) -> None:
        self._client = client
        self._waiting: list[str] = []
        self.started: dict[str, str] = {}
        self.counted: list[str] = []

    async def start(self, count: int) -> None:
        """Start instances, each kind in turn; events for those of the last time."""
        events, self._waiting = self._waiting, []
        for instance_id in events:
            await self._client.raise_event(instance_id, "go", "it")
        for number in range(len(self.started), len(self.started) + count):
            kind = KINDS[number % len(KINDS)]
            instance_id = f"{kind}-{number:03d}"
            await self._client.start(kind, instance_id=instance_id)
            self.started[instance_id] = kind
            if kind == "event":
                self._waiting.append(instance_id)
            elif kind == "counting":
                self.counted += [f"{instance_id} {word}" for word in ("called", "signalled", "again")]
            elif kind == "timer":
                key = f"{instance_id} client"
                await self._client.signal_entity(EntityId("counter", str(number % COUNTERS)), "count", key)
                self.counted.append(key)

    async def all_statuses(self) -> dict[str, InstanceStatus]:
        """Return every orchestration of the hub."""
        query = InstanceQuery(include_entities=False, page_size=1000)
        return {status.instance_id: status async for status in self._client.query_all(query)}

    async def ended(self) -> dict[str, InstanceStatus] | None:
        """Return every orchestration of the hub once all have ended."""
        known = await self.all_statuses()
        return known if set(self.started) <= set(known) and all(one.is_terminal for one in known.values()) else None

    async def counts(self) -> Counter[str]:
        """Return how often each key was counted, in all counters."""
        counts: Counter[str] = Counter()
        for number in range(COUNTERS):
            counts.update((await self._client.read_entity(EntityId("counter", str(number)))).state or {})
        return counts


def check_outputs(story: Story, statuses: Mapping[str, InstanceStatus], runs: list[ActivityRun]) -> None:
    """Every instance ended once, in its own way, with results that its own activities made and that were never replaced."""
    assert Counter(status.runtime_status for status in statuses.values()) == {OrchestrationStatus.COMPLETED: len(statuses)}
    parents = sum(1 for kind in story.started.values() if kind == "parent")
    assert len(statuses) == len(story.started) + 2 * parents, "instances that nobody started"
    lengths = {"hello5": 5, "fan_out": 10, "parent": 6, "timer": 2, "event": 2, "eternal": 3, "counting": 2}
    outputs: dict[str, Any] = {instance_id: statuses[instance_id].output for instance_id in story.started}
    assert {one: len(output) for one, output in outputs.items() if len(output) != lengths[story.started[one]]} == {}
    made = {run.token for run in runs}
    recorded = {token for output in outputs.values() for token in output}
    assert recorded <= made
    # An activity that was given a token proves that the token was recorded: then nothing else may have become of it.
    assert [run for run in runs if run.given != FIRST and run.given not in recorded] == []


async def check_histories(backend: AzureStorageBackend, statuses: Mapping[str, InstanceStatus]) -> None:
    """One start, one end, each scheduled activity answered."""
    for instance_id, status in statuses.items():
        events = await backend.instances.get_history(status.row.instance_id)
        kinds = Counter(type(event) for event in events)
        assert (kinds[ExecutionStarted], kinds[ExecutionCompleted]) == (1, 1), instance_id
        scheduled = [event.event_id for event in events if isinstance(event, TaskScheduled)]
        answered = {event.task_scheduled_id for event in events if isinstance(event, TaskCompleted)}
        assert len(scheduled) == len(set(scheduled)), instance_id
        assert answered == set(scheduled), instance_id


async def play(
    azurite: Azurite,
    folder: Path,
    task_hub: str,
    local: LocalActivities,
    *,
    workers: int,
    instances: int,
    kills: int,
    pauses: int,
    seed: int,
) -> None:
    """Start instances bit by bit, and let something happen to a worker between any two bits."""
    chance = random.Random(seed)
    incidents = ["kill"] * kills + ["pause", "long pause"] * (pauses // 2) + ["pause"] * (pauses % 2)
    chance.shuffle(incidents)
    batches = [instances // (len(incidents) + 1)] * len(incidents)
    batches.append(instances - sum(batches))
    settings = chaos_settings(azurite.connection_string, task_hub, "client")
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(AzureStorageBackend(settings))
        transport = open_transport(settings.account, settings.transport.value)
        stack.push_async_callback(transport.close)
        fleet = stack.enter_context(
            Fleet(
                folder=folder,
                connection=azurite.connection_string,
                task_hub=task_hub,
                local_activities=local,
                leases=LeaseTable(transport.tables, settings.names.partitions_table),
                chance=chance,
            )
        )
        fleet.launch(workers)
        story = Story(DurableClient(backend.instances, converter=DataConverter(), entity_codec=JsonEntityCodec()))

        async def work_begins(batch: int) -> None:
            begun = len(fleet.runs())
            await story.start(batch)
            await fleet.has_begun(begun + batch)  # about a third of what the batch will do

        for incident, batch in zip(incidents, batches, strict=False):
            if incident == "kill":
                await work_begins(batch)
                fleet.kill_one()
            else:
                await fleet.pause_one(partial(work_begins, batch), beyond_its_leases=incident == "long pause")
        await story.start(batches[-1])
        await story.start(0)  # the last events
        try:
            statuses = await eventually(story.ended, within=PATIENCE, every=NOW_AND_THEN)
        except AssertionError:
            open_ones = [one for one in (await story.all_statuses()).values() if not one.is_terminal]
            raise AssertionError(f"seed {seed}: {open_ones[:20]} did not end") from None
        fleet.check_alive()

        runs = fleet.runs()
        check_outputs(story, statuses, runs)
        await check_histories(backend, statuses)
        await eventually(lambda: _all_counted(story), "some signals were lost", within=PATIENCE, every=NOW_AND_THEN)
        assert await story.counts() == dict.fromkeys(story.counted, 1), f"seed {seed}"
        assert await asyncio.to_thread(fleet.stop) == [0] * workers


async def _all_counted(story: Story) -> bool:
    return set(story.counted) <= set(await story.counts())


@pytest.mark.slow
@pytest.mark.parametrize("local", ["on", "off"])
async def test_four_workers_killed_twenty_times_lose_and_double_nothing(
    azurite: Azurite, tmp_path: Path, task_hub: str, local: LocalActivities
) -> None:
    seed = random.randrange(1 << 30)

    await play(azurite, tmp_path, task_hub, local, workers=4, instances=500, kills=20, pauses=10, seed=seed)


@pytest.mark.slow
async def test_two_workers_killed_and_paused_lose_and_double_nothing(
    azurite: Azurite, tmp_path: Path, task_hub: str
) -> None:
    await play(azurite, tmp_path, task_hub, "on", workers=2, instances=70, kills=3, pauses=2, seed=1)
