"""An embedded store whose process dies before or after the n-th thing it stores."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.testing.faults import FailingTransport

_WRITES = {"checkpoint", "complete", "create_instance", "send", "purge_instance"}


class _Mortal:
    """Passes everything on to a part of the store; what writes goes through the gate."""

    def __init__(self, part: Any, gate: FailingTransport) -> None:
        self._part, self._gate = part, gate

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._part, name)
        if name not in _WRITES:
            return attribute

        async def write(*args: Any, **kwargs: Any) -> Any:
            return await self._gate(StorageCall(name, type(self._part).__name__), lambda: attribute(*args, **kwargs))

        return write


class _Sessions:
    def __init__(self, part: Any, gate: FailingTransport) -> None:
        self._part, self._gate = part, gate

    async def lock_next_orchestration(self, wait: timedelta) -> Any:
        return self._wrapped(await self._part.lock_next_orchestration(wait))

    async def lock_next_entity(self, wait: timedelta) -> Any:
        return self._wrapped(await self._part.lock_next_entity(wait))

    def _wrapped(self, session: Any) -> Any:
        return None if session is None else _Mortal(session, self._gate)


class MortalSqlite:
    """The embedded store behind a gate."""

    def __init__(self, inner: SqliteBackend, gate: FailingTransport) -> None:
        self._inner, self._gate = inner, gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def orchestrations(self) -> Any:
        return _Sessions(self._inner.orchestrations, self._gate)

    @property
    def activities(self) -> Any:
        return _Mortal(self._inner.activities, self._gate)

    @property
    def instances(self) -> Any:
        return _Mortal(self._inner.instances, self._gate)


def sqlite_processes(folder: Path) -> Callable[[str, FailingTransport | None], Any]:
    """Return how processes on the embedded store open a hub: each hub is a file in the folder."""

    def open_one(hub: str, gate: FailingTransport | None) -> Any:
        settings = SqliteSettings(
            path=folder / f"{hub}.db",
            task_hub=hub,
            synchronous="NORMAL",
            lock_timeout=timedelta(seconds=1),
            heartbeat=timedelta(milliseconds=200),
        )
        inner = SqliteBackend(settings)
        return inner if gate is None else MortalSqlite(inner, gate)

    return open_one


def every_write(call: StorageCall) -> bool:
    """Count whatever goes through the gate."""
    return True
