"""Creates, finds and deletes the queues, tables and containers of a hub, and refuses one that does not fit.

Source: specs/azure-storage.md 2.
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import datetime, timedelta

from durable_ext.aio.clock import Clock
from durable_ext.backends.azure_storage.app_lease import AppLease, app_lease_id
from durable_ext.backends.azure_storage.lease_blobs import LeaseBlobs
from durable_ext.backends.azure_storage.lease_table import LeaseTable
from durable_ext.backends.azure_storage.leases import Lease
from durable_ext.backends.azure_storage.names import MAX_PARTITIONS
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, PartitionManagement
from durable_ext.backends.azure_storage.transport.blob import LeaseTarget
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.transport.errors import StorageError, StorageNotFoundError
from durable_ext.backends.azure_storage.transport.health import StorageHealth
from durable_ext.core.timestamps import ticks_from_datetime, ticks_to_iso
from durable_ext.errors import ConfigurationError

_log = logging.getLogger("durable_ext.backends.azure_storage")
_MANAGER_SETTING = "extensions.durableTask.storageProvider.useTablePartitionManagement"
_COUNT_SETTING = "extensions.durableTask.storageProvider.partitionCount"
_BLOB_KINDS = {PartitionManagement.SAFE_BLOB: ("intent", "ownership"), PartitionManagement.LEGACY_BLOB: ("default",)}


class HubResources:
    """`TaskHub` on one storage account or two. Creation is done once, unless something is missed later."""

    def __init__(
        self,
        settings: AzureStorageSettings,
        main: StorageTransport,
        tracking: StorageTransport,
        *,
        clock: Clock,
        health: StorageHealth,
    ) -> None:
        self._settings, self._names = settings, settings.names
        self._queues, self._tables, self._blobs, self._clock = main.queues, tracking.tables, tracking.blobs, clock
        self._server_offset, self._health, self._missed_before = tracking.server_offset, health, 0
        self._lease_table = LeaseTable(self._tables, self._names.partitions_table)
        self.app_lease: AppLease | None = None  # of this hub's worker, once there is one
        self._created = self._deleted_here = False
        self._lock = asyncio.Lock()

    @property
    def control_queues(self) -> tuple[str, ...]:
        return self._names.control_queues(self._settings.partition_count)

    async def create(self) -> None:
        """Create what is missing, once, and again after a call has missed something: without a worker nobody else does.

        A failure is not remembered.

        Raises:
            ConfigurationError: The hub has another partition count, or live leases of another partition manager.
        """
        if self._is_whole():
            return
        async with self._lock:
            if self._is_whole():
                return
            is_gone = self._created and not await self.exists()
            if not self._created or is_gone:
                await self._check()
            await self._create_all()
            self._created, self._deleted_here = True, False
            self._missed_before = self._health.missed
        if is_gone:
            self._tell_gone()

    def _is_whole(self) -> bool:
        return self._created and self._health.missed == self._missed_before

    async def _create_all(self) -> None:
        names = self._names
        await self._create_app_lease()
        await asyncio.gather(
            self._tables.create(names.history_table),
            self._tables.create(names.instances_table),
            self._queues.create(names.work_item_queue),
            *(self._queues.create(queue) for queue in self.control_queues),
        )
        await self._create_leases()  # last: workers take a hub that has leases for a whole one

    async def restore(self) -> bool:
        """Make a hub again that has gone while it was served; false if this process itself has deleted it."""
        if self._deleted_here:
            return False
        async with self._lock:
            await self._create_all()
        self._tell_gone()
        return True

    def _tell_gone(self) -> None:
        _log.warning(
            "Task hub '%s' was gone, or a part of it: somebody has deleted it, or the emulator was emptied. What is missing "
            "is made again, without what was in it.",
            self._names.task_hub,
            extra={"event": "hub_gone", "task_hub": self._names.task_hub},
        )

    async def restore_leases(self) -> None:
        """Make leases of the hub's own partitions again that are not there: without them nobody serves their queues."""
        if self._deleted_here:
            return
        async with self._lock:
            made = await self._create_leases()
        if made:
            _log.warning(
                "%d leases of task hub '%s' were gone and are made again: somebody has deleted them.",
                made,
                self._names.task_hub,
                extra={"event": "leases_gone", "task_hub": self._names.task_hub, "count": made},
            )

    async def restore_app_lease(self) -> bool:
        """Make the container of the app lease again; false if this process itself has deleted the hub."""
        if self._deleted_here:
            return False
        async with self._lock:
            await self._create_app_lease()
        return True

    def is_deleted_here(self) -> bool:
        """Whether this process itself has deleted the hub, and not made it again since."""
        return self._deleted_here

    async def exists(self) -> bool:
        names = self._names
        found = await asyncio.gather(
            self._tables.exists(names.instances_table),
            self._tables.exists(names.history_table),
            self._queues.exists(names.work_item_queue),
        )
        return all(found)

    async def make_primary(self) -> bool:
        if not self._settings.use_app_lease or self.app_lease is None:
            return False
        await self.app_lease.make_primary()
        return True

    async def delete(self) -> None:
        """Delete everything, also what another partition manager has left."""
        names = self._names
        self._created, self._deleted_here = False, True
        await asyncio.gather(
            self._queues.drop(names.work_item_queue),
            *(self._queues.drop(queue) for queue in names.control_queues(MAX_PARTITIONS)),
            self._tables.drop(names.history_table),
            self._tables.drop(names.instances_table),
            self._tables.drop(names.partitions_table),
            self._blobs.drop_container(names.lease_container),
            self._blobs.drop_container(names.large_message_container),
            self._drop_app_lease(),
        )

    async def _drop_app_lease(self) -> None:
        container = self._names.app_lease_container
        try:
            await self._blobs.drop_container(container)
        except StorageError:
            await self._drop_own_app_lease(container)

    async def _drop_own_app_lease(self, container: str) -> None:
        """All workers of an application have the same lease, and a stopped one leaves it to run out."""
        try:
            await self._blobs.drop_container(container, lease_id=app_lease_id(self._settings.app_name))
        except StorageError:
            return  # another application holds it; best effort as in the reference

    async def _create_app_lease(self) -> None:
        await self._blobs.create_container(self._names.app_lease_container)
        await self._blobs.upload_new(self._names.app_lease_container, self._names.app_lease_blob, b"{}")

    async def _create_leases(self) -> int:
        """Create the leases that are missing; return how many."""
        kinds = _BLOB_KINDS.get(self._settings.partition_manager)
        if kinds is None:
            return await self._lease_table.create(self.control_queues)
        container = self._names.lease_container
        await self._blobs.create_container(container)
        created = ticks_to_iso(ticks_from_datetime(self._clock.now()))
        hub = {"TaskHubName": self._names.task_hub, "CreatedAt": created, "PartitionCount": self._settings.partition_count}
        await self._blobs.upload_new(container, "taskhub.json", json.dumps(hub, separators=(",", ":")).encode())
        made = 0
        for kind in reversed(kinds):  # a hub without leases of the first kind is one that has gone
            for queue in self.control_queues:
                lease = {"PartitionId": queue, "Owner": None, "Token": None, "Epoch": 0}
                content = json.dumps(lease, separators=(",", ":")).encode()
                made += await self._blobs.upload_new(container, f"{kind}/{queue}", content)
        return made

    # Does the hub fit?

    async def _check(self) -> None:
        leases, info = await asyncio.gather(self._table_leases(), self._blob_hub())
        uses_table = self._settings.partition_manager is PartitionManagement.TABLE
        if uses_table and info is not None and await self._has_live_blob_leases():
            raise _other_manager("blob", "the table manager", "false")
        if not uses_table:
            now = self._clock.now() + self._server_offset()
            if any(_is_live(lease, now) for lease in leases):
                raise _other_manager("table", "blob leases", "true")
        used = sum(lease.owned_since is not None for lease in leases)
        if used:
            self._check_count(len(leases), used, f"rows of table '{self._names.partitions_table}'")
        elif info is not None and info != self._settings.partition_count:
            # What a scale monitor or a client has written into taskhub.json is not what the workers count with.
            place = f"blobs of these names in container '{self._names.lease_container}'"
            self._check_count(info, await self._used_blob_leases(), place)

    def _check_count(self, made: int, used: int, place: str) -> None:
        """Refuse a hub with another number of partitions, of which a client may have `made` more than were `used`.

        Used are those that were ever owned. Workers of the provider own what a client has added like all others: whoever
        counts with less then has to say which number is right, and is told where the leases are.
        """
        wanted = self._settings.partition_count
        if not used or wanted in (made, used):
            return
        text = (
            f"In task hub '{self._names.task_hub}' workers have served {used} partitions, the settings say {wanted}. Every "
            f"process of a hub needs the same number, or messages are lost: set {_COUNT_SETTING} to {used}, or use another "
            f"hub name."
        )
        if wanted < used:
            queues = dict.fromkeys(f"'{self._names.control_queue(index)}'" for index in (wanted, used - 1))
            text += (
                f" If {wanted} is right, and a client that counts otherwise has added the others: stop the workers and "
                f"delete the leases of {' to '.join(queues)}, {place}."
            )
        raise ConfigurationError(text)

    async def _table_leases(self) -> list[Lease]:
        try:
            return await self._lease_table.load()
        except StorageNotFoundError:
            return []

    async def _blob_hub(self) -> int | None:
        content = await self._blobs.download(self._names.lease_container, "taskhub.json")
        if content is None:
            return None
        try:
            return int(json.loads(content)["PartitionCount"])
        except (ValueError, KeyError, TypeError):
            return None

    async def _used_blob_leases(self) -> int:
        used = set()
        for kind in ("ownership", "default"):
            leases = await LeaseBlobs(self._blobs, self._names.lease_container, kind, seconds=15).load()
            used |= {lease.partition for lease in leases if lease.epoch > 0}
        return len(used)

    async def _has_live_blob_leases(self) -> bool:
        for kind in ("ownership", "default"):
            page = await self._blobs.list(self._names.lease_container, f"{kind}/")
            for name in page.names:
                try:
                    if await self._blobs.is_leased(LeaseTarget(self._names.lease_container, name)):
                        return True
                except StorageNotFoundError:
                    continue
        return False


def _is_live(lease: Lease, now: datetime) -> bool:
    return lease.owner is not None and lease.expires_at is not None and lease.expires_at > now - timedelta(seconds=5)


def _other_manager(found: str, ours: str, value: str) -> ConfigurationError:
    return ConfigurationError(
        f"The task hub has live {found} leases, this process uses {ours}: two owners per queue would be the result. Stop "
        f"the other workers, or set {_MANAGER_SETTING} to {value} here."
    )
