"""`InstanceStore` on Azure Storage: what clients do, with or without a worker in this process.

Source: specs/azure-storage.md 6.6, 9.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.history_table import HistoryTable
from durable_ext.backends.azure_storage.instance_watch import InstanceWatch
from durable_ext.backends.azure_storage.instances_table import PLAIN_COLUMNS, InstancesTable, StoredInstance, check_start
from durable_ext.backends.azure_storage.large_payloads import LargePayloads, check_plain_column
from durable_ext.backends.azure_storage.message_codec import CLIENT
from durable_ext.backends.azure_storage.names import HubNames
from durable_ext.backends.azure_storage.outbox import Outbox
from durable_ext.backends.azure_storage.poll_pace import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Poll, PollPace
from durable_ext.backends.azure_storage.purge import Purge
from durable_ext.backends.azure_storage.query import instance_filter_text
from durable_ext.backends.azure_storage.rewind import Rewind
from durable_ext.backends.azure_storage.transport.edm import Row
from durable_ext.backends.azure_storage.transport.errors import StorageConflictError, StoragePreconditionError
from durable_ext.backends.azure_storage.transport.table import TableVerbs
from durable_ext.backends.protocol import PurgeResult
from durable_ext.core.events import ExecutionStarted, HistoryEvent, OrchestrationStatus
from durable_ext.core.instances import InstanceFilter, InstancePage, InstanceRow
from durable_ext.core.messages import InstanceId, OutgoingMessage, TaskMessage
from durable_ext.core.timestamps import TICKS_PER_SECOND, ticks_from_datetime
from durable_ext.errors import ContinuationTokenError, InstanceAlreadyExistsError

_MAX_PAGE: Final = 1000
_FETCHED_AT_ONCE: Final = 16


class AzureInstanceStore:
    """Client operations of one hub. Each first makes sure that the hub exists."""

    def __init__(
        self,
        *,
        ensure_hub: Callable[[], Awaitable[None]],
        outbox: Outbox,
        history: HistoryTable,
        instances: InstancesTable,
        tables: TableVerbs,
        names: HubNames,
        payloads: LargePayloads,
        watch: InstanceWatch,
        clock: Clock,
        hand_over: Callable[[Sequence[HeldMessage]], None],
        discard: Callable[[HeldMessage], Awaitable[object]],
    ) -> None:
        self._ensure_hub, self._outbox, self._history, self._instances = ensure_hub, outbox, history, instances
        self._tables, self._instances_table = tables, names.instances_table
        self._watch, self._clock = watch, clock
        self._purge = Purge(
            tables=tables,
            history_table=names.history_table,
            instances_table=names.instances_table,
            history=history,
            payloads=payloads,
            clock=clock,
        )
        self._rewind = Rewind(
            tables=tables, history_table=names.history_table, history=history, instances=instances, clock=clock
        )
        self._hand_over, self._discard = hand_over, discard
        self._pace = PollPace()

    async def create_instance(self, start: ExecutionStarted, *, reject: frozenset[OrchestrationStatus]) -> None:
        """Start an instance.

        Order: 1 look for a row, 2 start message, 3 row. After a crash between 2 and 3 the message finds no row of its
        execution, is put back and dropped at its tenth delivery; the caller saw an error (8.3, 8.10). The other order
        would leave a row that stays Pending for ever. Step 1 is left out for an id that is new. On a partition of this
        worker it is left out at first: the message is hidden, and deleted if the insert shows that there is a row.
        """
        check_start(start)
        await self._ensure_hub()
        if start.input is not None and start.input.startswith("http"):
            # No JSON: a restart took it from a row that shows where the input is.
            start = replace(start, input=await self._instances.text_behind(start.input))
        instance_id = start.instance.instance_id
        id_is_new = start.generation == 0
        local = start.scheduled_start_time is None and self._outbox.is_local(instance_id)
        existing = None
        if local:
            created, existing = await self._create_locally(_with_generation(start, None))
            if created:
                return
        if existing is None and not id_is_new:
            existing = await self._instances.read(instance_id, with_payloads=False)
        if existing is not None and existing.row.status in reject:
            raise InstanceAlreadyExistsError(instance_id, existing.row.status.value)
        start = _with_generation(start, existing)
        sent = await self._send_start(start)
        await self._write_row_or_refuse(start, existing, sent, reject)
        if sent.claimed:
            self._hand_over([sent])

    async def _write_row_or_refuse(
        self,
        start: ExecutionStarted,
        existing: StoredInstance | None,
        sent: HeldMessage,
        reject: frozenset[OrchestrationStatus],
    ) -> None:
        """Make the row that of this start, also if other clients start the same id at this moment (6.6).

        Whoever is slower is told: the message is recognized as that of no row and dropped.
        """
        while True:
            try:
                await self._write_row(start, existing, sent)
                return
            except (StorageConflictError, StoragePreconditionError) as exc:
                if exc.code == "TableBeingDeleted":
                    raise
                existing = await self._instances.read(start.instance.instance_id, with_payloads=False)
            if existing is None:
                continue
            if existing.row.execution_id == start.instance.execution_id:
                return  # the answer to our own write was lost
            if existing.row.status in reject:
                await self._discard(sent)
                raise InstanceAlreadyExistsError(start.instance.instance_id, existing.row.status.value)

    async def _create_locally(self, start: ExecutionStarted) -> tuple[bool, StoredInstance | None]:
        """Start an instance that does not exist; false and its row if it does: then nothing is left of the attempt.

        A row of this very start is none that was there: it is ours, inserted by a call whose answer was lost.
        """
        sent = await self._send_start(start)
        try:
            await self._write_row(start, None, sent)
        except StorageConflictError:
            found = await self._instances.read(start.instance.instance_id, with_payloads=False)
            if found is None or found.row.execution_id != start.instance.execution_id:
                await self._discard(sent)
                return False, found
        sent.fresh_start = True
        if sent.claimed:
            self._hand_over([sent])
        return True, None

    async def _send_start(self, start: ExecutionStarted) -> HeldMessage:
        message = TaskMessage(event=start, target=start.instance)
        return await self._outbox.send_to_instance(message, sender=CLIENT, due=start.scheduled_start_time)

    async def _write_row(self, start: ExecutionStarted, existing: StoredInstance | None, sent: HeldMessage) -> None:
        now = ticks_from_datetime(self._clock.now())
        etag = existing.etag if existing is not None else None
        row = await self._instances.create(start, now=now, replaced_etag=etag, message_blob=sent.blob_name)
        self._watch.row_created(start.instance.instance_id, now, row)

    async def send(self, message: OutgoingMessage) -> None:
        await self._ensure_hub()
        # Through the queue: what is handed over in memory would overtake what another process was told is accepted.
        await self._outbox.send_to_instance(message.message, sender=CLIENT, due=message.due, claims=False)

    async def get_instance(self, instance_id: InstanceId, *, with_payloads: bool = True) -> InstanceRow | None:
        await self._ensure_hub()
        return await self._instances.get(instance_id, with_payloads=with_payloads)

    async def wait_for_change(
        self, instance_id: InstanceId, known: InstanceRow | None, wait: timedelta
    ) -> InstanceRow | None:
        if known is None:
            # A row that this process has just made needs no reading; if it is purged meanwhile, the next poll tells.
            created = self._watch.created(instance_id)
            if created is not None and (self._outbox.is_local(instance_id) or self._is_new(created)):
                return created
        deadline = self._clock.monotonic() + wait.total_seconds()
        wakeup = self._watch.begin(instance_id)
        # Where this process writes the row, the watch tells; polling is for the case that the partition moves away.
        is_local = self._outbox.is_local(instance_id)
        poll = self._pace.begin(wakeup, LONGEST_PAUSE_SECONDS if is_local else FIRST_PAUSE_SECONDS)
        row = None if known is None else self._watch.look(known)
        try:
            while True:
                if row is None:
                    row = await self.get_instance(instance_id)
                    self._pace.has_read(poll, news=row != known)
                left = deadline - self._clock.monotonic()
                if row != known or left <= 0:
                    return row
                told = await wakeup.wait(min(poll.pause, left)) or not await self._turn(poll, deadline)
                row = self._watch.look(known) if told and known is not None else None
        finally:
            self._pace.end(poll)
            self._watch.end(instance_id, wakeup)

    async def _turn(self, poll: Poll, deadline: float) -> bool:
        """Wait for a turn to read, or the deadline; false if this process has written the row meanwhile."""
        self._pace.ask(poll)
        told = not poll.is_due and await poll.wakeup.wait(deadline - self._clock.monotonic())
        return poll.is_due or not told

    def _is_new(self, row: InstanceRow) -> bool:
        """Whether a row was made so lately that another worker will hardly have changed it."""
        age = ticks_from_datetime(self._clock.now()) - row.last_updated_at
        return age < FIRST_PAUSE_SECONDS * TICKS_PER_SECOND

    async def query_instances(
        self, wanted: InstanceFilter, *, page_size: int = 100, continuation: str | None = None, with_payloads: bool = True
    ) -> InstancePage:
        await self._ensure_hub()
        if continuation is not None:
            _check_continuation(continuation)
        page = await self._tables.query(
            self._instances_table,
            instance_filter_text(wanted),
            select=() if with_payloads else PLAIN_COLUMNS,
            top=min(page_size, _MAX_PAGE),
            continuation=continuation,
        )
        rows = await self._listed(page.rows, with_payloads=with_payloads)
        return InstancePage(rows=rows, continuation=page.continuation)

    async def _listed(self, rows: Sequence[Row], *, with_payloads: bool) -> tuple[InstanceRow, ...]:
        """Large payloads are fetched beside each other, and leave connections to the others of this process."""
        turns = asyncio.Semaphore(_FETCHED_AT_ONCE)

        async def listed(row: Row) -> InstanceRow:
            async with turns:
                return await self._instances.listed(row, with_payloads=with_payloads)

        return tuple(await asyncio.gather(*(listed(row) for row in rows)))

    async def get_history(self, instance_id: InstanceId) -> Sequence[HistoryEvent]:
        await self._ensure_hub()
        return (await self._history.load(instance_id)).events

    async def purge_instance(self, instance_id: InstanceId, *, seen: InstanceRow | None = None) -> PurgeResult:
        await self._ensure_hub()
        self._watch.forget(instance_id)
        return await self._purge.one(instance_id, seen=seen)

    async def purge_instances(self, wanted: InstanceFilter, *, timeout: timedelta | None = None) -> PurgeResult:
        await self._ensure_hub()
        return await self._purge.matching(wanted, timeout)

    async def rewind(self, instance_id: InstanceId, reason: str) -> None:
        check_plain_column("the reason of a rewind", reason)
        await self._ensure_hub()
        for message in await self._rewind.rewind(instance_id, reason):
            await self.send(OutgoingMessage(message=message))


def _with_generation(start: ExecutionStarted, existing: StoredInstance | None) -> ExecutionStarted:
    if start.generation is not None:
        return start
    return replace(start, generation=0 if existing is None else (existing.row.generation or 0) + 1)


def _check_continuation(text: str) -> None:
    try:
        keys = json.loads(text)
    except ValueError:
        keys = None
    if not isinstance(keys, list) or len(keys) != 2 or not all(isinstance(key, str) for key in keys):
        raise ContinuationTokenError(text)
