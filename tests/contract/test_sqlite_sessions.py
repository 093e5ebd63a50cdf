"""What a session on SQLite does beyond the contract."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from durable_ext.backends.protocol import SessionEnd
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.testing.contract_scenes import Scene

PATIENCE = timedelta(seconds=10)


async def test_a_wait_that_is_cancelled_ends_no_wait_that_began_after_it(tmp_path: Path, task_hub: str) -> None:
    settings = SqliteSettings(path=tmp_path / "hub.db", task_hub=task_hub, synchronous="NORMAL")
    async with SqliteBackend(settings) as backend:
        await backend.start_worker()
        session, _ = await Scene(backend, PATIENCE).started_session()
        listening = asyncio.ensure_future(session.next_messages(PATIENCE))  # as while an episode is stuck
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(session.next_messages(timedelta(milliseconds=20)))
        await asyncio.sleep(0)

        listening.cancel()

        assert await asyncio.wait_for(waiting, PATIENCE.total_seconds()) is SessionEnd.IDLE
