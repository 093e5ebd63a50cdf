"""The Protocols of `backends.protocol` in one file of SQLite: thin, the work is in the modules they name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from durable_ext.aio.clock import Clock
from durable_ext.backends.checkpoint_port import CheckpointAnswer
from durable_ext.backends.protocol import (
    ActivityWorkItem,
    Checkpoint,
    OrchestrationSession,
    PurgeResult,
)
from durable_ext.backends.sqlite.connection import WriterThread
from durable_ext.backends.sqlite.dispatch import Dispatch
from durable_ext.backends.sqlite.faults import MAX_TEXT_BYTES
from durable_ext.backends.sqlite.mailbox import Mailbox, NewInstance, post_of
from durable_ext.backends.sqlite.maintenance import Maintenance
from durable_ext.backends.sqlite.reads import PageQuery, Reads, read_continuation
from durable_ext.backends.sqlite.row_watch import RowWatch
from durable_ext.backends.sqlite.session import SqliteSession
from durable_ext.core.events import ExecutionStarted, HistoryEvent, OrchestrationStatus
from durable_ext.core.instances import InstanceFilter, InstancePage, InstanceRow
from durable_ext.core.messages import InstanceId, OutgoingMessage, TaskMessage
from durable_ext.errors import LeaseLostError, PayloadTooLargeError

_PURGE_PAGE = 100


class SqliteOrchestrations:
    """An `OrchestrationStore`."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    async def lock_next_orchestration(self, wait: timedelta) -> SqliteSession | None:
        return await self._dispatch.orchestrations.take(wait)

    async def lock_next_entity(self, wait: timedelta) -> SqliteSession | None:
        return await self._dispatch.entities.take(wait)


class SqliteCheckpoints:
    """A `CheckpointPort`."""

    def __init__(self, writer: WriterThread) -> None:
        self._writer = writer

    def put(
        self, session: OrchestrationSession, checkpoint: Checkpoint, answered: Callable[[CheckpointAnswer], None]
    ) -> None:
        assert isinstance(session, SqliteSession)
        session.put(checkpoint, answered)

    def flush(self, *, here: bool) -> None:
        self._writer.flush(here=here)


class SqliteActivities:
    """An `ActivityStore`."""

    def __init__(self, dispatch: Dispatch, writer: WriterThread, mailbox: Mailbox) -> None:
        self._dispatch, self._writer, self._mailbox = dispatch, writer, mailbox

    async def lock_next_activity(self, wait: timedelta) -> ActivityWorkItem | None:
        return await self._dispatch.activities.take(wait)

    async def begin(self, item: ActivityWorkItem) -> bool:
        return await self._dispatch.begin_activity(item)

    async def complete(self, item: ActivityWorkItem, result: HistoryEvent) -> None:
        post = post_of(OutgoingMessage(message=TaskMessage(event=result, target=item.message.target)))
        completed = await self._writer.submit(self._mailbox.complete_activities, (int(item.item_id), post))
        self._dispatch.settled_activity(item)
        if not completed:
            raise LeaseLostError(f"Activity work item {item.item_id} of instance '{item.message.target.instance_id}'")

    async def abandon(self, item: ActivityWorkItem) -> None:
        await self._dispatch.abandon_activity(item)

    async def release(self, item: ActivityWorkItem) -> None:
        await self._dispatch.release_activity(item)


class SqliteInstances:
    """An `InstanceStore`."""

    def __init__(
        self, writer: WriterThread, mailbox: Mailbox, maintenance: Maintenance, reads: Reads, rows: RowWatch, clock: Clock
    ) -> None:
        self._writer, self._mailbox, self._maintenance = writer, mailbox, maintenance
        self._reads, self._rows, self._clock = reads, rows, clock

    async def create_instance(self, start: ExecutionStarted, *, reject: frozenset[OrchestrationStatus]) -> None:
        _check_size("The input", start.input)
        await self._writer.submit(self._mailbox.create, NewInstance(start, reject))

    async def send(self, message: OutgoingMessage) -> None:
        post = post_of(message)
        _check_size("The message", post.body)
        await self._writer.submit(self._mailbox.send, post)

    async def get_instance(self, instance_id: InstanceId, *, with_payloads: bool = True) -> InstanceRow | None:
        return (await self._reads.rows([instance_id]))[0]

    async def wait_for_change(
        self, instance_id: InstanceId, known: InstanceRow | None, wait: timedelta
    ) -> InstanceRow | None:
        return await self._rows.wait(instance_id, known, wait)

    async def query_instances(
        self,
        wanted: InstanceFilter,
        *,
        page_size: int = 100,
        continuation: str | None = None,
        with_payloads: bool = True,
    ) -> InstancePage:
        after = read_continuation(continuation)
        return await self._reads.page(PageQuery(wanted=wanted, after=after, size=page_size, with_payloads=with_payloads))

    async def get_history(self, instance_id: InstanceId) -> Sequence[HistoryEvent]:
        return await self._reads.history_of(instance_id)

    async def purge_instance(self, instance_id: InstanceId, *, seen: InstanceRow | None = None) -> PurgeResult:
        if seen is not None:
            deleted = await self._writer.submit(self._maintenance.purge_seen, (seen,))
        else:
            deleted = await self._writer.submit(self._maintenance.purge, [instance_id])
        return PurgeResult(deleted=deleted)

    async def purge_instances(self, wanted: InstanceFilter, *, timeout: timedelta | None = None) -> PurgeResult:
        """Purge in pages of 100, each one transaction, so that other writes get in between."""
        deadline = None if timeout is None else self._clock.monotonic() + timeout.total_seconds()
        deleted, after = 0, ""
        while True:
            query = PageQuery(wanted=wanted, after=after, size=_PURGE_PAGE, with_payloads=False)
            page = await self._reads.page(query)
            if page.rows:
                after = page.rows[-1].instance_id
                deleted += await self._writer.submit(self._maintenance.purge_seen, page.rows)
            if page.continuation is None:
                return PurgeResult(deleted=deleted)
            if deadline is not None and self._clock.monotonic() >= deadline:
                return PurgeResult(deleted=deleted, complete=False)

    async def rewind(self, instance_id: InstanceId, reason: str) -> None:
        await self._writer.submit(self._maintenance.rewind, (instance_id, reason))


class SqliteTaskHub:
    """A `TaskHub`."""

    def __init__(self, task_hub: str, writer: WriterThread, maintenance: Maintenance, reads: Reads) -> None:
        self._task_hub, self._writer, self._maintenance, self._reads = task_hub, writer, maintenance, reads

    async def create(self) -> None:
        await self._writer.submit(self._maintenance.create_hub, self._task_hub)

    async def delete(self) -> None:
        await self._writer.submit(self._maintenance.delete_hub, None)

    async def exists(self) -> bool:
        return await self._reads.hub_exists(self._task_hub)

    async def make_primary(self) -> bool:
        return False


def _check_size(what: str, text: Any) -> None:
    if text is not None and len(text) > MAX_TEXT_BYTES // 4:
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > MAX_TEXT_BYTES:
            raise PayloadTooLargeError(what, size, MAX_TEXT_BYTES)
