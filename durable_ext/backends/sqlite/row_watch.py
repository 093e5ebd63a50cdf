"""Waiting for instance rows to change, and the rows this process knows without reading; used on the event loop only."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Final

from durable_ext.backends.sqlite.instance_rows import updated_row
from durable_ext.core.instances import InstanceRow, InstanceUpdate
from durable_ext.errors import BackendError, BackendUnavailableError

_MOST_ROWS: Final = 4096
_LARGEST_ROW: Final = 4096
_CALM_SECONDS: Final = 0.01

ReadRows = Callable[[list[str]], Awaitable[list["InstanceRow | None"]]]


class RowWatch:
    """Rows of instances that were created here are kept up to date from our own writes.

    Whatever else may have changed a row (another process, a purge, a restart) makes it unknown; waiters then read it.
    """

    def __init__(self, read_rows: ReadRows, spawn: Callable[[Awaitable[None]], None]) -> None:
        self._read_rows = read_rows
        self._spawn = spawn
        self._known: OrderedDict[str, InstanceRow] = OrderedDict()
        self._waiters: dict[str, list[asyncio.Future[InstanceRow | None]]] = {}
        self._look_planned = False

    async def wait(self, instance_id: str, seen: InstanceRow | None, wait: timedelta) -> InstanceRow | None:
        """Return the row as soon as it differs from `seen`, or as it is after `wait`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait.total_seconds()
        while True:
            # Register, then look: what changes after the look resolves the future, what changed before it is seen. A row
            # that was told may be the one already seen, and the next change may come before this task runs again, so each
            # round looks anew.
            future = self._register(instance_id, loop)
            timer = loop.call_at(deadline, _resolve, future, seen)
            try:
                row = self._known.get(instance_id)
                if row is None:
                    (row,) = await self._read_rows([instance_id])
                if row != seen or loop.time() >= deadline:
                    return row
                await future
            finally:
                timer.cancel()
                self._unregister(instance_id, future)

    def created(self, row: InstanceRow) -> None:
        """A row was written by this process."""
        if len(row.input or "") <= _LARGEST_ROW:
            self._known[row.instance_id] = row
            if len(self._known) > _MOST_ROWS:
                self._known.popitem(last=False)
        self._tell(row.instance_id, row)

    def updated(self, instance_id: str, update: InstanceUpdate) -> None:
        """A row was changed by this process."""
        row = self._known.get(instance_id)
        if row is None:
            self.changed([instance_id])
            return
        row = updated_row(row, update)
        self._tell(instance_id, row)
        if row.status.is_terminal or len(row.output or "") + len(row.custom_status or "") > _LARGEST_ROW:
            del self._known[instance_id]  # nobody writes it any more, or it is too large to keep
        else:
            self._known[instance_id] = row

    def changed(self, instance_ids: Iterable[str]) -> None:
        """Rows were changed in a way we do not know."""
        waited_for = []
        for instance_id in instance_ids:
            self._known.pop(instance_id, None)
            if instance_id in self._waiters:
                waited_for.append(instance_id)
        if waited_for:
            self._spawn(self._read_again(waited_for))

    def changed_elsewhere(self) -> None:
        """Another process has written something; rows are read again at most every 10 ms."""
        self._known.clear()
        if self._waiters and not self._look_planned:
            self._look_planned = True
            asyncio.get_running_loop().call_later(_CALM_SECONDS, self._look_at_all)

    def close(self) -> None:
        """Let nobody wait for what will not come."""
        for instance_id in list(self._waiters):
            self._fail(
                instance_id, BackendUnavailableError(f"Waiting for instance '{instance_id}' ended: the task hub closes.")
            )

    def _look_at_all(self) -> None:
        self._look_planned = False
        self.changed(list(self._waiters))

    async def _read_again(self, instance_ids: list[str]) -> None:
        try:
            rows = await self._read_rows(instance_ids)
        except BackendError as error:
            for instance_id in instance_ids:
                self._fail(instance_id, error)
            return
        for instance_id, row in zip(instance_ids, rows, strict=True):
            self._tell(instance_id, row)

    def _tell(self, instance_id: str, row: InstanceRow | None) -> None:
        for future in self._waiters.pop(instance_id, ()):
            _resolve(future, row)

    def _fail(self, instance_id: str, error: BackendError) -> None:
        for future in self._waiters.pop(instance_id, ()):
            if not future.done():
                future.set_exception(error)

    def _register(self, instance_id: str, loop: asyncio.AbstractEventLoop) -> asyncio.Future[InstanceRow | None]:
        future: asyncio.Future[InstanceRow | None] = loop.create_future()
        self._waiters.setdefault(instance_id, []).append(future)
        return future

    def _unregister(self, instance_id: str, future: asyncio.Future[InstanceRow | None]) -> None:
        waiters = self._waiters.get(instance_id)
        if waiters is not None and future in waiters:
            waiters.remove(future)
            if not waiters:
                del self._waiters[instance_id]


def _resolve(future: asyncio.Future[InstanceRow | None], row: InstanceRow | None) -> None:
    if not future.done():
        future.set_result(row)
