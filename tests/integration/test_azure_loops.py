"""The loops behind a task hub on Azure Storage: what stops them, what does not, and who hears of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from azure_hub import run_azure_hub
from azurite import Azurite
from support.functions import registry_of

from durable_ext.aio.supervisor import LoopFailedError, Supervisor
from durable_ext.backends.azure_storage.blob_lease_rounds import HeldBlobLeases
from durable_ext.backends.azure_storage.blob_leases import BlobLease, lease_content
from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.lease_blobs import LeaseBlobs
from durable_ext.backends.azure_storage.message_codec import encode_envelope, wrapper_of
from durable_ext.backends.azure_storage.message_keeper import MessageKeeper
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.backends.azure_storage.transport.errors import (
    StorageConflictError,
    StorageNotFoundError,
    StorageUnavailableError,
)
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.queue import QueueVerbs
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.clock import ManualClock
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send
from tests.bench.functions import GREETINGS, bench_registry

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=30)


def settings_of(azurite: Azurite, task_hub: str) -> AzureStorageSettings:
    return AzureStorageSettings(connection=azurite.connection_string, task_hub=task_hub, use_app_lease=False)


@pytest.mark.parametrize(("verb", "loop"), [("queue.get", "-control-"), ("table.query", "leases")])
async def test_a_loop_that_dies_of_a_bug_is_the_workers_failure_and_closing_is_quick(
    azurite: Azurite, verb: str, loop: str
) -> None:
    broken = False

    async def breaks(call: StorageCall, send: Send) -> HttpAnswer:
        if broken and call.verb == verb and ("-control-" in call.resource or "Partitions" in call.resource):
            raise ZeroDivisionError("a bug")
        return await send()

    hub_of = run_azure_hub(settings_of(azurite, f"Dies{verb[:5]}"), bench_registry(), interceptor=breaks)
    async with hub_of as hub:
        assert hub.worker.is_healthy
        assert hub.worker.failure is not None
        broken = True

        failure = await asyncio.wait_for(asyncio.shield(hub.worker.failure), 30)
        assert isinstance(failure, LoopFailedError)
        assert loop in failure.loop_name
        assert isinstance(failure.__cause__, ZeroDivisionError)
        assert not hub.worker.is_healthy

        broken = False
        await asyncio.wait_for(hub.backend.close(), 30)  # a lease loop that has died is not waited for


async def test_queues_that_cannot_be_made_again_yet_stop_nothing(azurite: Azurite) -> None:
    refused: list[str] = []
    being_deleted = True

    async def deleting(call: StorageCall, send: Send) -> HttpAnswer:
        if being_deleted and call.verb == "queue.get":
            raise StorageNotFoundError(call="queue.get", status=404, code="QueueNotFound", detail="")
        if being_deleted and call.verb == "queue.create":
            refused.append(call.resource)
            raise StorageConflictError(call="queue.create", status=409, code="QueueBeingDeleted", detail="")
        return await send()

    being_deleted = False
    async with run_azure_hub(settings_of(azurite, "Deleting"), bench_registry(), interceptor=deleting) as hub:
        being_deleted = True
        await eventually(lambda: len(set(refused)) == 5, "not every queue was tried")
        being_deleted = False

        instance_id = await hub.client.start("hello5")

        assert (await hub.client.wait_for_completion(instance_id)).output == GREETINGS
        assert hub.worker.is_healthy


async def test_a_renewal_that_hangs_holds_up_no_other_one(azurite: Azurite) -> None:
    released = asyncio.Event()
    hanging: list[str] = []
    half = timedelta(seconds=3.5)  # of the time for which messages are held, and a bit more

    async def hangs(call: StorageCall, send: Send) -> HttpAnswer:
        if call.verb == "queue.update":
            hanging[:] = hanging or [call.resource]
            if call.resource in hanging:
                await released.wait()
        return await send()

    transport = open_lean_transport(account_from_connection_string(azurite.connection_string), interceptor=hangs)
    loops, clock = Supervisor("test"), ManualClock()
    keeper = MessageKeeper(transport.queues, 6, clock, "test")
    await transport.queues.create("renewals")
    held = [await hold_one(transport.queues, keeper, clock) for _ in range(2)]
    first, other = (each.receipt for each in held)

    keeper.start(loops)
    await eventually(lambda: clock.sleepers, "nobody renews", within=PATIENCE)
    try:
        await clock.advance(half)
        await eventually(lambda: held[1].receipt != other or held[0].receipt != first, "no renewal", within=PATIENCE)
        renewed = held[1] if held[1].receipt != other else held[0]
        once = renewed.receipt
        await clock.advance(half)
        await eventually(lambda: renewed.receipt != once, "it was renewed once only", within=PATIENCE)
    finally:
        released.set()
        await keeper.stop()
        await loops.stop()
        await transport.close()
    assert hanging


async def hold_one(queues: QueueVerbs, keeper: MessageKeeper, clock: ManualClock) -> HeldMessage:
    """Put a message and take it for 6 s."""
    envelope = wrapper_of("blob")
    text = encode_envelope(envelope)
    receipt = await queues.put("renewals", text, invisible_for=keeper.visibility)
    expires = clock.monotonic() + keeper.visibility
    held = HeldMessage(queue="renewals", receipt=receipt, envelope=envelope, text=text, dequeue_count=1, expires=expires)
    keeper.hold(held)
    return held


class SlowGets:
    """An interceptor that keeps back, while `closed`, the answers to gets that bring something."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._opened = asyncio.Event()
        self._opened.set()
        self.kept = 0

    def close(self) -> None:
        self._opened.clear()

    def open(self) -> None:
        self._opened.set()

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        answer = await send()
        if call.verb == "queue.get" and self._queue in call.resource and b"<MessageId>" in answer.body:
            self.kept += not self._opened.is_set()
            await self._opened.wait()
        return answer


@pytest.mark.parametrize(("queue", "claims"), [("-control-", True), ("-workitems", False)])
async def test_what_a_get_brings_while_the_worker_stops_is_visible_at_once(
    azurite: Azurite, queue: str, claims: bool
) -> None:
    """Messages of a get that was under way would otherwise be invisible for the 5 minutes that nobody holds them."""
    gets = SlowGets(queue)
    settings = replace(settings_of(azurite, f"Stops{queue.strip('-')}"), claim_at_enqueue=claims)
    slow = WorkerSettings(local_activities="off")
    async with run_azure_hub(settings, bench_registry(), worker_settings=slow, interceptor=gets) as first:
        gets.close()
        async with run_azure_hub(settings, bench_registry(), serve=False) as elsewhere:
            instance_id = await elsewhere.client.start("hello5")
            await eventually(lambda: gets.kept, "no get brought anything", within=PATIENCE)
            draining = asyncio.ensure_future(first.worker.drain())
            await eventually(lambda: not first.backend._listening.listens(0), "it does not drain", within=PATIENCE)
            gets.open()
            await draining
            await first.worker.stop()
            await first.backend.close()

            async with run_azure_hub(settings, bench_registry(), worker_settings=slow):
                done = await elsewhere.client.wait_for_completion(instance_id, timeout=timedelta(seconds=40))
    assert done.output == GREETINGS


async def test_a_worker_that_drains_hands_its_partitions_over_before_its_activities_have_ended(azurite: Azurite) -> None:
    settings = replace(settings_of(azurite, "DrainsEarly"), lease_acquire_interval=timedelta(milliseconds=300))
    begun, released = asyncio.Event(), asyncio.Event()

    async def wait(_: object) -> str:
        begun.set()
        await released.wait()
        return "waited"

    def waits(context: Any) -> Any:
        return (yield context.call_activity("wait", None))

    first_registry = registry_of(orchestrators=[waits], activities=[wait])
    async with run_azure_hub(settings, first_registry) as first:
        long = await first.client.start("waits")
        await eventually(begun.is_set, "the activity did not begin")
        draining = asyncio.ensure_future(first.worker.drain(timedelta(seconds=60)))
        async with run_azure_hub(settings, bench_registry()) as second:
            instance_id = await second.client.start("hello5")
            done = await second.client.wait_for_completion(instance_id, timeout=timedelta(seconds=40))
            assert done.output == GREETINGS
            assert not draining.done()
        released.set()
        assert await draining

    async with run_azure_hub(settings, first_registry) as third:
        assert (await third.client.wait_for_completion(long)).output == "waited"


async def test_a_blob_lease_that_cannot_be_renewed_runs_out(azurite: Azurite) -> None:
    is_down = False

    async def fails(call: StorageCall, send: Send) -> HttpAnswer:
        if is_down:
            raise StorageUnavailableError(call=call.verb, why="out")
        return await send()

    transport = open_lean_transport(account_from_connection_string(azurite.connection_string), interceptor=fails)
    clock = ManualClock()
    blobs = LeaseBlobs(transport.blobs, "outage-leases", "default", 15)
    await transport.blobs.create_container("outage-leases")
    free = BlobLease(blob="default/hub-control-00", partition="hub-control-00")
    await transport.blobs.upload("outage-leases", free.blob, lease_content(free))
    leases = HeldBlobLeases(blobs, 15, clock)
    assert await leases.take("me", steals=True, wanted=lambda _: True) == ["hub-control-00"]

    is_down = True
    await clock.advance(timedelta(seconds=10))
    gone = await leases.renew(lambda _: True)
    assert (gone, leases.is_valid("hub-control-00")) == ([], True)

    await clock.advance(timedelta(seconds=10))
    await leases.renew(lambda _: True)
    assert not leases.is_valid("hub-control-00")

    is_down = False
    await leases.renew(lambda _: True)
    assert leases.is_valid("hub-control-00")
    await transport.close()


async def test_blob_leases_are_renewed_beside_one_whose_renewal_hangs(azurite: Azurite) -> None:
    released, hanging = asyncio.Event(), False

    async def hangs(call: StorageCall, send: Send) -> HttpAnswer:
        if hanging and call.verb == "blob.lease_renew" and call.resource.endswith("control-00"):
            await released.wait()
        return await send()

    transport = open_lean_transport(account_from_connection_string(azurite.connection_string), interceptor=hangs)
    clock, names = ManualClock(), ["hub-control-00", "hub-control-01"]
    await transport.blobs.create_container("hanging-leases")
    for name in names:
        free = BlobLease(blob=f"default/{name}", partition=name)
        await transport.blobs.upload("hanging-leases", free.blob, lease_content(free))
    leases = HeldBlobLeases(LeaseBlobs(transport.blobs, "hanging-leases", "default", 15), 3, clock)
    assert await leases.take("me", steals=True, wanted=lambda _: True) == names

    hanging = True
    await clock.advance(timedelta(seconds=2))
    gone = await asyncio.wait_for(leases.renew(lambda _: True), 10)
    await clock.advance(timedelta(seconds=2))
    assert (gone, sorted(leases.held), leases.is_cut_off) == ([], names, True)
    assert [leases.is_valid(name) for name in names] == [False, True]

    released.set()
    await leases.renew(lambda _: True)
    assert [leases.is_valid(name) for name in names] == [True, True]
    await transport.close()
