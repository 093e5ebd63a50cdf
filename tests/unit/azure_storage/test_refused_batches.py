"""What a refusal inside the answer to a batch means: the same as outside, on both transports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from support.scripted_service import KEY, LeapingClock, ScriptedService, answer, scripted_service

from durable_ext.backends.azure_storage.transport.auth import SharedKeySigner
from durable_ext.backends.azure_storage.transport.errors import (
    StorageConflictError,
    StorageError,
    StoragePreconditionError,
    StorageUnavailableError,
)
from durable_ext.backends.azure_storage.transport.health import StorageHealth
from durable_ext.backends.azure_storage.transport.http import StorageHttp
from durable_ext.backends.azure_storage.transport.retry import RetryPolicy
from durable_ext.backends.azure_storage.transport.sdk import open_sdk_transport
from durable_ext.backends.azure_storage.transport.table import Change, LeanTables, TableChange, TableVerbs

QUICK = RetryPolicy(attempts=3, first_delay=timedelta(milliseconds=1))
CHANGES = [TableChange(Change.INSERT, {"PartitionKey": "p", "RowKey": str(row)}) for row in range(2)]


def batch(*parts: str) -> bytes:
    inner = "".join(
        f"--cs\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nHTTP/1.1 {part}\r\n"
        for part in parts
    )
    body = f"--br\r\nContent-Type: multipart/mixed; boundary=cs\r\n\r\n{inner}--cs--\r\n--br--\r\n"
    return answer("202 Accepted", body.encode(), "Content-Type: multipart/mixed; boundary=br")


def refused(status: str, code: str, *headers: str) -> bytes:
    body = f'{{"odata.error":{{"code":"{code}","message":{{"lang":"en-US","value":"0:Said in {code}."}}}}}}'
    lines = "".join(f"{line}\r\n" for line in ("Content-Type: application/json", *headers))
    return batch(f"{status}\r\n{lines}\r\n{body}")


STORED = batch('204 No Content\r\nETag: W/"one"\r\n\r\n', '204 No Content\r\nETag: W/"two"\r\n\r\n')
BUSY = refused("503 Service Unavailable", "ServerBusy")


@pytest.fixture
async def service() -> AsyncIterator[ScriptedService]:
    async with scripted_service() as scripted:
        yield scripted


@pytest.fixture
def health() -> StorageHealth:
    watched = StorageHealth()
    watched.watch()
    return watched


@pytest.fixture
def clock() -> LeapingClock:
    return LeapingClock()


@pytest.fixture(params=["lean", "sdk"])
async def tables(
    request: pytest.FixtureRequest, service: ScriptedService, health: StorageHealth, clock: LeapingClock
) -> AsyncIterator[TableVerbs]:
    if request.param == "lean":
        http = StorageHttp(service.account, SharedKeySigner(KEY), retry=QUICK, health=health, clock=clock)
        yield LeanTables(http)
        await http.close()
        return
    opened = open_sdk_transport(service.account, health=health, retry=QUICK, clock=clock)
    yield opened.tables
    await opened.close()


@pytest.mark.parametrize("bad", [BUSY, refused("429 Too Many Requests", "TooManyRequests"), refused("500 Oops", "Oops")])
async def test_a_batch_that_is_refused_for_the_load_is_sent_again(
    service: ScriptedService, tables: TableVerbs, health: StorageHealth, bad: bytes
) -> None:
    service.answers = [bad, bad, STORED]

    assert await tables.apply_all("Hub", CHANGES) == ['W/"one"', 'W/"two"']

    assert len(service.requests) == 3
    assert not health.is_down


async def test_a_batch_that_stays_refused_for_the_load_is_an_outage_and_told_as_one(
    service: ScriptedService, tables: TableVerbs, health: StorageHealth
) -> None:
    service.answers = [BUSY]

    with pytest.raises(StorageUnavailableError, match=r"503 ServerBusy .*Said in ServerBusy\.") as caught:
        await tables.apply_all("Hub", CHANGES)

    assert len(service.requests) == 3
    assert caught.value.is_told
    assert health.is_down


async def test_a_pause_that_a_batch_is_asked_for_is_kept(
    service: ScriptedService, tables: TableVerbs, clock: LeapingClock
) -> None:
    service.answers = [refused("503 Service Unavailable", "ServerBusy", "Retry-After: 7"), STORED]

    await tables.apply_all("Hub", CHANGES)

    assert clock.slept[0] == 7


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        ("409 Conflict", "EntityAlreadyExists", StorageConflictError),
        ("412 Old", "UpdateConditionNotSatisfied", StoragePreconditionError),
    ],
)
async def test_a_batch_of_which_the_first_try_did_count_is_refused_as_a_single_request_is(
    service: ScriptedService, tables: TableVerbs, status: str, code: str, error: type[StorageError]
) -> None:
    service.answers = [BUSY, refused(status, code)]

    with pytest.raises(error) as caught:
        await tables.apply_all("Hub", CHANGES)

    assert caught.value.code == code
    assert len(service.requests) == 2


async def test_a_batch_that_is_not_allowed_is_an_outage_while_the_hub_is_served(
    service: ScriptedService, tables: TableVerbs, health: StorageHealth
) -> None:
    service.answers = [refused("403 Forbidden", "AuthorizationFailure")]

    with pytest.raises(StorageUnavailableError, match="access is refused"):
        await tables.apply_all("Hub", CHANGES)

    assert health.is_down
