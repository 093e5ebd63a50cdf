"""Retries and errors of the lean transport, against a server whose every answer is scripted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from support.scripted_service import KEY, ScriptedService, answer, scripted_service

from durable_ext.backends.azure_storage.transport.account import Service, SharedKey, StorageAccount
from durable_ext.backends.azure_storage.transport.auth import SharedKeySigner
from durable_ext.backends.azure_storage.transport.blob import BlobPage, LeanBlobs
from durable_ext.backends.azure_storage.transport.errors import (
    StorageAccessError,
    StorageConflictError,
    StorageError,
    StorageNotFoundError,
    StoragePreconditionError,
    StorageUnavailableError,
)
from durable_ext.backends.azure_storage.transport.health import StorageHealth
from durable_ext.backends.azure_storage.transport.http import StorageHttp
from durable_ext.backends.azure_storage.transport.queue import LeanQueues
from durable_ext.backends.azure_storage.transport.retry import RetryPolicy, retry_after_seconds
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer, StoodStillError
from durable_ext.testing.clock import ManualClock
from durable_ext.testing.eventually import eventually

QUICK = RetryPolicy(attempts=3, first_delay=timedelta(milliseconds=1))


@pytest.fixture
async def server() -> AsyncIterator[ScriptedService]:
    async with scripted_service() as scripted:
        yield scripted


@pytest.fixture
async def http(server: ScriptedService) -> AsyncIterator[StorageHttp]:
    opened = StorageHttp(server.account, SharedKeySigner(KEY), retry=QUICK)
    yield opened
    await opened.close()


class _WakingWire:
    """Its process stands still within the next requests, then it answers."""

    def __init__(self) -> None:
        self.naps = 1

    async def send(self, method: str, origin: str, target: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        self.naps -= 1
        if self.naps >= 0:
            raise StoodStillError("no answer: this process stood still for 45 s")
        return HttpAnswer(200, {}, b"yes")

    async def close(self) -> None:
        pass


async def get(http: StorageHttp) -> bytes:
    return (await http.send("queue.get", Service.QUEUE, "GET", "/q/messages")).body


async def test_a_throttled_request_is_sent_again(server: ScriptedService, http: StorageHttp) -> None:
    server.answers = [answer("503 Busy", b"", "Retry-After: 0"), answer("429 Slow"), answer("200 OK", b"yes")]

    assert await get(http) == b"yes"
    assert len(server.requests) == 3


async def test_a_connection_that_breaks_is_opened_again(server: ScriptedService, http: StorageHttp) -> None:
    server.answers = [b"", answer("200 OK", b"yes")]

    assert await get(http) == b"yes"


async def test_a_service_that_stays_down_is_unavailable_after_the_last_attempt(
    server: ScriptedService, http: StorageHttp
) -> None:
    server.answers = [answer("500 Oops")]

    with pytest.raises(StorageUnavailableError, match=r"queue\.get"):
        await get(http)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "body", "expected", "code"),
    [
        ("404 Missing", b"<Error><Code>QueueNotFound</Code></Error>", StorageNotFoundError, "QueueNotFound"),
        ("409 Conflict", b'{"odata.error":{"code":"EntityAlreadyExists"}}', StorageConflictError, "EntityAlreadyExists"),
        ("412 Failed", b"", StoragePreconditionError, ""),
        ("400 Bad", b"<Error><Code>PopReceiptMismatch</Code></Error>", StorageError, "PopReceiptMismatch"),
    ],
)
async def test_a_refusal_is_raised_at_once_with_its_code(
    server: ScriptedService, http: StorageHttp, status: str, body: bytes, expected: type[StorageError], code: str
) -> None:
    server.answers = [answer(status, body)]

    with pytest.raises(expected) as caught:
        await get(http)

    assert (caught.value.code, len(server.requests)) == (code, 1)


async def test_a_wrong_key_says_what_to_check(server: ScriptedService, http: StorageHttp) -> None:
    server.answers = [answer("403 Forbidden", b"<Error><Code>AuthenticationFailed</Code></Error>")]

    with pytest.raises(StorageAccessError, match="AccountKey is not a key of account 'acct' at http://127"):
        await get(http)


async def test_access_that_is_refused_in_the_middle_is_an_outage_that_is_told_with_what_to_do(
    server: ScriptedService, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [answer("403 Forbidden", b"<Error><Code>AuthenticationFailed</Code></Error>")]
    endpoint = f"http://127.0.0.1:{server.port}/acct"
    account = StorageAccount(
        blob_endpoint=endpoint, queue_endpoint=endpoint, table_endpoint=endpoint, credential=SharedKey("acct", b"key")
    )
    health = StorageHealth()
    health.watch()
    http = StorageHttp(account, SharedKeySigner(SharedKey("acct", b"key")), retry=QUICK, health=health)

    for _ in range(3):
        with pytest.raises(StorageUnavailableError, match="access is refused, 403 AuthenticationFailed") as caught:
            await get(http)
        assert caught.value.is_told

    await http.close()
    (line,) = caplog.messages
    assert "AccountKey is not a key of account 'acct'" in line


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (answer("500 Whatever"), "500 Internal Server Error."),
        (answer("503 Busy", b"", "x-ms-error-code: ServerBusy"), "503 ServerBusy."),
        (answer("500 Oops", b"no space\r\nleft"), "500 Internal Server Error no space left."),
        (answer("507 Full", b"<Error><Code>Full</Code><Message>No.</Message></Error>"), "507 Full No."),
        (answer("599 Odd"), "599."),
    ],
)
async def test_an_outage_names_what_the_service_said(
    server: ScriptedService, caplog: pytest.LogCaptureFixture, sent: bytes, told: str
) -> None:
    server.answers = [sent]
    health = StorageHealth()
    health.watch()
    http = StorageHttp(server.account, SharedKeySigner(KEY), retry=QUICK, health=health)

    for _ in range(2):
        with pytest.raises(StorageUnavailableError) as caught:
            await http.send("queue.put", Service.QUEUE, "POST", "/q/messages")
        assert caught.value.is_told

    await http.close()
    (line,) = caplog.messages
    assert line.startswith(f"Azure Storage did not do queue.put /q/messages: {told} What was")


async def test_a_write_that_is_refused_stays_an_outage_while_reads_work(
    server: ScriptedService, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    health = StorageHealth(lambda: now[0])
    health.watch()
    http = StorageHttp(server.account, SharedKeySigner(KEY), retry=QUICK, health=health)
    blobs = LeanBlobs(http)

    for _ in range(8):
        server.answers = [answer("500 Oops")]
        with pytest.raises(StorageUnavailableError):
            await blobs.upload("c", "b", b"content")
        now[0] += 22
        server.answers = [answer("200 OK")]
        await blobs.download("c", "b")
    down = health.is_down
    server.answers = [answer("201 Created")]
    await blobs.upload("c", "b", b"content")
    await http.close()

    assert down
    assert [record.__dict__["event"] for record in caplog.records] == ["storage_down", "storage_up"]
    assert caplog.messages[1] == "Azure Storage answers again, after 176 s."


async def test_a_request_that_waited_while_this_process_stood_still_is_tried_again_and_no_outage(
    server: ScriptedService, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [b"", answer("200 OK", b"yes")]
    health = StorageHealth()
    health.watch()
    wire = _WakingWire()
    http = StorageHttp(server.account, SharedKeySigner(KEY), retry=QUICK, wire=wire, health=health)

    assert await get(http) == b"yes"
    wire.naps = 3
    with pytest.raises(StorageUnavailableError, match="this process stood still for 45 s"):
        await get(http)

    await http.close()
    assert not health.is_down
    assert caplog.messages == []


async def test_a_clock_that_makes_requests_invalid_is_named(server: ScriptedService, http: StorageHttp) -> None:
    behind = format_datetime(datetime.now(timezone.utc) - timedelta(minutes=20), usegmt=True)
    server.answers = [answer("403 Forbidden", b"<Error><Code>AuthenticationFailed</Code></Error>", f"Date: {behind}")]

    with pytest.raises(StorageAccessError, match=r"The clock of this machine is 20 minutes ahead of that of"):
        await get(http)


async def test_nobody_listening_is_unavailable(server: ScriptedService) -> None:
    endpoint = "http://127.0.0.1:9/acct"
    account = StorageAccount(
        blob_endpoint=endpoint, queue_endpoint=endpoint, table_endpoint=endpoint, credential=SharedKey("acct", b"key")
    )
    http = StorageHttp(account, SharedKeySigner(SharedKey("acct", b"key")), retry=QUICK)

    with pytest.raises(StorageUnavailableError):
        await get(http)

    await http.close()


async def test_a_message_that_xml_cannot_carry_does_not_hide_the_others(server: ScriptedService, http: StorageHttp) -> None:
    message = (
        "<QueueMessage><MessageId>{0}</MessageId><InsertionTime>Sat, 21 Nov 2026 12:00:00 GMT</InsertionTime>"
        "<ExpirationTime>Sat, 21 Nov 2026 12:00:00 GMT</ExpirationTime><PopReceipt>r</PopReceipt>"
        "<TimeNextVisible>Sat, 21 Nov 2026 12:00:30 GMT</TimeNextVisible><DequeueCount>2</DequeueCount>"
        "<MessageText>{1}</MessageText></QueueMessage>"
    )
    body = f"<QueueMessagesList>{message.format('a', chr(1))}{message.format('b', 'fine &amp; well')}</QueueMessagesList>"
    server.answers = [answer("200 OK", body.encode())]

    found = await LeanQueues(http).get("q", count=32, visibility=30)

    assert [(one.message_id, one.text, one.dequeue_count) for one in found] == [
        ("a", "\x01", 2),
        ("b", "fine & well", 2),
    ]


async def test_a_blob_name_that_xml_cannot_carry_hides_no_other(server: ScriptedService, http: StorageHttp) -> None:
    listed = (
        '<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="c"><Blobs>'
        "<Blob><Name>i/\x01&amp;lt;&#x2;.gz</Name><Properties><Etag>e</Etag></Properties></Blob>"
        "<Blob><Name>i/folder</Name><Metadata><hdi_isfolder>true</hdi_isfolder></Metadata></Blob>"
        "<Blob><Name>i/fine.gz</Name><Metadata /></Blob></Blobs><NextMarker>2!8</NextMarker></EnumerationResults>"
    )
    server.answers = [answer("200 OK", listed.encode())]

    page = await LeanBlobs(http).list("c", "i/")

    assert page == BlobPage(["i/\x01&lt;\x02.gz", "i/fine.gz"], "2!8")


async def test_a_blob_name_that_comes_percent_encoded_is_the_real_one(server: ScriptedService, http: StorageHttp) -> None:
    listed = (
        "<EnumerationResults><Blobs>"
        '<Blob><Name Encoded="true">i/%EF%BF%BE%2541</Name></Blob><Blob><Name>i/%41</Name></Blob>'
        "</Blobs><NextMarker /></EnumerationResults>"
    )
    broken = listed.replace("</Blobs>", "<Blob><Name>i/\x01</Name></Blob></Blobs>")
    server.answers = [answer("200 OK", listed.encode()), answer("200 OK", broken.encode())]

    page, damaged = [await LeanBlobs(http).list("c", "i/") for _ in range(2)]

    assert page == BlobPage(["i/\ufffe%41", "i/%41"])
    assert damaged == BlobPage(["i/\ufffe%41", "i/%41", "i/\x01"])


async def test_requests_are_signed_and_name_their_version(server: ScriptedService, http: StorageHttp) -> None:
    server.answers = [answer("200 OK")]

    await get(http)

    head = server.requests[0].decode().lower()
    assert "authorization: sharedkey acct:" in head
    assert "x-ms-version: " in head


async def test_a_service_that_asks_for_a_pause_gets_it_from_every_request(server: ScriptedService) -> None:
    server.answers = [answer("503 Busy", b"", "Retry-After: 7"), answer("200 OK")]
    clock = ManualClock()
    http = StorageHttp(server.account, SharedKeySigner(KEY), retry=QUICK, clock=clock)

    first = asyncio.ensure_future(get(http))
    await eventually(lambda: clock.sleepers == 1)
    second = asyncio.ensure_future(get(http))
    await eventually(lambda: clock.sleepers == 2)
    asked = len(server.requests)
    await clock.advance(timedelta(seconds=7))
    await asyncio.gather(first, second)
    await http.close()

    assert (asked, len(server.requests)) == (1, 3)


async def test_a_service_that_asks_for_a_long_pause_is_not_called_again_meanwhile(
    server: ScriptedService, http: StorageHttp
) -> None:
    server.answers = [answer("429 Too Many Requests", b"", "Retry-After: 120")]

    with pytest.raises(StorageUnavailableError, match="429"):
        await get(http)
    with pytest.raises(StorageUnavailableError, match=r"asked not to be called for another 1[12]\d s"):
        await get(http)

    assert len(server.requests) == 1


def test_the_service_decides_how_long_to_wait_but_not_for_ever() -> None:
    policy = RetryPolicy(attempts=3, longest=timedelta(seconds=10))

    assert policy.delay(1, 3.0, 0.5) == 3.0
    assert policy.delay(1, 600.0, 0.5) is None
    assert policy.delay(3, None, 0.5) is None


def test_delays_double_and_spread() -> None:
    policy = RetryPolicy(attempts=9, first_delay=timedelta(seconds=1), longest=timedelta(seconds=4))

    assert [policy.delay(attempt, None, 0.5) for attempt in (1, 2, 3, 4)] == [1.0, 2.0, 4.0, 4.0]
    assert (policy.delay(1, None, 0.0), policy.delay(1, None, 1.0)) == pytest.approx((0.8, 1.2))


@pytest.mark.parametrize(("text", "seconds"), [(None, None), ("2", 2.0), ("-1", 0.0), ("Sat, 21 Nov 2026", None)])
def test_retry_after_is_read_as_seconds(text: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(text) == seconds


def test_a_date_in_retry_after_counts_from_that_of_the_answer() -> None:
    later, now = "Sat, 21 Nov 2026 12:00:30 GMT", "Sat, 21 Nov 2026 12:00:00 GMT"

    assert retry_after_seconds(later, now) == 30.0
    assert retry_after_seconds(now, later) == 0.0
