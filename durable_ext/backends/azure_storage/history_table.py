"""The History table: what is read and written there, one event per row, and the sentinel row whose ETag guards the instance.

Source: specs/azure-storage.md 5.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from json.encoder import encode_basestring_ascii
from typing import Final

from durable_ext.backends.azure_storage.event_columns import date_column, event_from_columns, event_to_columns, table_date
from durable_ext.backends.azure_storage.key_encoding import escape_key
from durable_ext.backends.azure_storage.large_payloads import (
    LARGE_COLUMNS,
    BlobReference,
    LargePayloads,
    check_payload,
    exceeds_column,
)
from durable_ext.backends.azure_storage.message_codec import CONTROL_EVENTS
from durable_ext.backends.azure_storage.names import holds_shown_input, holds_shown_reason
from durable_ext.backends.azure_storage.transport.edm import EdmDateTime, EdmValue, Row
from durable_ext.backends.azure_storage.transport.table import Change, TableChange, TableVerbs, literal
from durable_ext.core.events import HistoryEvent
from durable_ext.core.instances import InstanceUpdate
from durable_ext.core.messages import ExecutionId, InstanceId
from durable_ext.core.timestamps import ticks_from_datetime
from durable_ext.errors import BackendError, MissingPayloadError

SENTINEL: Final = "sentinel"
_EVENT_KEY: Final = re.compile("[0-9A-F]{16}")
MAX_ROWS_PER_BATCH: Final = 99
_MAX_BATCH_BYTES: Final = 3 * 1024 * 1024
_ROW_BYTES: Final = 1024
_SHORT_TEXT: Final = 64  # shorter ones are part of that
# Marked as played before they are stored, in every recorded hub; nothing of the provider or of ours depends on it (5.3).
_CONSUMED: Final = CONTROL_EVENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedHistory:
    """The current generation of an instance.

    Attributes:
        events: In order; empty if there is none.
        execution_id: The sentinel's; `None` if the instance has no rows.
        etag: The sentinel's ETag, the token of the next write; `None` = insert it.
        blobs: Names of the payload blobs that its rows refer to.
        occupied: How many row keys from 0 on are taken, by an older generation's leftovers too.
    """

    events: tuple[HistoryEvent, ...] = ()
    execution_id: ExecutionId | None = None
    etag: str | None = None
    blobs: frozenset[str] = frozenset()
    occupied: int = 0


NO_HISTORY: Final = LoadedHistory()


@dataclass(slots=True)
class HistoryCursor:
    """Where the next write of one instance goes. Owned by the session that holds the instance.

    `unreferenced` are blobs, by their text, that were written since the instance row was: it may refer to the same ones.
    `still_shown` are blobs of former generations that the row may refer to.

    Below `occupied` there may be rows of an older generation: those keys are replaced, the others inserted, which says
    more (nobody else has written there) and costs the emulator less.
    """

    execution_id: ExecutionId | None = None
    etag: str | None = None
    count: int = 0
    occupied: int = 0
    blobs: set[str] = field(default_factory=set)
    unreferenced: dict[str, BlobReference] = field(default_factory=dict)
    still_shown: frozenset[str] = frozenset()

    def out_of_use(self, replaced: frozenset[str], update: InstanceUpdate | None) -> frozenset[str]:
        """Return the blobs that nothing refers to once `update` is in the row: what a generation leaves that was replaced.

        Without an update the row still shows what it did; one without an output may still show a reason of it, of a
        resumption mostly. The cursor has these until this session has written something else there. Whoever loads the
        instance anew does not know them: they lie until the purge.
        """
        left = replaced | self.still_shown
        if update is None:
            self.still_shown = frozenset(name for name in left if holds_shown_input(name) or holds_shown_reason(name))
        elif update.output is None:
            self.still_shown = frozenset(filter(holds_shown_reason, left))
        else:
            self.still_shown = frozenset()
        return left - self.still_shown


@dataclass(frozen=True, slots=True)
class PreparedRows:
    """Rows that go behind a cursor. Made by `HistoryTable.prepare`, used up by one `append`.

    Attributes:
        rows: Their columns.
        sizes: Of each row, in bytes, as it counts for a batch.
        large: Row and column of each text that goes to a blob.
    """

    rows: list[dict[str, EdmValue]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    large: list[tuple[int, str]] = field(default_factory=list)


def row_key(index: int) -> str:
    """Return the RowKey of the event with that ordinal: 16 upper-case hex digits."""
    return f"{index:016X}"


class HistoryTable:
    """The History table of one hub."""

    def __init__(self, tables: TableVerbs, table: str, payloads: LargePayloads) -> None:
        self._tables, self._table, self._payloads = tables, table, payloads

    async def load(self, instance_id: InstanceId) -> LoadedHistory:
        """Read the current generation: 5.7, all pages, payload blobs included.

        Raises:
            MissingPayloadError, DamagedPayloadError: A payload blob is gone and a row still refers to it, or is damaged.
        """
        seen: str | None = None
        while True:
            rows = await self.rows(f"PartitionKey eq {literal(escape_key(instance_id))}")
            try:
                return await self._fold(rows)
            except MissingPayloadError:
                sentinel, _ = current_generation(rows)
                if sentinel is None or sentinel.etag == seen:
                    raise
                seen = sentinel.etag  # its owner may have begun the next generation, and deleted the blob, while we read

    async def rows(self, where: str, select: Sequence[str] = ()) -> list[Row]:
        """Return all rows of a filter, in key order."""
        rows: list[Row] = []
        continuation: str | None = None
        while True:
            page = await self._tables.query(self._table, where, select=select, continuation=continuation)
            rows += page.rows
            continuation = page.continuation
            if continuation is None:
                return rows

    async def text(self, blob: str) -> str:
        """Return the text that a row has in a blob.

        Raises:
            MissingPayloadError, DamagedPayloadError: The blob is gone, or is damaged.
        """
        return await self._payloads.load(blob)

    async def _fold(self, rows: list[Row]) -> LoadedHistory:
        sentinel, taken = current_generation(rows)
        marked = sentinel or (taken[0] if taken else None)
        if marked is None:
            return NO_HISTORY
        current = marked.entity.get("ExecutionId")
        blobs = await self._fetch_payloads(taken)
        return LoadedHistory(
            events=tuple(event_from_columns(row.entity) for row in taken),
            execution_id=ExecutionId(str(current)) if current is not None else None,
            etag=sentinel.etag if sentinel is not None else None,
            blobs=frozenset(blobs),
            occupied=occupied_keys(rows),
        )

    async def _fetch_payloads(self, rows: list[Row]) -> list[str]:
        wanted: list[tuple[dict[str, EdmValue], str, str]] = []
        for row in rows:
            for column in LARGE_COLUMNS:
                name = row.entity.get(f"{column}BlobName")
                if isinstance(name, str) and name:
                    wanted.append((row.entity, column, name))

        async def fetch(entity: dict[str, EdmValue], column: str, name: str) -> None:
            entity[column] = await self._payloads.load(name)

        await asyncio.gather(*(fetch(*one) for one in wanted))
        return [name for _, _, name in wanted]

    def prepare(self, instance_id: InstanceId, cursor: HistoryCursor, events: Sequence[HistoryEvent]) -> PreparedRows:
        """Return the rows of events that go behind the cursor.

        Raises:
            PayloadTooLargeError: A value cannot be stored.
        """
        key = escape_key(instance_id)
        execution_id = cursor.execution_id or ""
        prepared = PreparedRows()
        for offset, event in enumerate(events):
            columns: dict[str, EdmValue] = {"PartitionKey": key, "RowKey": row_key(cursor.count + offset)}
            columns.update(event_to_columns(event, execution_id))
            if event.__class__ in _CONSUMED:
                columns["IsPlayed"] = True
                columns["EventId"] = -1  # also of a writer that left it out: .NET takes a second 0 for a copy
            size = _ROW_BYTES
            for column, value in columns.items():
                if not isinstance(value, str) or len(value) <= _SHORT_TEXT:
                    continue
                if column in LARGE_COLUMNS and exceeds_column(value):
                    check_payload(f"{event.__class__.__name__}.{column}", value)
                    prepared.large.append((offset, column))
                else:
                    # compat: the provider counts UTF-16 bytes; escaped for the wire a text can be three times that.
                    size += max(2 * len(value), len(encode_basestring_ascii(value)))
            prepared.sizes.append(size)
            prepared.rows.append(columns)
        return prepared

    async def append(
        self, cursor: HistoryCursor, prepared: PreparedRows, now: datetime, *, before_batch: Callable[[], Awaitable[None]]
    ) -> None:
        """Write rows behind the cursor in batches of at most 99 rows and the sentinel; moves the cursor.

        What `before_batch` raises ends it.

        Raises:
            StorageConflictError, StoragePreconditionError: Somebody else has written; nothing of the failed batch is
                stored.
        """
        rows = prepared.rows
        for offset, column in prepared.large:
            await self._offload(rows[offset], column, cursor)
        for start, end in _cuts(prepared.sizes):
            await before_batch()
            await self._write(cursor, rows[start:end], now if end == len(rows) else None)

    async def holds_another(self, prepared: PreparedRows) -> bool:
        """Whether an event of the same generation that is not ours has the place of the first row; false if in doubt."""
        ours = prepared.rows[0]
        try:
            found = await self._tables.get(self._table, str(ours["PartitionKey"]), str(ours["RowKey"]))
            if found is None or found.entity.get("ExecutionId") != ours["ExecutionId"]:
                return False
            theirs, mine = ((row["EventType"], date_column(row["_Timestamp"])) for row in (found.entity, ours))
            return theirs != mine
        except (BackendError, ValueError, TypeError, KeyError):
            return False

    async def _offload(self, columns: dict[str, EdmValue], column: str, cursor: HistoryCursor) -> None:
        text = str(columns[column])
        reference = await self._payloads.store_column(
            str(columns["PartitionKey"]), str(columns["RowKey"]), str(columns["EventType"]), column, text
        )
        cursor.unreferenced[text] = reference
        columns[column] = ""
        columns[f"{column}BlobName"] = reference.name
        cursor.blobs.add(reference.name)

    async def _write(self, cursor: HistoryCursor, rows: Sequence[dict[str, EdmValue]], completed: datetime | None) -> None:
        sentinel: dict[str, EdmValue] = {
            "PartitionKey": rows[0]["PartitionKey"],
            "RowKey": SENTINEL,
            "ExecutionId": cursor.execution_id or "",
            "IsCheckpointComplete": completed is not None,
        }
        if completed is not None:
            sentinel["CheckpointCompletedTimestamp"] = EdmDateTime(table_date(ticks_from_datetime(completed)))
        changes = [
            TableChange(Change.UPSERT if index < cursor.occupied else Change.INSERT, row)
            for index, row in enumerate(rows, cursor.count)
        ]
        if cursor.etag is None:
            changes.append(TableChange(Change.INSERT, sentinel))
        else:
            changes.append(TableChange(Change.MERGE, sentinel, cursor.etag))
        etags = await self._tables.apply_all(self._table, changes)
        cursor.etag = etags[-1]
        cursor.count += len(rows)


def current_generation(rows: Sequence[Row]) -> tuple[Row | None, list[Row]]:
    """Return the sentinel of an instance's rows, if it is there, and the event rows of the current generation (5.7).

    Rows of an older, longer generation lie behind these; rows with other names are no provider's.
    """
    sentinel = next((row for row in reversed(rows) if row.entity["RowKey"] == SENTINEL), None)
    events = [row for row in rows if _is_event(row)]
    if not events:
        return sentinel, []
    current = (sentinel or events[0]).entity.get("ExecutionId")
    end = next((index for index, row in enumerate(events) if row.entity.get("ExecutionId") != current), len(events))
    return sentinel, events[:end]


def occupied_keys(rows: Sequence[Row]) -> int:
    """Return how many keys of events are taken from the first on, by whichever generation."""
    last = next((row for row in reversed(rows) if _is_event(row)), None)
    return 0 if last is None else int(str(last.entity["RowKey"]), 16) + 1


def _is_event(row: Row) -> bool:
    return _EVENT_KEY.fullmatch(str(row.entity["RowKey"])) is not None


def _cuts(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Cut rows into batches: at most 99 rows, flushed when the estimate exceeds 3 MiB (checked after adding)."""
    cuts: list[tuple[int, int]] = []
    start = total = 0
    for index, size in enumerate(sizes):
        total += size
        if index + 1 - start == MAX_ROWS_PER_BATCH or total > _MAX_BATCH_BYTES:
            cuts.append((start, index + 1))
            start, total = index + 1, 0
    if start < len(sizes):
        cuts.append((start, len(sizes)))
    return cuts
