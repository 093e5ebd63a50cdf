"""Deletes instances: row, history, payload blobs.

Source: specs/azure-storage.md 9.6. Messages in queues are left: workers discard them as "no such instance".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.azure_storage.history_table import HistoryTable
from durable_ext.backends.azure_storage.instances_table import InstancesTable
from durable_ext.backends.azure_storage.key_encoding import escape_key, unescape_key
from durable_ext.backends.azure_storage.large_payloads import LargePayloads
from durable_ext.backends.azure_storage.query import instance_filter_text
from durable_ext.backends.azure_storage.transport.edm import Row
from durable_ext.backends.azure_storage.transport.errors import StorageError, StorageNotFoundError
from durable_ext.backends.azure_storage.transport.table import MAX_BATCH, Change, TableChange, TableVerbs, literal
from durable_ext.backends.protocol import PurgeResult
from durable_ext.core.instances import InstanceFilter
from durable_ext.core.messages import InstanceId

_PARALLEL_BATCHES: Final = 10
_PARALLEL_INSTANCES: Final = 8
_PAGE: Final = 100
_KEYS: Final = ("PartitionKey", "RowKey")


class Purge:
    """Purges instances of one hub."""

    def __init__(
        self,
        *,
        tables: TableVerbs,
        history_table: str,
        instances_table: str,
        history: HistoryTable,
        instances: InstancesTable,
        payloads: LargePayloads,
        clock: Clock,
    ) -> None:
        self._tables, self._history_table, self._instances_table = tables, history_table, instances_table
        self._history, self._instances, self._payloads, self._clock = history, instances, payloads, clock

    async def one(self, instance_id: InstanceId) -> PurgeResult:
        """Delete one instance, whatever its status; 0 deleted if there is no row."""
        row = await self._tables.get(self._instances_table, escape_key(instance_id), "", select=_KEYS)
        if row is None:
            return PurgeResult(deleted=0)
        await self._delete(instance_id)
        return PurgeResult(deleted=1)

    async def matching(self, wanted: InstanceFilter, timeout: timedelta | None) -> PurgeResult:
        """Delete every instance that matches; ends early, incomplete, after `timeout`."""
        deadline = None if timeout is None else self._clock.monotonic() + timeout.total_seconds()
        slots = asyncio.Semaphore(_PARALLEL_INSTANCES)
        deleted, continuation = 0, None
        where = instance_filter_text(wanted)

        async def delete(row: Row) -> bool:
            async with slots:
                if deadline is not None and self._clock.monotonic() >= deadline:
                    return False
                await self._delete(InstanceId(unescape_key(str(row.entity["PartitionKey"]))))
                return True

        while True:
            page = await self._tables.query(self._instances_table, where, select=_KEYS, top=_PAGE, continuation=continuation)
            done = await asyncio.gather(*(delete(row) for row in page.rows))
            deleted += sum(done)
            if not all(done):
                return PurgeResult(deleted=deleted, complete=False)
            continuation = page.continuation
            if continuation is None:
                return PurgeResult(deleted=deleted)

    async def _delete(self, instance_id: InstanceId) -> None:
        # The row goes last: after a crash in between the instance is still found and can be purged again.
        await asyncio.gather(self._delete_history(instance_id), self._delete_blobs(instance_id))
        try:
            await self._instances.delete(instance_id)
        except StorageNotFoundError:
            return

    async def _delete_blobs(self, instance_id: InstanceId) -> None:
        prefixes = {f"{instance_id}/".replace("\\", "/"), f"{escape_key(instance_id)}/"}
        await asyncio.gather(*(self._payloads.delete_folder(prefix) for prefix in prefixes))

    async def _delete_history(self, instance_id: InstanceId) -> None:
        rows = await self._history.rows(f"PartitionKey eq {literal(escape_key(instance_id))}", _KEYS)
        slots = asyncio.Semaphore(_PARALLEL_BATCHES)

        async def delete(batch: Sequence[Row]) -> None:
            async with slots:
                await self._delete_batch(batch)

        await asyncio.gather(*(delete(rows[start : start + MAX_BATCH]) for start in range(0, len(rows), MAX_BATCH)))

    async def _delete_batch(self, rows: Sequence[Row]) -> None:
        changes = [TableChange(Change.DELETE, row.entity) for row in rows]
        try:
            await self._tables.apply_all(self._history_table, changes)
        except StorageError as exc:
            # One of them is gone; or the emulator cannot read a batch with a line separator in the key.
            if exc.status not in (400, 404):
                raise
            for change in changes:
                try:
                    await self._tables.apply(self._history_table, change)
                except StorageNotFoundError:
                    continue
