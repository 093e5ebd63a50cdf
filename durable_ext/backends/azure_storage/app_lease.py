"""The primary-app lease: only one application runs workers on a hub; all workers of that application share it.

Source: specs/azure-storage.md 7.3.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.aio.wakeups import Wakeup
from durable_ext.backends.azure_storage.names import HubNames
from durable_ext.backends.azure_storage.partitions import fnv1a
from durable_ext.backends.azure_storage.transport.blob import BlobVerbs, LeaseTarget
from durable_ext.backends.azure_storage.transport.errors import (
    StorageConflictError,
    StorageNotFoundError,
    StoragePreconditionError,
    level_of,
)
from durable_ext.core.timestamps import timespan_to_text
from durable_ext.errors import BackendError

_OUTAGE_PAUSE_SECONDS: Final = 5.0
_log = logging.getLogger("durable_ext.backends.azure_storage")


def app_lease_id(app_name: str) -> str:
    """Return the lease id of an application: the hash of its name, then zeros."""
    return f"{fnv1a(app_name):08x}-0000-0000-0000-000000000000"


class AppLease:
    """Takes and renews the lease; `gained` and `lost` start and stop the partition manager."""

    def __init__(
        self,
        *,
        blobs: BlobVerbs,
        names: HubNames,
        app_name: str,
        duration: timedelta,
        renew_interval: timedelta,
        acquire_interval: timedelta,
        clock: Clock,
        gained: Callable[[], Awaitable[None]],
        lost: Callable[[], Awaitable[None]],
        restore: Callable[[], Awaitable[bool]],
    ) -> None:
        """`restore` makes the container again after somebody has deleted it, and says whether it may."""
        self._blobs, self._names, self._clock = blobs, names, clock
        self._id = app_lease_id(app_name)
        self._duration, self._renew_interval, self._acquire = duration, renew_interval, acquire_interval
        self._acquire_early = min(duration, acquire_interval)  # once: who has stopped leaves its lease to run out
        self._gained, self._lost, self._restore = gained, lost, restore
        self._target = LeaseTarget(names.app_lease_container)
        self._warned = False
        self._held = False
        self._wanted = Wakeup()

    async def make_primary(self) -> None:
        """Ask for the lease, whoever has it; the other application finds out at its next renewal and stops its workers."""
        if self._held:
            return
        owner, _ = await self._read()
        await self._write({"OwnerId": owner, "DesiredSwapId": self._id})
        self._wanted.set()

    async def run(self) -> None:
        """Keep trying to be, or to stay, the primary application."""
        failures, is_first = 0, True
        while True:
            try:
                acquired = await self._try_acquire()
                failures = 0
            except BackendError as exc:
                failures += 1
                _log.log(
                    level_of(exc) if failures == 1 else logging.INFO,
                    "app lease of task hub '%s' could not be taken, and is tried again: %s",
                    self._names.task_hub,
                    exc,
                    extra={"event": "app_lease_unavailable", "error": str(exc)},
                )
                await self._clock.sleep(_OUTAGE_PAUSE_SECONDS)
                continue
            if not acquired:
                await self._wanted.wait((self._acquire_early if is_first else self._acquire).total_seconds())
                is_first = False
                continue
            self._held = True
            await self._gained()
            await self._renew_until_lost()
            self._held, is_first = False, True
            await self._lost()

    async def _try_acquire(self) -> bool:
        try:
            return await self._try_acquire_existing()
        except StorageNotFoundError:
            if not await self._restore():
                raise
        return await self._try_acquire_existing()

    async def _try_acquire_existing(self) -> bool:
        owner: str | None = None
        try:
            owner, desired = await self._read()
            is_asked_for = desired == self._id and owner is not None and owner != self._id
            if not (is_asked_for and await self._swapped(owner or "")):
                await self._blobs.acquire_lease(self._target, self._id, int(self._duration.total_seconds()))
            if owner != self._id or desired == self._id:  # what another application wishes stays
                await self._write({"OwnerId": self._id, "DesiredSwapId": None if desired == self._id else desired})
        except (StorageConflictError, StoragePreconditionError):
            self._warn(owner)
            return False
        return True

    async def _swapped(self, owner: str) -> bool:
        """Take the lease over from its owner; false if that has none any more."""
        try:
            await self._blobs.change_lease(self._target, owner, self._id)
        except (StorageConflictError, StoragePreconditionError):
            return False
        return True

    def _warn(self, owner: str | None) -> None:
        if self._warned:
            return
        self._warned = True
        _log.warning(
            "Another application runs the workers of task hub '%s' (lease owner %s, ours is %s). This process gets no work "
            "until that application has stopped and its lease has run out; clients keep working. The lease is asked for "
            "again in %s, then every appLeaseOptions.acquireInterval, %s; POST /makeprimary of the management API takes it "
            "at once. Or use another hub name, or give both the same WEBSITE_SITE_NAME.",
            self._names.task_hub,
            owner,
            self._id,
            timespan_to_text(self._acquire_early),
            timespan_to_text(self._acquire),
            extra={"event": "app_lease_foreign", "task_hub": self._names.task_hub, "owner": owner},
        )

    async def _renew_until_lost(self) -> None:
        while True:
            await self._clock.sleep(self._renew_interval.total_seconds())
            try:
                if await self._renew_or_take_again():
                    continue
            except BackendError:
                continue  # ignored as in the reference: the next renewal decides
            _log.warning(
                "app lease of task hub '%s' lost",
                self._names.task_hub,
                extra={"event": "app_lease_lost", "task_hub": self._names.task_hub},
            )
            return

    async def _renew_or_take_again(self) -> bool:
        try:
            await self._blobs.renew_lease(self._target, self._id)
        except (StorageConflictError, StoragePreconditionError, StorageNotFoundError):
            # It ran out, or its container was deleted and perhaps made again. If nobody else has it, no worker need stop.
            return await self._try_acquire()
        return True

    async def _read(self) -> tuple[str | None, str | None]:
        content = await self._blobs.download(self._names.app_lease_container, self._names.app_lease_blob)
        try:
            value = json.loads(content) if content else {}
            owner, desired = value.get("OwnerId"), value.get("DesiredSwapId")
        except (ValueError, AttributeError, RecursionError):
            return None, None
        return owner if isinstance(owner, str) else None, desired if isinstance(desired, str) else None

    async def _write(self, value: dict[str, str | None]) -> None:
        await self._blobs.upload(
            self._names.app_lease_container, self._names.app_lease_blob, json.dumps(value, separators=(",", ":")).encode()
        )
