"""The embedded store keeps every promise of the seam."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from durable_ext.backends.protocol import Backend
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.testing.contract import BackendContract, Crash, OpenBackend


class TestSqlite(BackendContract):
    patience = timedelta(seconds=5)

    @pytest.fixture
    async def open_backend(self, tmp_path: Path, task_hub: str) -> AsyncIterator[OpenBackend]:
        opened: list[SqliteBackend] = []

        async def open_one(*, worker: bool = True) -> Backend:
            settings = SqliteSettings(
                path=tmp_path / "hub.db",
                task_hub=task_hub,
                lock_timeout=timedelta(seconds=1),
                heartbeat=timedelta(seconds=0.2),
            )
            backend = SqliteBackend(settings)
            await backend.open()
            opened.append(backend)
            if worker:
                await backend.start_worker()
            return backend

        yield open_one
        for backend in opened:
            await backend.close()

    @pytest.fixture
    def crash(self) -> Crash:
        async def kill(backend: Backend) -> None:
            assert isinstance(backend, SqliteBackend)
            await backend.abort()

        return kill
