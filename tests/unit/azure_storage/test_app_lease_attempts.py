"""When a process asks again for an app lease that another application has."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from durable_ext.aio.clock import SystemClock
from durable_ext.backends.azure_storage.app_lease import AppLease
from durable_ext.backends.azure_storage.names import HubNames
from durable_ext.backends.azure_storage.transport.errors import StorageConflictError
from durable_ext.testing.eventually import eventually


class LeasedContainer:
    """Somebody has the lease, who does not renew it any more."""

    def __init__(self) -> None:
        self.is_free = False
        self.asked = 0

    async def download(self, container: str, blob: str) -> bytes:
        return b'{"OwnerId":"theirs"}'

    async def upload(self, container: str, blob: str, content: bytes) -> None:
        return None

    async def acquire_lease(self, target: Any, lease_id: str, seconds: int) -> None:
        self.asked += 1
        if not self.is_free:
            raise StorageConflictError(call="blob.lease", status=409, code="LeaseAlreadyPresent", detail="")


async def test_the_lease_of_an_application_that_has_stopped_is_asked_for_once_it_has_run_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    container, gained = LeasedContainer(), asyncio.Event()

    async def begin() -> None:
        gained.set()

    async def nothing() -> Any:
        return True

    lease = AppLease(
        blobs=container,  # type: ignore[arg-type]
        names=HubNames(task_hub="Hub"),
        app_name="ours",
        duration=timedelta(milliseconds=50),
        renew_interval=timedelta(minutes=1),
        acquire_interval=timedelta(minutes=5),
        clock=SystemClock(),
        gained=begin,
        lost=nothing,
        restore=nothing,
    )
    running = asyncio.create_task(lease.run())
    await eventually(lambda: container.asked == 1, "it is asked for")
    container.is_free = True

    await asyncio.wait_for(gained.wait(), 10)
    running.cancel()

    assert "appLeaseOptions.acquireInterval, 00:05:00" in caplog.text
