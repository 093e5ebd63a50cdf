"""The embedded store keeps every promise of the seam."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.contract_backends import abort, opened_backends

from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.testing.contract import BackendContract, Crash, OpenBackend


class TestSqlite(BackendContract):
    patience = timedelta(seconds=5)

    @pytest.fixture
    async def open_backend(self, tmp_path: Path, task_hub: str) -> AsyncIterator[OpenBackend]:
        settings = SqliteSettings(
            path=tmp_path / "hub.db",
            task_hub=task_hub,
            lock_timeout=timedelta(seconds=1),
            heartbeat=timedelta(seconds=0.2),
        )
        async with opened_backends(lambda: SqliteBackend(settings)) as open_one:
            yield open_one

    @pytest.fixture
    def crash(self) -> Crash:
        return abort
