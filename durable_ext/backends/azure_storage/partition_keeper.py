"""What the rest of the store asks of whoever keeps the partition leases, in a table or in blobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from durable_ext.aio.clock import Clock
from durable_ext.backends.azure_storage.blob_lease_keeper import BlobLeaseKeeper
from durable_ext.backends.azure_storage.lease_keeper import TableLeaseKeeper
from durable_ext.backends.azure_storage.lease_table import LeaseTable
from durable_ext.backends.azure_storage.listening import ListeningPartitions
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, PartitionManagement
from durable_ext.backends.azure_storage.transport.connection import StorageTransport


class PartitionKeeper(Protocol):
    """Keeps the leases of one worker. Order of calls: `begin`, `run` (until it returns), `stop`."""

    def owns(self, partition: int) -> bool:
        """Whether this worker listens to a partition and its lease has not run out."""
        ...

    async def confirm(self, partition: int) -> bool:
        """Whether the worker may write for a partition; a lease that has run out is looked up first."""
        ...

    def wake(self) -> None:
        """Run the next round now."""
        ...

    def begin(self) -> None:
        """A new life, perhaps after `stop`."""
        ...

    async def run(self) -> None:
        """Keep leases until `stop()` has released them all."""
        ...

    def release(self) -> None:
        """Begin to drain and release every partition, each as soon as its sessions have ended."""
        ...

    async def stop(self) -> None:
        """Drain and release every partition; returns when all are released, or after 75 s."""
        ...


def make_partition_keeper(
    settings: AzureStorageSettings,
    tracking: StorageTransport,
    *,
    partitions: Mapping[str, int],
    listening: ListeningPartitions,
    clock: Clock,
    restore_hub: Callable[[], Awaitable[bool]],
) -> PartitionKeeper:
    """Return the keeper that the settings name; `partitions` = index by control queue name, of all that there can be.

    `restore_hub` makes a hub again that has gone, and says whether it did.
    """
    if settings.partition_manager is PartitionManagement.TABLE:
        return TableLeaseKeeper(
            table=LeaseTable(tracking.tables, settings.names.partitions_table),
            partitions=partitions,
            partition_count=settings.partition_count,
            listening=listening,
            worker_id=settings.worker_id,
            lease_interval=settings.lease_interval,
            acquire_interval=settings.lease_acquire_interval,
            clock=clock,
            server_offset=tracking.server_offset,
            restore_hub=restore_hub,
        )
    return BlobLeaseKeeper(
        blobs=tracking.blobs,
        container=settings.names.lease_container,
        partitions={name: index for name, index in partitions.items() if index < settings.partition_count},
        listening=listening,
        worker_id=settings.worker_id,
        lease_interval=settings.lease_interval,
        interval=settings.lease_acquire_interval,
        safe=settings.partition_manager is PartitionManagement.SAFE_BLOB,
        clock=clock,
        restore_hub=restore_hub,
    )
