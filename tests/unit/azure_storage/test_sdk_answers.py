"""Calls of the Azure SDK packages beside a service whose answers are scripted: tried again and told as lean ones."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from support.scripted_service import KEY, ScriptedService, answer, scripted_service

from durable_ext.backends.azure_storage.transport.account import StorageAccount
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.transport.errors import (
    StorageAccessError,
    StorageHostUnknownError,
    StorageNotFoundError,
    StorageUnavailableError,
)
from durable_ext.backends.azure_storage.transport.health import StorageHealth
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.retry import RetryPolicy
from durable_ext.backends.azure_storage.transport.sdk import open_sdk_transport
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.testing.faults import CallCounter

QUICK = RetryPolicy(attempts=3, first_delay=timedelta(milliseconds=1))
PUT = (
    b"<QueueMessagesList><QueueMessage><MessageId>m</MessageId><InsertionTime>Sat, 21 Nov 2026 12:00:00 GMT</InsertionTime>"
    b"<ExpirationTime>Sat, 21 Nov 2026 12:00:00 GMT</ExpirationTime><PopReceipt>r</PopReceipt>"
    b"<TimeNextVisible>Sat, 21 Nov 2026 12:00:30 GMT</TimeNextVisible></QueueMessage></QueueMessagesList>"
)
LOST = b""
XML = "Content-Type: application/xml"


@pytest.fixture
async def server() -> AsyncIterator[ScriptedService]:
    async with scripted_service() as scripted:
        yield scripted


@pytest.fixture
def health() -> StorageHealth:
    return StorageHealth()


@pytest.fixture
async def transport(server: ScriptedService, health: StorageHealth) -> AsyncIterator[StorageTransport]:
    opened = open_sdk_transport(server.account, health=health, retry=QUICK)
    yield opened
    await opened.close()


@pytest.mark.parametrize("first", [LOST, answer("500 Oops"), answer("503 Busy")])
async def test_a_put_that_was_sent_twice_may_have_a_twin(
    server: ScriptedService, transport: StorageTransport, first: bytes
) -> None:
    server.answers = [first, answer("201 Created", PUT, XML)]
    twice = await transport.queues.put("q", "text")
    once = await transport.queues.put("q", "text")

    assert (twice.may_have_twin, once.may_have_twin) == (True, False)
    assert len(server.requests) == 3


async def test_a_get_that_finds_less_than_it_asked_for_is_one_call(
    server: ScriptedService, transport: StorageTransport
) -> None:
    found = PUT.replace(b"</QueueMessage>", b"<DequeueCount>1</DequeueCount><MessageText>text</MessageText></QueueMessage>")
    server.answers = [answer("200 OK", found, XML), LOST]

    messages = await transport.queues.get("q", count=32, visibility=30)

    assert [message.text for message in messages] == ["text"]
    assert len(server.requests) == 1


@pytest.mark.parametrize("bad", [LOST, answer("500 Oops"), answer("503 Busy")])
async def test_a_service_that_stays_down_is_an_outage_after_our_retries_and_told_once(
    server: ScriptedService, transport: StorageTransport, health: StorageHealth, bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    health.watch()
    server.answers = [bad]

    for call in (
        transport.queues.get("q", count=32, visibility=30),
        transport.tables.query("T", ""),
        transport.blobs.upload("c", "b", b"content"),
    ):
        server.requests.clear()
        with pytest.raises(StorageUnavailableError) as caught:
            await call
        assert caught.value.is_told
        assert len(server.requests) in (3, 6)  # aiohttp, which carries the blobs, repeats an upload by itself

    assert [each for each in caplog.records if each.__dict__.get("event") == "storage_down"][1:] == []


async def test_a_service_that_asks_for_a_long_pause_is_not_called_again_meanwhile(
    server: ScriptedService, transport: StorageTransport
) -> None:
    server.answers = [answer("429 Too Many Requests", b"", "Retry-After: 120")]

    for _ in range(2):
        with pytest.raises(StorageUnavailableError):
            await transport.queues.get("q", count=1, visibility=30)

    assert len(server.requests) == 1


async def test_a_service_that_asks_for_a_pause_gets_it(server: ScriptedService, transport: StorageTransport) -> None:
    server.answers = [answer("503 Busy", b"", "Retry-After: 1"), answer("201 Created", PUT, XML)]
    began = time.monotonic()

    await transport.queues.put("q", "text")

    assert 1.0 <= time.monotonic() - began < 10


async def test_a_refusal_is_raised_at_once_with_its_code_and_one_line(
    server: ScriptedService, transport: StorageTransport
) -> None:
    body = (
        b'<?xml version="1.0" encoding="utf-8"?><Error><Code>QueueNotFound</Code><Message>The specified queue does not '
        b"exist.\nRequestId:7f2c\nTime:2026-11-21</Message></Error>"
    )
    server.answers = [answer("404 Missing", body, XML, "x-ms-error-code: QueueNotFound")]

    with pytest.raises(StorageNotFoundError) as caught:
        await transport.queues.put("q", "text")

    assert len(server.requests) == 1
    assert str(caught.value) == (
        "Azure Storage refused queue.put /q: 404 QueueNotFound The specified queue does not exist. (request 7f2c)"
    )


@pytest.mark.parametrize(("watched", "expected"), [(False, StorageAccessError), (True, StorageUnavailableError)])
async def test_access_that_is_refused_ends_an_opening_and_is_waited_for_later(
    server: ScriptedService, transport: StorageTransport, health: StorageHealth, watched: bool, expected: type[Exception]
) -> None:
    if watched:
        health.watch()
    server.answers = [answer("403 Forbidden")]

    with pytest.raises(expected):
        await transport.tables.query("T", "")


async def test_an_account_whose_host_nobody_knows_is_named() -> None:
    nowhere = "http://no-such-account.invalid"
    account = StorageAccount(blob_endpoint=nowhere, queue_endpoint=nowhere, table_endpoint=nowhere, credential=KEY)
    opened = open_sdk_transport(account, retry=QUICK)

    with pytest.raises(StorageHostUnknownError, match=r"no-such-account\.invalid"):
        await opened.queues.put("q", "text")

    await opened.close()


async def test_an_interceptor_sees_each_call_once_whatever_the_retries(server: ScriptedService) -> None:
    server.answers = [answer("500 Oops"), answer("201 Created", PUT, XML)]
    counter = CallCounter()
    opened = open_sdk_transport(server.account, retry=QUICK, interceptor=counter)

    sent = await opened.queues.put("q", "text")

    assert (counter.trace, sent.message_id) == ([StorageCall("queue.put", "/q")], "m")
    await opened.close()


async def test_an_interceptor_that_raises_keeps_the_call_from_being_made(server: ScriptedService) -> None:
    async def refuses(call: StorageCall, _: object) -> HttpAnswer:
        raise StorageUnavailableError(call=call.verb, why="out")

    server.answers = [answer("201 Created", PUT, XML)]
    opened = open_sdk_transport(server.account, retry=QUICK, interceptor=refuses)

    with pytest.raises(StorageUnavailableError, match="out"):
        await opened.queues.put("q", "text")

    assert len(server.requests) == 0
    await opened.close()
