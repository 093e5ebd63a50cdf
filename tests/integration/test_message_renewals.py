"""Renewals of messages that a worker holds: calls that hang, answers that are late, a stop in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from azurite import Azurite

from durable_ext.aio.supervisor import Supervisor
from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.message_codec import encode_envelope, wrapper_of
from durable_ext.backends.azure_storage.message_keeper import MessageKeeper
from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.backends.azure_storage.transport.errors import StorageRefusedError
from durable_ext.backends.azure_storage.transport.http import Interceptor, StorageCall
from durable_ext.backends.azure_storage.transport.queue import MessageReceipt, QueueMessage, QueueVerbs
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.testing.clock import ManualClock
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=30)
VISIBILITY = 6


@asynccontextmanager
async def one_held_message(
    azurite: Azurite, queue: str, interceptor: Interceptor, visibility: int = VISIBILITY
) -> AsyncIterator[tuple[MessageKeeper, HeldMessage, QueueVerbs, ManualClock]]:
    """Put a message and take it for some seconds, of which none pass before the clock is moved."""
    transport = open_lean_transport(account_from_connection_string(azurite.connection_string), interceptor=interceptor)
    loops, clock = Supervisor("test"), ManualClock()
    keeper = MessageKeeper(transport.queues, visibility, clock, "test")
    await transport.queues.create(queue)
    envelope = wrapper_of("blob")
    text = encode_envelope(envelope)
    expires = clock.monotonic() + visibility
    receipt = await transport.queues.put(queue, text, invisible_for=visibility)
    held = HeldMessage(queue=queue, receipt=receipt, envelope=envelope, text=text, dequeue_count=1, expires=expires)
    keeper.hold(held)
    keeper.start(loops)
    await eventually(lambda: clock.sleepers, "nobody renews", within=PATIENCE)
    try:
        yield keeper, held, transport.queues, clock
    finally:
        await keeper.stop()
        await loops.stop()
        await transport.close()


async def time_to_renew(clock: ManualClock, visibility: int = VISIBILITY) -> None:
    await clock.advance(timedelta(seconds=visibility * 0.6))


async def test_a_renewal_that_hangs_is_sent_again_before_others_see_the_message(azurite: Azurite) -> None:
    hanging: list[str] = []

    async def first_hangs(call: StorageCall, send: Send) -> HttpAnswer:
        if call.verb == "queue.update" and not hanging:
            hanging.append(call.resource)
            await asyncio.Event().wait()
        return await send()

    async with one_held_message(azurite, "hangs", first_hangs) as (keeper, held, queues, clock):
        first, began = held.receipt, time.monotonic()
        await time_to_renew(clock)
        await eventually(lambda: held.receipt != first, "it is not renewed", within=PATIENCE)

        assert time.monotonic() - began < VISIBILITY / 2
        assert await queues.get("hangs", count=1, visibility=60) == []
        assert await keeper.delete(held)


async def test_a_renewal_whose_answer_is_late_counts_although_the_second_one_is_refused(azurite: Azurite) -> None:
    refused: list[str] = []
    is_second = asyncio.Event()

    async def answers_late(call: StorageCall, send: Send) -> HttpAnswer:
        if call.verb != "queue.update":
            return await send()
        if is_second.is_set():
            try:
                return await send()
            except StorageRefusedError as error:
                refused.append(error.code)
                raise
        is_second.set()
        answer = await send()
        await eventually(lambda: refused, "it is not sent again", within=PATIENCE)
        return answer

    async with one_held_message(azurite, "late", answers_late) as (keeper, held, _, clock):
        first = held.receipt
        await time_to_renew(clock)
        await eventually(lambda: held.receipt != first, "it is not renewed", within=PATIENCE)

        assert refused
        assert keeper.count == 1
        assert await keeper.delete(held)


async def test_a_message_that_is_being_renewed_when_the_worker_stops_is_visible_at_once(azurite: Azurite) -> None:
    renewed, stopping = asyncio.Event(), asyncio.Event()

    async def answers_late(call: StorageCall, send: Send) -> HttpAnswer:
        answer = await send()
        if call.verb == "queue.update" and not renewed.is_set():
            renewed.set()
            await stopping.wait()
        return answer

    async with one_held_message(azurite, "stops", answers_late) as (keeper, _, queues, clock):
        await time_to_renew(clock)
        await asyncio.wait_for(renewed.wait(), PATIENCE.total_seconds())
        stop = asyncio.ensure_future(keeper.stop(patience=10))
        await asyncio.sleep(0)
        stopping.set()
        await stop
        await keeper.give_back_everything()

        assert len(await queues.get("stops", count=1, visibility=60)) == 1


async def test_a_message_whose_renewal_was_done_but_not_answered_is_known_when_it_comes_again(azurite: Azurite) -> None:
    is_lost, taken = asyncio.Event(), list[QueueMessage]()

    async def answer_is_lost(call: StorageCall, send: Send) -> HttpAnswer:
        answer = await send()
        if call.verb == "queue.update" and not is_lost.is_set():
            is_lost.set()
            await send()  # the wire repeats it, with a receipt that is old
        return answer

    async with one_held_message(azurite, "unanswered", answer_is_lost, 1) as (keeper, held, queues, clock):
        await time_to_renew(clock, 1)
        await asyncio.wait_for(is_lost.wait(), PATIENCE.total_seconds())

        async def comes_again() -> bool:
            taken.extend(await queues.get("unanswered", count=1, visibility=60))
            return bool(taken)

        await eventually(comes_again, within=PATIENCE)
        again = HeldMessage(
            queue="unanswered",
            receipt=MessageReceipt(taken[0].message_id, taken[0].pop_receipt),
            envelope=held.envelope,
            text=taken[0].text,
            dequeue_count=taken[0].dequeue_count,
            deliveries=taken[0].dequeue_count,
            expires=held.expires + 60,
        )

        assert keeper.recognizes(again)
        assert await keeper.delete(held)


async def test_nothing_begins_with_a_message_whose_renewal_was_done_but_not_answered(azurite: Azurite) -> None:
    async def answer_is_lost(call: StorageCall, send: Send) -> HttpAnswer:
        answer = await send()
        return await send() if call.verb == "queue.update" else answer

    async with one_held_message(azurite, "unmarked", answer_is_lost) as (keeper, held, _, _):
        held.deliveries = 2  # so that the run has to be marked

        assert not await keeper.begin(held)
        assert keeper.count == 0
