"""The embedded task hub: puts the parts of this package together and decides nothing itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, cast

from durable_ext.aio.clock import Clock, SystemClock
from durable_ext.aio.supervisor import FailureReport, Supervisor, log_failure
from durable_ext.backends.checkpoint_port import CheckpointPort
from durable_ext.backends.protocol import (
    ActivityStore,
    BackendTraits,
    InstanceStore,
    OrchestrationStore,
    TaskHub,
)
from durable_ext.backends.sqlite.checkpoint_writes import CheckpointWriter
from durable_ext.backends.sqlite.connection import Connection, ReaderThread, WriterThread
from durable_ext.backends.sqlite.dispatch import Dispatch
from durable_ext.backends.sqlite.effects import Effects
from durable_ext.backends.sqlite.mailbox import Mailbox
from durable_ext.backends.sqlite.maintenance import Maintenance
from durable_ext.backends.sqlite.reads import Reads
from durable_ext.backends.sqlite.row_watch import RowWatch
from durable_ext.backends.sqlite.schema import check_hub_name, prepare_schema
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.backends.sqlite.stores import (
    SqliteActivities,
    SqliteCheckpoints,
    SqliteInstances,
    SqliteOrchestrations,
    SqliteTaskHub,
)
from durable_ext.backends.sqlite.writer_state import WriterState
from durable_ext.core.timestamps import ticks_from_datetime
from durable_ext.errors import BackendError

log = logging.getLogger("durable_ext.sqlite")

TRAITS: Final = BackendTraits(
    kind="embedded",
    max_timer=None,
    long_timer_step=None,
    max_events_per_write=None,
    stores_start_before_local_activity=False,
    keeps_trigger=False,
    delivers_in_order=True,
)


class _Opened:
    """Everything that exists between `open` and `close`."""

    def __init__(self, backend: SqliteBackend, writer: WriterThread, state: WriterState) -> None:
        settings, clock = backend.settings, backend.clock
        loop = asyncio.get_running_loop()
        self.writer, self.state = writer, state
        self.reader = ReaderThread(settings.path, loop)
        self.loops = self.supervisor = Supervisor("sqlite")
        reads = Reads(self.reader)
        self.rows = RowWatch(reads.rows, self._spawn)
        mailbox = Mailbox(state)
        maintenance = Maintenance(state, mailbox)
        self.dispatch = Dispatch(
            writer=writer,
            state=state,
            checkpoints=CheckpointWriter(state, mailbox),
            reads=reads,
            rows=self.rows,
            clock=clock,
            supervisor=self.supervisor,
        )
        self.orchestrations = SqliteOrchestrations(self.dispatch)
        self.checkpoints = SqliteCheckpoints(writer)
        self.activities = SqliteActivities(self.dispatch, writer, mailbox)
        self.instances = SqliteInstances(writer, mailbox, maintenance, reads, self.rows, clock)
        self.hub = SqliteTaskHub(settings.task_hub, writer, maintenance, reads)

    def _spawn(self, work: Awaitable[None]) -> None:
        self.supervisor.start("read rows again", cast(Coroutine[Any, Any, None], work))


class SqliteBackend:
    """One task hub in one file; see `backends.protocol.Backend` for the order of calls.

    Belongs to the event loop on which it was opened. Two threads of its own touch the file: one writes, one reads.
    """

    def __init__(self, settings: SqliteSettings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self._opened: _Opened | None = None

    @property
    def traits(self) -> BackendTraits:
        return TRAITS

    @property
    def task_hub(self) -> str:
        return self.settings.task_hub

    @property
    def orchestrations(self) -> OrchestrationStore:
        return self._parts.orchestrations

    @property
    def checkpoint_port(self) -> CheckpointPort:
        return self._parts.checkpoints

    @property
    def activities(self) -> ActivityStore:
        return self._parts.activities

    @property
    def instances(self) -> InstanceStore:
        return self._parts.instances

    @property
    def hub(self) -> TaskHub:
        return self._parts.hub

    @property
    def commits(self) -> int:
        """Write transactions of this process since `open`; for tests and benchmarks."""
        return self._parts.writer.commits

    @property
    def _parts(self) -> _Opened:
        if self._opened is None:
            raise BackendError(
                f"The task hub '{self.task_hub}' ({self.settings.path}) is not open. Call `await backend.open()` first."
            )
        return self._opened

    async def open(self) -> None:
        """Open or create the file.

        Raises:
            ConfigurationError: The file cannot be used: no permission, no database, another hub's, a newer version.
            BackendUnavailableError: Another process keeps it locked, or the disk is full.
        """
        if self._opened is not None:
            return
        loop = asyncio.get_running_loop()
        state = WriterState(
            clock=self.clock,
            lock_timeout=self.settings.lock_timeout,
            heartbeat=self.settings.heartbeat,
            deliver=self._apply,
            notify=lambda: self._from_writer(loop),
        )
        writer = WriterThread(
            self.settings.path,
            self.settings.synchronous,
            self.settings.busy_timeout,
            state,
            loop,
            self._prepare,
        )
        await loop.run_in_executor(None, writer.open)
        self._opened = _Opened(self, writer, state)
        writer.start()
        self._opened.reader.start()

    async def start_worker(self, failed: FailureReport = log_failure) -> None:
        parts = self._parts
        parts.loops = Supervisor("sqlite", failed)
        await parts.dispatch.start(parts.loops)

    async def drain(self) -> None:
        await self._parts.dispatch.drain()

    async def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            if opened.dispatch.working:
                await opened.dispatch.stop()
        except BackendError as error:
            log.warning("locks were not given up, they expire: %s", error, extra={"event": "close_incomplete"})
        await opened.loops.stop()
        await opened.supervisor.stop()
        loop = asyncio.get_running_loop()
        for thread in (opened.reader, opened.writer):
            thread.refuse()
            await loop.run_in_executor(None, thread.join)
        opened.rows.close()

    async def abort(self) -> None:
        """Disconnect at once, as if the process were killed: locks stay until they expire, nothing more is written."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        opened.writer.kill()
        opened.reader.kill()
        opened.dispatch.abort()
        await opened.loops.stop()
        await opened.supervisor.stop()

    async def __aenter__(self) -> SqliteBackend:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _prepare(self, connection: Connection) -> None:
        prepare_schema(connection, self.settings.path)
        check_hub_name(connection, self.settings.path, self.task_hub, ticks_from_datetime(self.clock.now()))

    def _apply(self, effects: Effects) -> None:
        if self._opened is not None:
            self._opened.dispatch.apply(effects)

    def _from_writer(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(self._changed_elsewhere)
        except RuntimeError:
            log.debug("a notice was dropped: the event loop is closed", extra={"event": "notice_dropped"})

    def _changed_elsewhere(self) -> None:
        if self._opened is not None:
            self._opened.rows.changed_elsewhere()
