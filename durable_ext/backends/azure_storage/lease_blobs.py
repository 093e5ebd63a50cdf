"""Acquires, renews and releases the lease blobs of one kind.

Source: specs/azure-storage.md 7.2.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

from durable_ext.backends.azure_storage.blob_leases import BlobLease, lease_content, lease_from_content
from durable_ext.backends.azure_storage.transport.blob import BlobVerbs, LeaseTarget
from durable_ext.backends.azure_storage.transport.errors import (
    StorageConflictError,
    StorageNotFoundError,
    StoragePreconditionError,
)
from durable_ext.errors import BackendError


class LeaseBlobs:
    """The lease blobs under one prefix: `intent`, `ownership` or `default`."""

    def __init__(self, blobs: BlobVerbs, container: str, kind: str, seconds: int) -> None:
        self._blobs, self._container, self._kind, self._seconds = blobs, container, kind, seconds

    async def load(self) -> list[BlobLease]:
        """Return all leases of the kind, by partition."""
        names: list[str] = []
        continuation: str | None = None
        while True:
            page = await self._blobs.list(self._container, f"{self._kind}/", continuation)
            names += page.names
            continuation = page.continuation
            if continuation is None:
                break
        found = await asyncio.gather(*(self._read(name) for name in names))
        return sorted((lease for lease in found if lease is not None), key=lambda lease: lease.partition)

    async def _read(self, name: str) -> BlobLease | None:
        try:
            content = await self._blobs.download(self._container, name)
            leased = await self._blobs.is_leased(LeaseTarget(self._container, name))
        except StorageNotFoundError:
            return None
        return None if content is None else lease_from_content(name, content, is_leased=leased)

    async def acquire(self, lease: BlobLease, me: str, *, epoch: int | None = None) -> BlobLease | None:
        """Take a free lease, or take over a held one with the token in its content; `None` if somebody was faster.

        `epoch` = that of this ownership, by default the next one.
        """
        token = str(uuid.uuid4())
        target = LeaseTarget(self._container, lease.blob)
        try:
            if lease.is_leased and lease.token is not None:
                await self._blobs.change_lease(target, lease.token, token)
                await self._blobs.renew_lease(target, token)
            else:
                await self._blobs.acquire_lease(target, token, self._seconds)
            taken = replace(lease, owner=me, token=token, epoch=lease.epoch + 1 if epoch is None else epoch, is_leased=True)
            await self._blobs.upload(self._container, lease.blob, lease_content(taken), lease_id=token)
        except (StorageConflictError, StoragePreconditionError):
            return None
        return taken

    async def renew(self, lease: BlobLease) -> bool:
        """Renew a held lease; false if it is lost.

        Raises:
            BackendError: Whether it is cannot be told.
        """
        try:
            await self._blobs.renew_lease(LeaseTarget(self._container, lease.blob), lease.token or "")
        except (StorageConflictError, StoragePreconditionError, StorageNotFoundError):
            return False
        return True

    async def release(self, lease: BlobLease) -> None:
        """Give a held lease up; does nothing if it is lost."""
        free = replace(lease, owner=None, token=None)
        try:
            await self._blobs.upload(self._container, lease.blob, lease_content(free), lease_id=lease.token)
            await self._blobs.release_lease(LeaseTarget(self._container, lease.blob), lease.token or "")
        except BackendError:
            return
