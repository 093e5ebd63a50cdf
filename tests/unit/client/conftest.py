"""A task hub on a SQLite file with a client on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.client_hub import Hub

from durable_ext.backends import open_backend
from durable_ext.backends.sqlite.settings import SqliteSettings


@pytest.fixture
async def hub(tmp_path: Path, task_hub: str) -> AsyncIterator[Hub]:
    backend = open_backend(SqliteSettings(path=tmp_path / "hub.db", task_hub=task_hub, synchronous="NORMAL"))
    await backend.open()
    await backend.start_worker()
    try:
        yield Hub(backend)
    finally:
        await backend.close()
