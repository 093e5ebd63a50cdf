"""Instance rows: one per instance, what queries read.

Source: specs/azure-storage.md 6.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from durable_ext.backends.azure_storage.event_columns import table_date
from durable_ext.backends.azure_storage.key_encoding import escape_key, unescape_key
from durable_ext.backends.azure_storage.large_payloads import (
    BlobReference,
    LargePayloads,
    check_plain_column,
    exceeds_column,
)
from durable_ext.backends.azure_storage.transport.edm import EdmDateTime, EdmValue, Entity, Row
from durable_ext.backends.azure_storage.transport.errors import StorageNotFoundError
from durable_ext.backends.azure_storage.transport.table import Change, TableChange, TableVerbs
from durable_ext.codec.event_members import Kind
from durable_ext.codec.wire import WireFormatError, column_text, column_value
from durable_ext.core.events import ExecutionStarted, OrchestrationStatus
from durable_ext.core.instances import InstanceRow, InstanceUpdate
from durable_ext.core.messages import ExecutionId, InstanceId
from durable_ext.core.timestamps import MIN_TICKS, Ticks, ticks_from_iso
from durable_ext.errors import DamagedPayloadError, MissingPayloadError

_log = logging.getLogger("durable_ext.backends.azure_storage")
ROW_KEY: Final = ""
_NOTHING: Final[Mapping[str, BlobReference]] = {}
PLAIN_COLUMNS: Final = (
    "PartitionKey",
    "RowKey",
    "ExecutionId",
    "Name",
    "Version",
    "CustomStatus",
    "CreatedTime",
    "LastUpdatedTime",
    "CompletedTime",
    "RuntimeStatus",
    "ScheduledStartTime",
    "Generation",
    "Tags",
    "TaskHubName",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """A row and the ETag of its state."""

    row: InstanceRow
    etag: str


def _text(entity: Entity, name: str) -> str | None:
    value = entity.get(name)
    return value if isinstance(value, str) else None


def _ticks(entity: Entity, name: str) -> Ticks | None:
    value = entity.get(name)
    return ticks_from_iso(value.text) if isinstance(value, EdmDateTime) else None


def _number(entity: Entity, name: str) -> int | None:
    value = entity.get(name)
    return value if isinstance(value, int) else None


def _status(entity: Entity) -> OrchestrationStatus:
    try:
        return OrchestrationStatus(_text(entity, "RuntimeStatus") or "")
    except ValueError:
        return OrchestrationStatus.PENDING


def row_from_entity(entity: Entity) -> InstanceRow:
    """Return the row as it is stored: large input and output are still addresses."""
    custom_status = _text(entity, "CustomStatus")
    tags = _text(entity, "Tags")
    execution_id = _text(entity, "ExecutionId")
    return InstanceRow(
        instance_id=InstanceId(unescape_key(str(entity["PartitionKey"]))),
        execution_id=ExecutionId(execution_id) if execution_id else None,
        name=_text(entity, "Name") or "",
        version=_text(entity, "Version"),
        status=_status(entity),
        created_at=_ticks(entity, "CreatedTime") or MIN_TICKS,
        last_updated_at=_ticks(entity, "LastUpdatedTime") or MIN_TICKS,
        input=_text(entity, "Input"),
        output=_text(entity, "Output"),
        custom_status=None if custom_status in (None, "null", "") else custom_status,
        completed_at=_ticks(entity, "CompletedTime"),
        scheduled_start_at=_ticks(entity, "ScheduledStartTime"),
        generation=_number(entity, "Generation"),
        tags=_tags(tags),
    )


def _tags(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    try:
        tags: dict[str, str] | None = column_value(Kind.TAGS, text)
    except WireFormatError:
        return None
    return tags


def _date(ticks: Ticks) -> EdmDateTime:
    return EdmDateTime(table_date(ticks))


class InstancesTable:
    """The Instances table of one hub."""

    def __init__(
        self, tables: TableVerbs, table: str, payloads: LargePayloads, task_hub: str, *, fetch_large: bool = True
    ) -> None:
        self._tables, self._table, self._payloads, self._task_hub = tables, table, payloads, task_hub
        self._fetch_large = fetch_large

    async def get(self, instance_id: InstanceId, *, with_payloads: bool = True) -> InstanceRow | None:
        """Return one row, its payload blobs read."""
        stored = await self.read(instance_id, with_payloads=with_payloads)
        if stored is None:
            return None
        return stored.row

    async def read(self, instance_id: InstanceId, *, with_payloads: bool) -> StoredInstance | None:
        """Return one row and its ETag.

        Raises:
            MissingPayloadError, DamagedPayloadError: A payload blob is gone and the row still refers to it, or is damaged.
        """
        select = () if with_payloads else PLAIN_COLUMNS
        seen = None
        while True:
            row = await self._tables.get(self._table, escape_key(instance_id), ROW_KEY, select=select)
            if row is None:
                return None
            try:
                return StoredInstance(row=await self.resolved(row, with_payloads=with_payloads), etag=row.etag)
            except MissingPayloadError:
                if row.etag == seen:
                    raise
                seen = row.etag  # its owner may have replaced the row, and then the blob, while we read

    async def resolved(self, row: Row, *, with_payloads: bool) -> InstanceRow:
        """Return the instance row of a table row, large input and output fetched if wanted."""
        entity = row.entity
        # What stands in an entity's row is its state: where its text is, is of no use to anybody.
        if with_payloads and (self._fetch_large or str(entity["PartitionKey"]).startswith("@")):
            for column in ("Input", "Tags"):
                blob = _text(entity, f"{column}BlobName")
                if blob and not _text(entity, column):
                    entity[column] = await self._payloads.load(blob)
            for column in ("Input", "Output"):
                value = _text(entity, column)
                if value is not None and value.startswith("http"):
                    entity[column] = await self._payloads.resolve(value)
        return row_from_entity(entity)

    async def listed(self, row: Row, *, with_payloads: bool) -> InstanceRow:
        """Return one of many rows: of a payload that is gone or damaged the address is left, and the others are whole."""
        try:
            try:
                return await self.resolved(row, with_payloads=with_payloads)
            except MissingPayloadError:
                found = await self.get(row_from_entity(row.entity).instance_id)
                return row_from_entity(row.entity) if found is None else found
        except (MissingPayloadError, DamagedPayloadError) as exc:
            found = row_from_entity(row.entity)
            _log.warning(
                "instance '%s' is listed without its payload: %s",
                found.instance_id,
                exc,
                extra={"event": "payload_unreadable", "instance_id": found.instance_id},
            )
            return found

    async def text_behind(self, address: str) -> str:
        """Return the text that a column shows the address of; any other text as it is."""
        return await self._payloads.resolve(address)

    async def create(
        self, start: ExecutionStarted, *, now: Ticks, replaced_etag: str | None, message_blob: str | None
    ) -> InstanceRow | None:
        """Insert the Pending row of a start, or replace the row with that ETag.

        `message_blob` names the blob of the start message if that was offloaded: the row then refers to it.

        Returns:
            What a reader would get; `None` if that takes a blob.

        Raises:
            StorageConflictError, StoragePreconditionError: Another client was faster.
        """
        key = escape_key(start.instance.instance_id)
        entity: dict[str, EdmValue] = {"PartitionKey": key, "RowKey": ROW_KEY}
        if start.input is not None:
            if message_blob is not None:
                entity["Input"] = self._payloads.url(message_blob)
            elif exceeds_column(start.input):
                reference = await self._payloads.store_column(key, "", "Input", "Input", start.input)
                entity["Input"], entity["InputBlobName"] = "", reference.name
            else:
                entity["Input"] = start.input
        entity |= {"CreatedTime": _date(start.timestamp), "Name": start.name}
        if start.version is not None:
            entity["Version"] = start.version
        entity |= {
            "RuntimeStatus": OrchestrationStatus.PENDING.value,
            "LastUpdatedTime": _date(now),
            "TaskHubName": self._task_hub,
        }
        if start.scheduled_start_time is not None:
            entity["ScheduledStartTime"] = _date(start.scheduled_start_time)
        if start.instance.execution_id is not None:
            entity["ExecutionId"] = start.instance.execution_id
        if start.generation is not None:
            entity["Generation"] = start.generation
        entity |= await self._tags_columns(key, start.tags)
        if replaced_etag is None:
            await self._tables.apply(self._table, TableChange(Change.INSERT, entity))
        else:
            await self._tables.apply(self._table, TableChange(Change.REPLACE, entity, replaced_etag))
        offloaded = "InputBlobName" in entity or message_blob is not None
        return None if offloaded else row_from_entity(entity)

    async def merge(
        self, instance_id: InstanceId, update: InstanceUpdate, offloaded: Mapping[str, BlobReference] = _NOTHING
    ) -> None:
        """Insert or merge what a checkpoint changed; `offloaded` = blobs that hold such texts already.

        Raises:
            PayloadTooLargeError: The custom status does not fit into a column.
        """
        key = escape_key(instance_id)
        entity: dict[str, EdmValue] = {
            "PartitionKey": key,
            "RowKey": ROW_KEY,
            "LastUpdatedTime": _date(update.last_updated_at),
        }
        if update.execution_id:
            entity["CustomStatus"] = update.custom_status if update.custom_status is not None else "null"
            entity["ExecutionId"] = update.execution_id
            entity["TaskHubName"] = self._task_hub
        if update.status is not None:
            entity["RuntimeStatus"] = update.status.value
        if update.name is not None:
            entity["Name"] = update.name
            entity |= await self._tags_columns(key, update.tags)
        if update.version is not None:
            entity["Version"] = update.version
        if update.generation is not None:
            entity["Generation"] = update.generation
        for name, ticks in (
            ("CreatedTime", update.created_at),
            ("CompletedTime", update.completed_at),
            ("ScheduledStartTime", update.scheduled_start_at),
        ):
            if ticks is not None:
                entity[name] = _date(ticks)
        for name, text in (("Input", update.input), ("Output", update.output)):
            if text is None:
                continue
            if exceeds_column(text):
                reference = offloaded.get(text) or await self._payloads.store_column(key, "", name, name, text)
                entity[name] = reference.url
            else:
                entity[name] = text
        if update.execution_id:
            await self._tables.apply(self._table, TableChange(Change.UPSERT_MERGE, entity))
            return
        # Terminated before it started: the row is its client's, and stays that execution's (6.3).
        try:
            await self._tables.apply(self._table, TableChange(Change.MERGE, entity))
        except StorageNotFoundError:
            return

    async def _tags_columns(self, key: str, tags: Mapping[str, str] | None) -> dict[str, EdmValue]:
        text = column_text(Kind.TAGS, tags)
        if not exceeds_column(text):
            return {"Tags": text}
        reference = await self._payloads.store_column(key, "", "Tags", "Tags", text)
        return {"Tags": "", "TagsBlobName": reference.name}

    async def set_pending(self, instance_id: InstanceId, now: Ticks, etag: str) -> None:
        """Mark a rewound instance Pending, keeping everything else.

        Raises:
            StoragePreconditionError, StorageNotFoundError: The row is no longer the one with that ETag, or is gone.
        """
        entity: dict[str, EdmValue] = {
            "PartitionKey": escape_key(instance_id),
            "RowKey": ROW_KEY,
            "RuntimeStatus": OrchestrationStatus.PENDING.value,
            "LastUpdatedTime": _date(now),
        }
        await self._tables.apply(self._table, TableChange(Change.MERGE, entity, etag))


def check_start(start: ExecutionStarted) -> None:
    """Raise `PayloadTooLargeError` before anything is sent if the version cannot be stored."""
    if start.version is not None:
        check_plain_column("the version", start.version)


def check_update(update: InstanceUpdate) -> None:
    """Raise `PayloadTooLargeError` before anything is written if the custom status cannot be stored."""
    if update.custom_status is not None:
        check_plain_column("the custom status", update.custom_status)
