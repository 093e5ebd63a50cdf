"""Settings of a task hub on Azure Storage, typed and checked once.

Source: specs/azure-storage.md 11, specs/host-json.md 5.1. Read from host.json by `hosting/settings.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Final

from durable_ext.backends.azure_storage.message_codec import MessageEncoding
from durable_ext.backends.azure_storage.names import HubNames, check_hub_name
from durable_ext.backends.azure_storage.transport.account import (
    Identity,
    StorageAccount,
    account_from_connection_string,
    account_from_identity,
)
from durable_ext.backends.azure_storage.transport.queue import MAX_INVISIBLE_SECONDS
from durable_ext.backends.azure_storage.worker_ids import new_worker_id
from durable_ext.errors import ConfigurationError

__all__ = [
    "AzureStorageSettings",
    "Identity",
    "IdentityConnection",
    "MessageEncoding",
    "PartitionManagement",
    "TransportKind",
]

_DEFAULT_VISIBILITY: Final = timedelta(seconds=60)
_LONGEST_VISIBILITY: Final = timedelta(seconds=MAX_INVISIBLE_SECONDS)  # the service's limits, as those of a lease
_LEASE_TIMES: Final = (timedelta(seconds=15), timedelta(seconds=60))
_SHORTEST_PAUSE: Final = timedelta(milliseconds=100)
_TABLE_PREFIX: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,53}")


class PartitionManagement(str, Enum):
    """Who keeps the partition leases (specs/azure-storage.md 7). All workers of a hub must use the same one."""

    TABLE = "table"
    SAFE_BLOB = "safe"
    LEGACY_BLOB = "legacy"


class TransportKind(str, Enum):
    """Which HTTP client: `LEAN` is ours, `SDK` the Azure packages."""

    LEAN = "lean"
    SDK = "sdk"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityConnection:
    """A connection without a key: an account name, or the three endpoints (specs/host-json.md 8)."""

    identity: Identity
    account_name: str | None = None
    blob_service_uri: str | None = None
    queue_service_uri: str | None = None
    table_service_uri: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureStorageSettings:
    """One task hub in one storage account.

    Attributes:
        connection: A connection string, or an identity connection; never shown by `repr`.
        task_hub: Hub name, 3 to 49 letters and digits.
        tracking_connection, tracking_prefix: A second account for tables and blobs, and its table prefix.
        partition_count: Number of control queues, 1 to 16; equal in every process of the hub, fixed at creation.
        control_queue_batch_size: Messages per get, at most 32.
        control_queue_buffer_threshold: Dequeuing pauses at this many control messages in memory.
        control_queue_visibility, work_item_queue_visibility: How long a taken message is hidden between renewals.
            `None` = 60 s, so that what a dead worker held comes back soon (design.md 3).
        max_queue_polling_interval: Cap of the back-off of empty polls.
        message_encoding: How message texts are written; both forms are read.
        fetch_large_messages: Status reads resolve blob addresses.
        partition_manager: Kind of partition leases.
        lease_interval, lease_acquire_interval: How long a partition lease holds, and the pause between two rounds that
            renew and acquire leases.
        use_app_lease, app_name: The primary-app lease; `app_name` "" as the provider without WEBSITE_SITE_NAME.
        app_lease_interval, app_lease_renew_interval, app_lease_acquire_interval: Its times.
        worker_id: Unique per process.
        claim_at_enqueue: Messages to own partitions are put invisible and handed over in memory.
        transport: HTTP client.
    """

    connection: str | IdentityConnection = field(repr=False)
    task_hub: str
    tracking_connection: str | IdentityConnection | None = field(default=None, repr=False)
    tracking_prefix: str = "DurableTask"
    partition_count: int = 4
    control_queue_batch_size: int = 32
    control_queue_buffer_threshold: int = 256
    control_queue_visibility: timedelta | None = None
    work_item_queue_visibility: timedelta | None = None
    max_queue_polling_interval: timedelta = timedelta(seconds=30)
    message_encoding: MessageEncoding = MessageEncoding.UTF8
    fetch_large_messages: bool = True
    partition_manager: PartitionManagement = PartitionManagement.TABLE
    lease_interval: timedelta = timedelta(seconds=30)
    lease_acquire_interval: timedelta = timedelta(seconds=10)
    use_app_lease: bool = True
    app_name: str = ""
    app_lease_interval: timedelta = timedelta(seconds=60)
    app_lease_renew_interval: timedelta = timedelta(seconds=25)
    app_lease_acquire_interval: timedelta = timedelta(seconds=300)
    worker_id: str = field(default_factory=new_worker_id)
    claim_at_enqueue: bool = True
    transport: TransportKind = TransportKind.LEAN

    def __post_init__(self) -> None:
        check_hub_name(self.task_hub)
        if not 1 <= self.partition_count <= 16:
            raise ConfigurationError(
                f"PartitionCount must be an integer value between 1 and 16, not {self.partition_count}. Change "
                f"extensions.durableTask.storageProvider.partitionCount in host.json."
            )
        if not 1 <= self.control_queue_batch_size <= 32:
            raise ConfigurationError(
                f"ControlQueueBatchSize must be between 1 and 32, not {self.control_queue_batch_size}. Change "
                f"extensions.durableTask.storageProvider.controlQueueBatchSize in host.json."
            )
        if not 1 <= self.control_queue_buffer_threshold <= 1000:
            raise ConfigurationError(
                f"ControlQueueBufferThreshold must be between 1 and 1000, not {self.control_queue_buffer_threshold}. Change "
                f"extensions.durableTask.storageProvider.controlQueueBufferThreshold in host.json."
            )
        if self.max_queue_polling_interval <= timedelta(0):
            raise ConfigurationError("MaxQueuePollingInterval must be positive, e.g. 00:00:30.")
        if self.tracking_connection is not None and _TABLE_PREFIX.fullmatch(self.tracking_prefix) is None:
            raise ConfigurationError(
                f"TrackingStoreNamePrefix '{self.tracking_prefix}' cannot begin the name of a table: it needs letters and "
                f"digits and begins with a letter. Change extensions.durableTask.storageProvider.trackingStoreNamePrefix in "
                f"host.json."
            )
        self._check_times()

    def _check_times(self) -> None:
        second = timedelta(seconds=1)
        lease = self.app_lease_interval
        bounds: tuple[tuple[str, timedelta | None, timedelta, timedelta], ...] = (
            ("storageProvider.controlQueueVisibilityTimeout", self.control_queue_visibility, second, _LONGEST_VISIBILITY),
            ("storageProvider.workItemQueueVisibilityTimeout", self.work_item_queue_visibility, second, _LONGEST_VISIBILITY),
            ("appLeaseOptions.leaseInterval", lease, *_LEASE_TIMES),
            ("appLeaseOptions.renewInterval", self.app_lease_renew_interval, _SHORTEST_PAUSE, lease - second),
            ("appLeaseOptions.acquireInterval", self.app_lease_acquire_interval, _SHORTEST_PAUSE, timedelta.max),
        )
        for key, value, least, most in bounds:
            if value is not None and not least <= value <= most:
                limit = f"at least {least}" if most == timedelta.max else f"between {least} and {most}"
                raise ConfigurationError(
                    f"{key} must be {limit}, not {value}. Change extensions.durableTask.{key} in host.json."
                )

    @property
    def names(self) -> HubNames:
        """Names of the hub's queues, tables and containers."""
        prefix = self.tracking_prefix if self.tracking_connection is not None else None
        return HubNames(task_hub=self.task_hub, tracking_prefix=prefix)

    @property
    def account(self) -> StorageAccount:
        """The account of the queues; raises `ConfigurationError` if the connection cannot be used."""
        return _account(self.connection)

    @property
    def tracking_account(self) -> StorageAccount | None:
        """The account of tables and blobs if it is another one."""
        return None if self.tracking_connection is None else _account(self.tracking_connection)

    @property
    def control_visibility_seconds(self) -> int:
        return _seconds(self.control_queue_visibility)

    @property
    def work_item_visibility_seconds(self) -> int:
        return _seconds(self.work_item_queue_visibility)


def _seconds(value: timedelta | None) -> int:
    return max(1, int((value or _DEFAULT_VISIBILITY).total_seconds()))


def _account(connection: str | IdentityConnection) -> StorageAccount:
    if isinstance(connection, str):
        return account_from_connection_string(connection)
    return account_from_identity(
        connection.identity,
        account_name=connection.account_name,
        blob_uri=connection.blob_service_uri,
        queue_uri=connection.queue_service_uri,
        table_uri=connection.table_service_uri,
    )
