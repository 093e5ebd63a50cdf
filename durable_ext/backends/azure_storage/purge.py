"""Deletes instances: row, history, payload blobs.

Source: specs/azure-storage.md 9.6. Messages in queues are left: workers discard them as "no such instance".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.azure_storage.history_table import SENTINEL, HistoryTable, current_generation
from durable_ext.backends.azure_storage.instances_table import ROW_KEY, row_from_entity
from durable_ext.backends.azure_storage.key_encoding import escape_key, unescape_key
from durable_ext.backends.azure_storage.large_payloads import LargePayloads
from durable_ext.backends.azure_storage.names import blob_folder
from durable_ext.backends.azure_storage.query import instance_filter_text
from durable_ext.backends.azure_storage.transport.edm import EdmValue, Row
from durable_ext.backends.azure_storage.transport.errors import (
    StorageError,
    StorageNotFoundError,
    StoragePreconditionError,
    StorageRefusedError,
)
from durable_ext.backends.azure_storage.transport.table import MAX_BATCH, Change, TableChange, TableVerbs, literal
from durable_ext.backends.protocol import PurgeResult
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.ids import is_same_execution
from durable_ext.core.instances import InstanceFilter, InstanceRow
from durable_ext.core.messages import InstanceId
from durable_ext.errors import BackendError

_PARALLEL_BATCHES: Final = 10
_PARALLEL_INSTANCES: Final = 8
_PAGE: Final = 100
_ATTEMPTS: Final = 10
_KEYS: Final = ("PartitionKey", "RowKey")
_HISTORY_COLUMNS: Final = (*_KEYS, "ExecutionId", "EventType", "OrchestrationStatus")
_ROW_COLUMNS: Final = (*_KEYS, "ExecutionId", "LastUpdatedTime", "RuntimeStatus")
_ENDS: Final = frozenset(status.value for status in OrchestrationStatus if status.is_terminal)
_log = logging.getLogger("durable_ext.backends.azure_storage")


class _OtherRunError(BackendError):
    """The row of an instance and its history are of different runs, and the later one goes on."""

    def __init__(self) -> None:
        super().__init__("its row is of an earlier run than its history, which goes on. Purge it when that has ended.")


class Purge:
    """Purges instances of one hub."""

    def __init__(
        self,
        *,
        tables: TableVerbs,
        history_table: str,
        instances_table: str,
        history: HistoryTable,
        payloads: LargePayloads,
        clock: Clock,
    ) -> None:
        self._tables, self._history_table, self._instances_table = tables, history_table, instances_table
        self._history, self._payloads, self._clock = history, payloads, clock

    async def one(self, instance_id: InstanceId, *, seen: InstanceRow | None = None) -> PurgeResult:
        """Delete one instance, whatever its status; 0 deleted if there is no row, or no longer the one that was `seen`."""
        if seen is not None:
            try:
                return PurgeResult(deleted=int(await self._delete_unchanged(instance_id, seen=seen)))
            except _OtherRunError:
                return PurgeResult(deleted=0, complete=False)
        for _ in range(_ATTEMPTS):
            if await self._delete_unchanged(instance_id):
                return PurgeResult(deleted=1)
            if await self._row(instance_id) is None:
                return PurgeResult(deleted=0)
        # An entity that works all the time: what it writes between these calls outlives them.
        rows, blobs = await asyncio.gather(self._history_rows(instance_id), self._blob_names(instance_id))
        await asyncio.gather(self._delete_history([replace(one, etag="*") for one in rows]), self._delete_blobs(blobs))
        return PurgeResult(deleted=int(await self._delete_row(instance_id, "*")))

    async def matching(self, wanted: InstanceFilter, timeout: timedelta | None) -> PurgeResult:
        """Delete every instance that matches; ends early, incomplete, after `timeout`.

        One that cannot be deleted is told and left, as by the provider, and does not keep the others.
        """
        deadline = None if timeout is None else self._clock.monotonic() + timeout.total_seconds()
        slots = asyncio.Semaphore(_PARALLEL_INSTANCES)
        deleted, complete, continuation = 0, True, None
        where = instance_filter_text(wanted)

        async def delete(row: Row) -> bool | None:
            async with slots:
                if deadline is not None and self._clock.monotonic() >= deadline:
                    return None
                return await self._delete_or_tell(row)

        while True:
            page = await self._tables.query(self._instances_table, where, select=_KEYS, top=_PAGE, continuation=continuation)
            done = await asyncio.gather(*(delete(row) for row in page.rows), return_exceptions=True)
            for end in done:
                if isinstance(end, BaseException):
                    raise end  # after the others: what they delete is not left half way
                deleted += bool(end)
                complete = complete and end is not None
            continuation = page.continuation
            if continuation is None or (deadline is not None and self._clock.monotonic() >= deadline and not complete):
                return PurgeResult(deleted=deleted, complete=complete)

    async def _delete_or_tell(self, row: Row) -> bool | None:
        """Return whether a row of a page is deleted with its instance, `None` if that cannot be done."""
        instance_id = InstanceId(unescape_key(str(row.entity["PartitionKey"])))
        try:
            return await self._delete_unchanged(instance_id, etag=row.etag)
        except (StorageRefusedError, _OtherRunError) as exc:
            _log.warning(
                "instance '%s' could not be purged: %s",
                instance_id,
                exc,
                extra={"event": "purge_refused", "instance_id": instance_id, "error": str(exc)},
            )
            return None

    async def _delete_unchanged(
        self, instance_id: InstanceId, *, etag: str | None = None, seen: InstanceRow | None = None
    ) -> bool:
        """Delete an instance whose row has this ETag, or says what was seen, or any; false if it has changed meanwhile.

        An instance may be started again, an entity signalled, at any moment. So: 1 list history and blobs, 2 look at the
        row, which a client replaces before a worker begins the new run, 3 history, its sentinel first, each row with its
        ETag, 4 blobs, 5 the row with its ETag. A worker that has begun after 1 has replaced the sentinel, so that 3 fails;
        one that begins after 3 finds none and inserts its own. The row goes last: after a crash in between the instance is
        still found and can be purged again.

        Raises:
            _OtherRunError: The wanted row is of another run than history, and that one has not ended.
        """
        rows, blobs = await asyncio.gather(self._history_rows(instance_id), self._blob_names(instance_id))
        row = await self._row(instance_id)
        if row is None or (etag is not None and row.etag != etag) or not _is_as_seen(row, seen):
            return False
        if (etag is not None or seen is not None) and not _is_of_one_run(row, rows):
            raise _OtherRunError
        try:
            await self._delete_history(rows)
            await self._delete_blobs(blobs)
            return await self._delete_row(instance_id, row.etag)
        except StoragePreconditionError:
            return False

    async def _row(self, instance_id: InstanceId) -> Row | None:
        return await self._tables.get(self._instances_table, escape_key(instance_id), ROW_KEY, select=_ROW_COLUMNS)

    async def _history_rows(self, instance_id: InstanceId) -> list[Row]:
        return await self._history.rows(f"PartitionKey eq {literal(escape_key(instance_id))}", _HISTORY_COLUMNS)

    async def _blob_names(self, instance_id: InstanceId) -> list[str]:
        folders = (blob_folder(instance_id).replace("\\", "/"), blob_folder(escape_key(instance_id)))
        prefixes = {f"{folder}/" for folder in folders}
        found = await asyncio.gather(*(self._payloads.names_below(prefix) for prefix in prefixes))
        return [name for names in found for name in names]

    async def _delete_row(self, instance_id: InstanceId, etag: str) -> bool:
        entity: dict[str, EdmValue] = {"PartitionKey": escape_key(instance_id), "RowKey": ROW_KEY}
        try:
            await self._tables.apply(self._instances_table, TableChange(Change.DELETE, entity, etag))
        except StorageNotFoundError:
            return False
        return True

    async def _delete_blobs(self, names: Sequence[str]) -> None:
        for name in names:
            await self._payloads.delete(name)

    async def _delete_history(self, rows: Sequence[Row]) -> None:
        """Delete rows; those of the first batch, the sentinel among them, before the others.

        Raises:
            StoragePreconditionError: One of them has changed.
        """
        slots = asyncio.Semaphore(_PARALLEL_BATCHES)
        rows = sorted(rows, key=lambda row: row.entity["RowKey"] != SENTINEL)

        async def delete(batch: Sequence[Row]) -> None:
            async with slots:
                await self._delete_batch(batch)

        if rows:
            await delete(rows[:MAX_BATCH])
        await asyncio.gather(*(delete(rows[start : start + MAX_BATCH]) for start in range(MAX_BATCH, len(rows), MAX_BATCH)))

    async def _delete_batch(self, rows: Sequence[Row]) -> None:
        changes = [TableChange(Change.DELETE, row.entity, row.etag) for row in rows]
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


def _is_of_one_run(row: Row, history: Sequence[Row]) -> bool:
    """Whether a row and the history that was listed before it go together, or have both ended, each for itself.

    History is written before the row of a child or an entity: what differs may be going on. If both have ended, a worker
    has died between them, or letters of an execution id have another case, and neither will change by itself.
    """
    sentinel, events = current_generation(history)
    ours = row.entity.get("ExecutionId")
    if sentinel is None or ours is None:
        return True
    if is_same_execution(str(ours), str(sentinel.entity.get("ExecutionId")), if_unknown=False):
        return True
    has_ended = any(
        one.entity.get("EventType") == "ExecutionCompleted" and one.entity.get("OrchestrationStatus") in _ENDS
        for one in events
    )
    return has_ended and row.entity.get("RuntimeStatus") in _ENDS


def _is_as_seen(row: Row, seen: InstanceRow | None) -> bool:
    if seen is None:
        return True
    found = row_from_entity(row.entity)
    return (found.execution_id, found.last_updated_at) == (seen.execution_id, seen.last_updated_at)
