"""The difference between our clock and the service's, noticed on both transports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from support.scripted_service import answer, scripted_service

from durable_ext.backends.azure_storage.transport.connection import StorageTransport, open_transport
from durable_ext.backends.azure_storage.transport.server_clock import ServerClock
from durable_ext.testing.clock import ManualClock

THERE = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)
DROPPED = {"queue": "204 No Content", "table": "204 No Content", "blob": "202 Accepted"}


@asynccontextmanager
async def opened(kind: str, call: str, *, ours: datetime, status: str = "") -> AsyncIterator[StorageTransport]:
    """Yield a transport of a machine with this time after one call to a service that answers with its own time."""
    async with scripted_service() as service:
        service.answers = [answer(status or DROPPED[call], b"", f"Date: {format_datetime(THERE, usegmt=True)}")]
        transport = open_transport(service.account, kind, clock=ManualClock(ours))
        try:
            if call == "queue":
                await transport.queues.drop("queue")
            elif call == "table":
                await transport.tables.drop("Table")
            else:
                await transport.blobs.drop_container("container")
            yield transport
        finally:
            await transport.close()


@pytest.mark.parametrize("kind", ["lean", "sdk"])
@pytest.mark.parametrize("call", DROPPED)
async def test_a_clock_that_is_a_minute_off_is_noticed(kind: str, call: str) -> None:
    async with opened(kind, call, ours=THERE - MINUTE) as transport:
        assert transport.server_offset() == MINUTE
    async with opened(kind, call, ours=THERE + MINUTE) as transport:
        assert transport.server_offset() == -MINUTE


@pytest.mark.parametrize("kind", ["lean", "sdk"])
async def test_a_difference_below_the_resolution_of_the_header_is_none(kind: str) -> None:
    async with opened(kind, "queue", ours=THERE + timedelta(seconds=1.9)) as transport:
        assert transport.server_offset() == timedelta(0)


@pytest.mark.parametrize("kind", ["lean", "sdk"])
async def test_a_refusal_tells_the_time_too(kind: str) -> None:
    async with opened(kind, "queue", ours=THERE - MINUTE, status="404 Not Found") as transport:
        assert transport.server_offset() == MINUTE


@pytest.mark.parametrize("date", [None, "", "yesterday", "Sat, 21 Nov 2026 12:00:00"])
def test_what_is_no_date_says_nothing(date: str | None) -> None:
    clock = ServerClock(ManualClock(THERE - MINUTE))

    clock.heard(date)

    assert clock.offset() == timedelta(0)
