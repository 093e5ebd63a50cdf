"""Activities that wait for a slot of a busy worker run on one that is idle, whichever way they came to the busy one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from azure_hub import AzureHub, run_azure_hub, short_settings
from support.functions import registry_of
from support.store_place import HubPlace, worker_at

from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import LocalActivities, WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import RunningTaskHub

PATIENCE = timedelta(seconds=20)
BUSY = 3  # slots of the worker that begins
WIDTH = 3 * BUSY


class Meeting:
    """Activities that end when the gate is opened; `ran` counts those that have begun on one of the workers."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.ran: Counter[str] = Counter()

    def registry(self, worker: str) -> FunctionRegistry:
        async def work(number: int) -> int:
            self.ran[worker] += 1
            await self.gate.wait()
            return number

        def one(context: Any) -> Any:
            return (yield context.call_activity("work", 1))

        def fan(context: Any) -> Any:
            return (yield context.task_all([context.call_activity("work", number) for number in range(WIDTH)]))

        def fan_with_timer(context: Any) -> Any:
            fan = context.task_all([context.call_activity("work", number) for number in range(WIDTH)])
            timer = context.create_timer(context.current_utc_datetime + timedelta(hours=1))
            yield context.task_any([fan, timer])
            timer.cancel()
            return fan.result

        def one_with_timer(context: Any) -> Any:
            one = context.call_activity("work", 1)
            timer = context.create_timer(context.current_utc_datetime + timedelta(hours=1))
            yield context.task_any([one, timer])
            timer.cancel()
            return one.result

        return registry_of(orchestrators=[one, fan, fan_with_timer, one_with_timer], activities=[work])


@asynccontextmanager
async def another_worker(place: HubPlace, registry: FunctionRegistry, limits: WorkerSettings) -> AsyncIterator[Any]:
    """A worker beside the one that has the hub's partition."""
    if place.store == "sqlite":
        async with worker_at(place, registry, limits) as hub:
            yield hub
        return
    settings = short_settings(place.address, place.task_hub, partition_count=1, use_app_lease=False)
    async with run_azure_hub(settings, registry, worker_settings=limits) as azure_hub:
        yield azure_hub


@asynccontextmanager
async def two_workers(place: HubPlace, meeting: Meeting, mode: LocalActivities) -> AsyncIterator[AzureHub | RunningTaskHub]:
    """A worker with few slots that has the hub to itself until it is busy, and one with many."""
    busy = WorkerSettings(max_concurrent_activities=BUSY, local_activities=mode)
    idle = WorkerSettings(max_concurrent_activities=10 * WIDTH, local_activities=mode)
    async with (
        worker_at(place, meeting.registry("busy"), busy) as hub,
        another_worker(place, meeting.registry("idle"), idle),
    ):
        yield hub


@pytest.mark.parametrize(
    ("name", "mode"), [("fan", "on"), pytest.param("fan", "off", marks=pytest.mark.slow), ("fan_with_timer", "on")]
)
async def test_a_fan_out_of_long_activities_runs_on_all_workers(place: HubPlace, name: str, mode: LocalActivities) -> None:
    meeting = Meeting()
    async with two_workers(place, meeting, mode) as hub:
        instance_id = await hub.client.start(name)

        await eventually(lambda: meeting.ran.total() == WIDTH, "they wait", within=PATIENCE)
        meeting.gate.set()
        status = await hub.client.wait_for_completion(instance_id, timeout=PATIENCE)

    assert status.output == list(range(WIDTH))
    assert meeting.ran.total() == WIDTH
    assert meeting.ran["busy"] <= BUSY


async def test_activities_of_several_instances_that_wait_here_run_elsewhere(place: HubPlace) -> None:
    meeting = Meeting()
    async with two_workers(place, meeting, "on") as hub:
        instances = [await hub.client.start("one_with_timer") for _ in range(WIDTH)]

        await eventually(lambda: meeting.ran.total() == WIDTH, "they wait", within=PATIENCE)
        meeting.gate.set()
        for instance_id in instances:
            await hub.client.wait_for_completion(instance_id, timeout=PATIENCE)

    assert meeting.ran.total() == WIDTH


@pytest.mark.slow  # up to seven seconds: then the busy worker knows that it is not alone; see test_local_activity_rules.py
@pytest.mark.parametrize(("name", "count"), [("one", WIDTH), ("fan", 1)])
async def test_activities_for_which_no_slot_comes_free_run_elsewhere(place: HubPlace, name: str, count: int) -> None:
    meeting = Meeting()
    quick = {"local_activity_spill": timedelta(milliseconds=100)}
    busy, idle = (WorkerSettings(max_concurrent_activities=slots, **quick) for slots in (BUSY, 10 * WIDTH))
    async with worker_at(place, meeting.registry("busy"), busy) as hub:
        instances = [await hub.client.start("one") for _ in range(BUSY)]
        await eventually(lambda: meeting.ran["busy"] == BUSY, "the slots are free", within=PATIENCE)
        instances += [await hub.client.start(name) for _ in range(count)]
        async with another_worker(place, meeting.registry("idle"), idle):
            await eventually(lambda: meeting.ran.total() == BUSY + WIDTH, "they wait", within=PATIENCE)
            meeting.gate.set()
            for instance_id in instances:
                await hub.client.wait_for_completion(instance_id, timeout=PATIENCE)

    assert meeting.ran == {"busy": BUSY, "idle": WIDTH}
