"""When a process asks again for an app lease that another application has, or that nobody can give it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from durable_ext.aio.clock import Clock, SystemClock
from durable_ext.backends.azure_storage.app_lease import AppLease
from durable_ext.backends.azure_storage.names import HubNames
from durable_ext.backends.azure_storage.transport.errors import StorageConflictError, StorageUnavailableError
from durable_ext.testing.clock import ManualClock
from durable_ext.testing.eventually import eventually


class LeasedContainer:
    """Somebody has the lease, who does not renew it any more; the service does not answer the first `outages` requests."""

    def __init__(self, outages: int = 0) -> None:
        self.is_free = False
        self.outages = outages
        self.asked = 0

    async def download(self, container: str, blob: str) -> bytes:
        return b'{"OwnerId":"theirs"}'

    async def upload(self, container: str, blob: str, content: bytes) -> None:
        return None

    async def acquire_lease(self, target: Any, lease_id: str, seconds: int) -> None:
        self.asked += 1
        if self.asked <= self.outages:
            raise StorageUnavailableError(call="blob.lease", why="no answer")
        if not self.is_free:
            raise StorageConflictError(call="blob.lease", status=409, code="LeaseAlreadyPresent", detail="")


def lease_of(container: LeasedContainer, gained: Callable[[], Awaitable[None]], clock: Clock) -> AppLease:
    async def nothing() -> Any:
        return True

    return AppLease(
        blobs=container,  # type: ignore[arg-type]
        names=HubNames(task_hub="Hub"),
        app_name="ours",
        duration=timedelta(milliseconds=50),
        renew_interval=timedelta(minutes=1),
        acquire_interval=timedelta(minutes=5),
        clock=clock,
        gained=gained,
        lost=nothing,
        restore=nothing,
    )


async def test_the_lease_of_an_application_that_has_stopped_is_asked_for_once_it_has_run_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    container, gained = LeasedContainer(), asyncio.Event()

    async def begin() -> None:
        gained.set()

    running = asyncio.create_task(lease_of(container, begin, SystemClock()).run())
    await eventually(lambda: container.asked == 1, "it is asked for")
    container.is_free = True

    await asyncio.wait_for(gained.wait(), 10)
    running.cancel()

    assert "appLeaseOptions.acquireInterval, 00:05:00" in caplog.text


async def test_a_service_that_does_not_answer_is_asked_again_every_five_seconds_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "durable_ext.backends.azure_storage")
    container, clock, gained = LeasedContainer(outages=3), ManualClock(), asyncio.Event()
    container.is_free = True

    async def begin() -> None:
        gained.set()

    running = asyncio.create_task(lease_of(container, begin, clock).run())
    for _ in range(3):
        await eventually(lambda: clock.sleepers == 1, "it does not wait")
        await clock.advance(timedelta(seconds=5))
    await asyncio.wait_for(gained.wait(), 10)
    running.cancel()

    levels = [record.levelno for record in caplog.records if getattr(record, "event", "") == "app_lease_unavailable"]
    assert levels == [logging.WARNING, logging.INFO, logging.INFO]
    assert container.asked == 4
