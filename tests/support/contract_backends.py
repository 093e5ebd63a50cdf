"""Stores for a run of the backend contract: closed at its end, and left by a worker as if it had died."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.protocol import Backend
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.testing.contract import OpenBackend


@asynccontextmanager
async def opened_backends(make: Callable[[], Backend]) -> AsyncIterator[OpenBackend]:
    """Give what opens one more of the stores that `make` returns, with or without a worker."""
    opened: list[Backend] = []

    async def open_one(*, worker: bool = True) -> Backend:
        backend = make()
        await backend.open()
        opened.append(backend)
        if worker:
            await backend.start_worker()
        return backend

    yield open_one
    for backend in opened:
        await backend.close()


async def abort(backend: Backend) -> None:
    """Leave a store as a process that is killed leaves it."""
    assert isinstance(backend, (AzureStorageBackend, SqliteBackend))
    await backend.abort()
