"""Instances whose history cannot be loaded, for whatever reason, keep neither their messages nor other instances."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from azure_hub import short_settings
from azurite import Azurite

from durable_ext.aio.clock import SystemClock
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.errors import StorageUnavailableError
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.testing.contract_scenes import Scene, child_start, messages_of, names, new_id, raised
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=15)
LOADS_AT_ONCE = 32
LOAD_RETRY_SECONDS = 5.0


def settings_of(azurite: Azurite, task_hub: str) -> AzureStorageSettings:
    return short_settings(
        azurite,
        task_hub,
        partition_count=1,
        control_queue_visibility=timedelta(seconds=3),
        control_queue_buffer_threshold=256,
        use_app_lease=False,
    )


Instead = Callable[[Send], Awaitable[HttpAnswer]]


class HistoryReads:
    """`instead` is done in place of the reads of histories, as long as it is there."""

    def __init__(self) -> None:
        self.instead: Instead | None = None

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if call.verb != "table.query" or "History" not in call.resource:
            return await send()
        return await send() if self.instead is None else await self.instead(send)


class UnforeseenError(Exception):
    """Of a kind that nobody expects of a store."""


async def test_messages_whose_loading_died_of_a_mistake_are_given_back(azurite: Azurite, task_hub: str) -> None:
    died = asyncio.Event()

    async def die(send: Send) -> HttpAnswer:
        died.set()
        raise UnforeseenError

    reads = HistoryReads()
    async with AzureStorageBackend(settings_of(azurite, task_hub), interceptor=reads) as backend:
        await backend.start_worker()
        scene = Scene(backend, PATIENCE)
        session, start = await scene.started_session()
        await session.release()
        reads.instead = die
        await backend.instances.send(raised(start.instance.instance_id, "lost"))
        await asyncio.wait_for(died.wait(), PATIENCE.total_seconds())
        await eventually(lambda: _held(backend) == 0, "it is still held", within=PATIENCE)
        assert not backend._directory._inboxes

        reads.instead = None
        batch = await messages_of(await scene.session(), PATIENCE)

    assert names(batch) == ["lost"]


def _held(backend: AzureStorageBackend) -> int:
    return sum(keeper.count for keeper in backend._keepers)


class LongPauses(SystemClock):
    """The pause after a load that failed is not over before `over` is set."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        if seconds == LOAD_RETRY_SECONDS and not self.over.is_set():
            await self.over.wait()
        else:
            await super().sleep(seconds)


async def test_instances_that_cannot_be_loaded_do_not_keep_others_from_it(azurite: Azurite, task_hub: str) -> None:
    failures = 0

    async def fail(send: Send) -> HttpAnswer:
        nonlocal failures
        failures += 1
        raise StorageUnavailableError(call="table.query", why="the test wants it so")

    reads, clock = HistoryReads(), LongPauses()
    async with AzureStorageBackend(settings_of(azurite, task_hub), clock, interceptor=reads) as backend:
        await backend.start_worker()
        scene = Scene(backend, PATIENCE)
        session, start = await scene.started_session()
        await session.release()
        reads.instead = fail
        try:
            for _ in range(LOADS_AT_ONCE):
                await backend.instances.send(raised(new_id("nobody"), "lost"))
            await eventually(lambda: failures >= LOADS_AT_ONCE, "nothing is loaded", within=PATIENCE)

            reads.instead = None
            await backend.instances.send(raised(start.instance.instance_id, "heard"))
            batch = await messages_of(await scene.session(), PATIENCE)
        finally:
            clock.over.set()

    assert names(batch) == ["heard"]


async def test_a_partition_lost_while_its_messages_are_judged_is_no_instance_that_cannot_be_read(
    azurite: Azurite, task_hub: str, caplog: pytest.LogCaptureFixture
) -> None:
    reads, both_are_there, lost = HistoryReads(), asyncio.Event(), asyncio.Event()

    async def wait(send: Send) -> HttpAnswer:
        await both_are_there.wait()
        return await send()

    async def intercept(call: StorageCall, send: Send) -> HttpAnswer:
        if both_are_there.is_set() and call.verb == "queue.delete" and not lost.is_set():
            backend._directory.lose(0)
            lost.set()
        return await reads(call, send)

    async with AzureStorageBackend(settings_of(azurite, task_hub), interceptor=intercept) as backend:
        await backend.start_worker()
        scene = Scene(backend, PATIENCE)
        parent, _ = await scene.started_session()
        child_id = new_id("child")
        await backend.instances.send(child_start(child_id, parent.instance))
        session = await scene.session()
        await scene.begin(session)
        await session.release()
        reads.instead = wait
        for _ in range(2):
            await backend.instances.send(child_start(child_id, parent.instance))
        both_are_there.set()
        await asyncio.wait_for(lost.wait(), PATIENCE.total_seconds())
        reads.instead = None
        await backend.instances.send(raised(child_id, "heard"))
        batch = await messages_of(await scene.session(), PATIENCE)

    assert names(batch) == ["heard"]
    assert [each for each in caplog.records if getattr(each, "event", None) == "instance_unreadable"] == []
