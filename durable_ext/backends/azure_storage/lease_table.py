"""Rows of the Partitions table ↔ leases.

Source: specs/azure-storage.md 7.1. The empty PartitionKey makes all rows one partition: a round is one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from durable_ext.backends.azure_storage.leases import Lease
from durable_ext.backends.azure_storage.transport.edm import EdmDateTime, EdmOther, EdmValue, Entity, Row
from durable_ext.backends.azure_storage.transport.errors import StorageConflictError
from durable_ext.backends.azure_storage.transport.table import Change, TableChange, TableVerbs
from durable_ext.core.timestamps import ticks_from_datetime, ticks_from_iso, ticks_to_datetime, ticks_to_round_trip_iso

_OURS: Final = frozenset(
    {"PartitionKey", "RowKey", "CurrentOwner", "NextOwner", "OwnedSince", "LastRenewal", "ExpiresAt", "IsDraining"}
)


def _text(entity: Entity, name: str) -> str | None:
    value = entity.get(name)
    return value if isinstance(value, str) and value else None


def _date(entity: Entity, name: str) -> datetime | None:
    value = entity.get(name)
    try:
        return ticks_to_datetime(ticks_from_iso(value.text)) if isinstance(value, EdmDateTime) else None
    except (ValueError, OverflowError):
        return None  # the emulator stores any text


def lease_from_row(row: Row) -> Lease:
    """Return the lease of a row."""
    entity = row.entity
    return Lease(
        partition=str(entity["RowKey"]),
        owner=_text(entity, "CurrentOwner"),
        next_owner=_text(entity, "NextOwner"),
        owned_since=_date(entity, "OwnedSince"),
        last_renewal=_date(entity, "LastRenewal"),
        expires_at=_date(entity, "ExpiresAt"),
        is_draining=entity.get("IsDraining") is True,
        etag=row.etag,
        foreign={name: value for name, value in entity.items() if name not in _OURS},
    )


def lease_to_entity(lease: Lease) -> dict[str, EdmValue]:
    """Return the row of a lease; owners and times that are `None` have no column."""
    entity: dict[str, EdmValue] = {"PartitionKey": "", "RowKey": lease.partition}
    for name, text in (("CurrentOwner", lease.owner), ("NextOwner", lease.next_owner)):
        if text is not None:
            entity[name] = text
    times = (("OwnedSince", lease.owned_since), ("LastRenewal", lease.last_renewal), ("ExpiresAt", lease.expires_at))
    for name, time in times:
        if time is not None:
            entity[name] = EdmDateTime(ticks_to_round_trip_iso(ticks_from_datetime(time)))
    entity["IsDraining"] = lease.is_draining
    for name, value in lease.foreign.items():
        if isinstance(value, (str, bool, int, float, EdmDateTime, EdmOther)):
            entity[name] = value
    return entity


class LeaseTable:
    """The Partitions table of one hub."""

    def __init__(self, tables: TableVerbs, table: str) -> None:
        self._tables, self._table = tables, table

    async def create(self, partitions: Sequence[str]) -> int:
        """Create the table and the rows that are missing; return how many those were."""
        await self._tables.create(self._table)
        known = {lease.partition for lease in await self.load()}
        missing = [partition for partition in partitions if partition not in known]
        inserts = [TableChange(Change.INSERT, lease_to_entity(Lease(partition=partition))) for partition in missing]
        if not inserts:
            return 0
        try:
            await self._tables.apply_all(self._table, inserts)
        except StorageConflictError:
            for insert in inserts:  # another process creates the hub at the same time
                try:
                    await self._tables.apply(self._table, insert)
                except StorageConflictError:
                    continue
        return len(inserts)

    async def load(self) -> list[Lease]:
        """Return all leases, in partition order; `StorageNotFoundError` if there is no table."""
        leases: list[Lease] = []
        continuation: str | None = None
        while True:
            page = await self._tables.query(self._table, "", continuation=continuation)
            leases += [lease_from_row(row) for row in page.rows]
            continuation = page.continuation
            if continuation is None:
                return leases

    async def write(self, leases: Sequence[Lease]) -> None:
        """Replace rows in one transaction; `StoragePreconditionError` if one of them has changed."""
        await self._tables.apply_all(
            self._table, [TableChange(Change.REPLACE, lease_to_entity(lease), lease.etag) for lease in leases]
        )
