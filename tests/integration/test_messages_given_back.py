"""Messages that a worker has taken and cannot play: somebody gets them at once, not when their visibility ends."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from azure_hub import short_settings
from azurite import Azurite
from support.provider_messages import provider_message

from durable_ext.backends.azure_storage.partitions import partition_index
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.transport.errors import StorageUnavailableError
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.testing.contract_scenes import Scene, messages_of, names, raised
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=30)
LONG = timedelta(minutes=5)


def settings_of(azurite: Azurite, task_hub: str, partition_count: int = 1) -> AzureStorageSettings:
    return short_settings(
        azurite, task_hub, partition_count=partition_count, control_queue_visibility=LONG, use_app_lease=False
    )


async def test_messages_of_a_partition_that_was_lost_are_visible_to_its_new_owner_at_once(
    azurite: Azurite, task_hub: str
) -> None:
    async with AzureStorageBackend(settings_of(azurite, task_hub)) as backend:
        await backend.start_worker()
        scene = Scene(backend, PATIENCE)
        session, start = await scene.started_session()
        await backend.instances.send(raised(start.instance.instance_id, "taken"))
        await messages_of(session, PATIENCE)
        await backend.instances.send(raised(start.instance.instance_id, "waits"))
        await eventually(lambda: backend._keepers[0].count == 2, "the second one is not fetched", within=PATIENCE)

        backend._listening.lose(0)  # the next round of its leases listens again
        seen: list[str] = []
        while sorted(seen) != ["taken", "waits"]:
            session = await scene.session()
            seen += names(await messages_of(session, PATIENCE))


async def test_a_message_that_was_never_delivered_and_may_be_played_is_not_made_to_look_new(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    settings = settings_of(azurite, task_hub)
    async with AzureStorageBackend(settings) as backend:
        await backend.start_worker()
        await eventually(lambda: backend.owns(0), within=PATIENCE)
        scene = Scene(backend, PATIENCE)
        await scene.started_session()  # its start message was claimed when it was put

        backend._listening.lose(0)
        await backend.abort()

    assert await transport.queues.get(settings.names.control_queue(0), count=32, visibility=1) == []


async def test_messages_whose_taker_is_cancelled_while_one_is_marked_wait_for_the_next(
    azurite: Azurite, task_hub: str
) -> None:
    hangs, is_marking, released = False, asyncio.Event(), asyncio.Event()

    async def intercept(call: StorageCall, send: Send) -> HttpAnswer:
        if hangs and call.verb == "queue.update":
            is_marking.set()
            await released.wait()
        return await send()

    async with AzureStorageBackend(settings_of(azurite, task_hub), interceptor=intercept) as backend:
        await backend.start_worker()
        scene = Scene(backend, PATIENCE)
        session, start = await scene.started_session()
        await backend.instances.send(raised(start.instance.instance_id, "heard"))
        await messages_of(session, PATIENCE)
        await session.abandon()  # it is delivered a second time: such a message is marked when its run begins
        hangs = True
        session = await scene.session()
        listening = asyncio.ensure_future(session.next_messages(PATIENCE))
        await asyncio.wait_for(is_marking.wait(), PATIENCE.total_seconds())
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        released.set()
        batch = await messages_of(session, timedelta(seconds=10))

    assert names(batch) == ["heard"]


async def test_one_foreign_message_that_cannot_be_passed_on_keeps_neither_itself_nor_the_others(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    failed: list[str] = []

    async def intercept(call: StorageCall, send: Send) -> HttpAnswer:
        if call.verb == "queue.put" and not failed:
            failed.append(call.resource)
            raise StorageUnavailableError(call=call.verb, why="the test wants it so")
        return await send()

    settings = settings_of(azurite, task_hub, partition_count=2)
    foreign = [name for name in (f"waiter-{number}" for number in range(20)) if partition_index(name, 2) == 1][:2]
    wrong = settings.names.control_queue(0)
    backend = AzureStorageBackend(settings, interceptor=intercept)
    async with backend:
        for instance_id in foreign:
            await transport.queues.put(
                wrong, provider_message("EventRaised", instance_id, Name="x", Input="7", EventType=15)
            )
        await transport.queues.put(wrong, "not readable")
        await backend.start_worker()
        await eventually(lambda: failed, "nothing is passed on", within=PATIENCE)

        passed_on = (await backend.orchestrations.lock_next_orchestration(PATIENCE) for _ in foreign)
        found = [session.instance.instance_id async for session in passed_on if session is not None]
        visible = await eventually(lambda: transport.queues.get(wrong, count=1, visibility=1), within=PATIENCE)

    assert sorted(found) == sorted(foreign)
    assert [message.text for message in visible] == ["not readable"]
