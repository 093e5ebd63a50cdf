"""What tests of the embedded store share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings


@pytest.fixture
def settings(tmp_path: Path, task_hub: str) -> SqliteSettings:
    """A hub file of the test's own."""
    return SqliteSettings(path=tmp_path / "hub.db", task_hub=task_hub, synchronous="NORMAL")


@pytest.fixture
async def backend(settings: SqliteSettings) -> AsyncIterator[SqliteBackend]:
    """A store with a worker."""
    async with SqliteBackend(settings) as opened:
        await opened.start_worker()
        yield opened
