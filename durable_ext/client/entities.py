"""Entities as a client sees them: signal, read, list, clean; knows no entity code."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.protocol import InstanceStore
from durable_ext.client.arguments import due_ticks
from durable_ext.client.ids import checked_name
from durable_ext.client.query import check_prefix, optional_ticks
from durable_ext.client.status import decode_recorded
from durable_ext.core.entities.codec_port import EntityCodec
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import (
    OPERATION_EVENT,
    ORPHANED_LOCK_RELEASE_ID,
    RELEASE_EVENT,
    EntityRelease,
    EntityRequest,
    delayed_event_name,
)
from durable_ext.core.events import EventRaised, OrchestrationStatus
from durable_ext.core.instance_ids import checked_entity_id, existing_entity_id
from durable_ext.core.instances import InstanceFilter, InstanceRow
from durable_ext.core.messages import InstanceId, OrchestrationInstance, OutgoingMessage, TaskMessage
from durable_ext.core.payloads import PayloadConverter
from durable_ext.core.timestamps import Ticks, ticks_add, ticks_from_datetime, ticks_to_datetime

_LONGEST_DELAY: Final = timedelta(days=6)
_DELAY_HOP: Final = timedelta(days=3)
_EMPTY_PAGES_SKIPPED_FOR: Final = 0.1
_LOCK_OWNERS: Final = frozenset({OrchestrationStatus.RUNNING, OrchestrationStatus.SUSPENDED, OrchestrationStatus.PENDING})


@dataclass(frozen=True, slots=True, kw_only=True)
class EntitySnapshot:
    """An entity as its last batch left it.

    `state_text` is JSON text, `None` if the entity has no state or the listing did not ask for states.
    `last_operation_at` is aware UTC, `None` if the entity was never signalled.
    """

    entity_id: EntityId
    exists: bool
    converter: PayloadConverter
    state_text: str | None = None
    last_operation_at: datetime | None = None
    queue_size: int = 0
    locked_by: str | None = None

    @property
    def state(self) -> Any:
        """The state's JSON value."""
        return decode_recorded(self.state_text)

    def state_as(self, expected_type: Any = None) -> Any:
        """Return the state decoded to a type."""
        return None if self.state_text is None else self.converter.from_text(self.state_text, expected_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityQuery:
    """Restrictions that are all met. The name's case does not matter; times are inclusive, a naive one is UTC.

    Raises:
        ArgumentTypeError: The name is no text.
        InvalidArgumentError: The name holds half a character.
    """

    name: str | None = None
    last_operation_from: datetime | None = None
    last_operation_to: datetime | None = None
    with_state: bool = False
    page_size: int = 100

    def __post_init__(self) -> None:
        check_prefix("EntityQuery", "name", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityPage:
    """Existing entities ordered by id; `continuation` is `None` on the last page."""

    entities: tuple[EntitySnapshot, ...]
    continuation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageCleaning:
    """What one cleaning did."""

    empty_entities_removed: int
    orphaned_locks_released: int


class EntityClient:
    """The entity half of `DurableClient`.

    Source: specs/azure-storage.md 10.5, 10.7; specs/execution-semantics.md 12.
    """

    def __init__(
        self,
        instances: InstanceStore,
        *,
        converter: PayloadConverter,
        codec: EntityCodec,
        clock: Clock,
        reorder_window: timedelta = timedelta(minutes=30),
    ) -> None:
        self._instances, self._converter, self._codec, self._clock = instances, converter, codec, clock
        self._reorder_window = reorder_window

    async def signal(
        self, entity_id: EntityId, operation: str, recorded_input: str | None, *, due: datetime | None = None
    ) -> None:
        """Queue an operation whose `recorded_input` is the JSON text that the request carries."""
        checked_entity_id(entity_id)
        checked_name("operation", operation)
        now = ticks_from_datetime(self._clock.now())
        due_at = due_ticks("signal_entity", "due", due)
        if due_at is not None and due_at <= now:
            due_at = None
        request = EntityRequest(
            request_id=str(uuid.uuid4()), operation=operation, is_signal=True, input=recorded_input, due=due_at
        )
        delivery = None if due_at is None else _capped(due_at, now)
        await self._send(
            entity_id.instance_id,
            OPERATION_EVENT if delivery is None else delayed_event_name(delivery),
            self._codec.request_text(request, typed=False),
            delivery,
        )

    async def read(self, entity_id: EntityId) -> EntitySnapshot:
        """Return the entity's state; one that does not exist has `exists` false."""
        row = await self._instances.get_instance(existing_entity_id(entity_id).instance_id)
        if row is None:
            return EntitySnapshot(entity_id=entity_id, exists=False, converter=self._converter)
        return self._snapshot(row, with_state=True, entity_id=entity_id)

    async def list(self, query: EntityQuery, continuation: str | None = None) -> EntityPage:
        """Return one page of the entities that exist; pages without any are skipped for up to 100 ms."""
        wanted = InstanceFilter(
            instance_id_prefix=f"@{query.name.lower()}@" if query.name else "@",
            created_from=optional_ticks(query.last_operation_from),
            created_to=optional_ticks(query.last_operation_to),
            include_orchestrations=False,
        )
        give_up = self._clock.monotonic() + _EMPTY_PAGES_SKIPPED_FOR
        while True:
            page = await self._instances.query_instances(
                wanted, page_size=query.page_size, continuation=continuation, with_payloads=query.with_state
            )
            snapshots = [self._snapshot(row, with_state=query.with_state) for row in page.rows]
            found = tuple(snapshot for snapshot in snapshots if snapshot.exists)
            continuation = page.continuation
            if found or continuation is None or self._clock.monotonic() >= give_up:
                return EntityPage(entities=found, continuation=continuation)

    async def clean(self, *, remove_empty: bool = True, release_orphaned_locks: bool = True) -> StorageCleaning:
        """Purge entities without state, queue and lock that are idle longer than the reorder window; free lost locks."""
        removed = released = 0
        oldest_kept = ticks_add(ticks_from_datetime(self._clock.now()), -self._reorder_window)
        continuation: str | None = None
        while True:
            page = await self._instances.query_instances(
                InstanceFilter(instance_id_prefix="@", include_orchestrations=False),
                continuation=continuation,
                with_payloads=False,
            )
            for row in page.rows:
                status = self._codec.read_status(row.custom_status)
                if status.locked_by is not None:
                    if release_orphaned_locks and await self._release_if_orphaned(row, status.locked_by):
                        released += 1
                elif remove_empty and not status.exists and not status.queue_size and row.last_updated_at < oldest_kept:
                    removed += (await self._instances.purge_instance(row.instance_id, seen=row)).deleted
            continuation = page.continuation
            if continuation is None:
                return StorageCleaning(empty_entities_removed=removed, orphaned_locks_released=released)

    async def _release_if_orphaned(self, row: InstanceRow, owner: str) -> bool:
        owner_row = await self._instances.get_instance(InstanceId(owner), with_payloads=False)
        if owner_row is not None and owner_row.status in _LOCK_OWNERS:
            return False
        release = EntityRelease(parent=owner, lock_request_id=ORPHANED_LOCK_RELEASE_ID)
        await self._send(row.instance_id, RELEASE_EVENT, self._codec.release_text(release, typed=False), None)
        return True

    async def _send(self, instance_id: InstanceId, name: str, text: str, due: Ticks | None) -> None:
        event = EventRaised(timestamp=ticks_from_datetime(self._clock.now()), name=name, input=text)
        message = TaskMessage(event=event, target=OrchestrationInstance(instance_id=instance_id))
        await self._instances.send(OutgoingMessage(message=message, due=due))

    def _snapshot(self, row: InstanceRow, *, with_state: bool, entity_id: EntityId | None = None) -> EntitySnapshot:
        status = self._codec.read_status(row.custom_status)
        state = self._codec.read_state(row.input) if with_state else None
        return EntitySnapshot(
            entity_id=entity_id or EntityId.get_entity_id(row.instance_id),
            exists=status.exists if state is None else state.exists,
            converter=self._converter,
            state_text=state.state if state is not None and state.exists else None,
            last_operation_at=ticks_to_datetime(row.created_at),
            queue_size=status.queue_size,
            locked_by=status.locked_by,
        )


def _capped(due: Ticks, now: Ticks) -> Ticks:
    """A delay over six days is delivered after three and sent on by the entity (specs/execution-semantics.md 12.7)."""
    return due if due <= ticks_add(now, _LONGEST_DELAY) else ticks_add(now, _DELAY_HOP)
