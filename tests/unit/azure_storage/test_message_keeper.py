"""What a keeper writes into the messages that it holds, and what it knows when they come again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.message_codec import (
    DeliveryMarks,
    encode_envelope,
    marks_of,
    with_marks,
    wrapper_of,
)
from durable_ext.backends.azure_storage.message_keeper import MessageKeeper
from durable_ext.backends.azure_storage.transport.account import SharedKey, StorageAccount
from durable_ext.backends.azure_storage.transport.connection import StorageTransport, open_lean_transport
from durable_ext.backends.azure_storage.transport.errors import StorageUnavailableError
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.queue import MessageReceipt
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.testing.clock import ManualClock
from durable_ext.testing.faults import Send

WRAPPER = wrapper_of("blob")
PLAIN = encode_envelope(WRAPPER)
NOWHERE = "http://127.0.0.1:9/acct"
ACCOUNT = StorageAccount(
    blob_endpoint=NOWHERE, queue_endpoint=NOWHERE, table_endpoint=NOWHERE, credential=SharedKey("acct", b"key")
)


class OneQueue:
    """Stands where the service is, and does what it is asked for.

    Attributes:
        text: Of the message that is in the queue.
        loses_answers: Updates are carried out, and their answers do not arrive.
        writes: How many updates had a text.
    """

    def __init__(self) -> None:
        self.text, self.loses_answers, self.writes = PLAIN, False, 0

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        assert call.verb == "queue.update"
        if call.body:
            self.text = call.body.decode().partition("<MessageText>")[2].partition("</MessageText>")[0]
            self.writes += 1
        if self.loses_answers:
            raise StorageUnavailableError(call=call.verb, why="the answer is lost")
        return HttpAnswer(status=204, headers={"x-ms-popreceipt": "next"}, body=b"")


@pytest.fixture
def queue() -> OneQueue:
    return OneQueue()


@pytest.fixture
async def transport(queue: OneQueue) -> AsyncIterator[StorageTransport]:
    opened = open_lean_transport(ACCOUNT, interceptor=queue)
    yield opened
    await opened.close()


@pytest.fixture
async def keeper(transport: StorageTransport) -> AsyncIterator[MessageKeeper]:
    kept = MessageKeeper(transport.queues, 300, ManualClock(), "test")
    yield kept
    await kept.stop()


def delivered(text: str, deliveries: int) -> HeldMessage:
    return HeldMessage(
        queue="queue",
        receipt=MessageReceipt("id", f"receipt {deliveries}"),
        envelope=WRAPPER,
        text=text,
        dequeue_count=deliveries,
        deliveries=deliveries,
        expires=300,
    )


def begun(count: int) -> str:
    found = with_marks(PLAIN, DeliveryMarks(begun=count))
    assert found is not None
    return found


async def test_a_run_whose_mark_was_written_and_not_answered_is_no_death_once_it_is_given_back(
    queue: OneQueue, keeper: MessageKeeper
) -> None:
    held = delivered(PLAIN, 2)
    keeper.hold(held)
    queue.loses_answers = True
    assert await keeper.begin(held)
    assert queue.text == begun(1)
    queue.loses_answers = False

    assert keeper.recognizes(delivered(queue.text, 3))
    assert (held.text, held.marked) == (begun(1), True)

    await keeper.give_back(held, 0)
    assert queue.text == PLAIN


async def test_a_mark_that_another_worker_wrote_meanwhile_stays(queue: OneQueue, keeper: MessageKeeper) -> None:
    held = delivered(PLAIN, 1)
    keeper.hold(held)
    assert await keeper.begin(held)  # a first delivery is not marked
    queue.text = begun(1)

    assert keeper.recognizes(delivered(queue.text, 3))
    await keeper.give_back(held, 0)

    assert (held.text, held.marked) == (begun(1), False)
    assert queue.text == begun(1)


async def test_marks_of_others_beside_ours_stay_when_ours_is_taken_away(queue: OneQueue, keeper: MessageKeeper) -> None:
    held = delivered(PLAIN, 2)
    keeper.hold(held)
    assert await keeper.begin(held)

    assert keeper.recognizes(delivered(begun(2), 4))
    await keeper.give_back(held, 0)

    assert queue.text == begun(1)


async def test_a_run_is_marked_once(queue: OneQueue, keeper: MessageKeeper) -> None:
    held = delivered(PLAIN, 2)
    keeper.hold(held)

    assert await keeper.begin(held)
    assert await keeper.begin(held)

    assert (queue.text, queue.writes) == (begun(1), 1)


async def test_a_first_delivery_is_begun_and_given_back_without_a_look_at_its_text(
    queue: OneQueue, keeper: MessageKeeper
) -> None:
    held = delivered("neither", 1)
    keeper.hold(held)

    assert await keeper.begin(held)
    await keeper.give_back(held, 0)

    assert queue.writes == 0


async def test_a_release_is_noted_at_the_first_delivery_too(queue: OneQueue, keeper: MessageKeeper) -> None:
    held = delivered(PLAIN, 1)
    keeper.hold(held)

    await keeper.release(held)

    assert marks_of(queue.text) == DeliveryMarks(returned=1)
