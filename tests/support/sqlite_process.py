"""A process of its own on a hub file, driven by a test over its pipes: `python sqlite_process.py ROLE FILE HUB`."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from datetime import timedelta
from pathlib import Path

from durable_ext.backends.protocol import Checkpoint
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.core.events import OrchestrationStatus
from durable_ext.errors import CheckpointConflictError
from durable_ext.testing.contract_scenes import Scene, next_episode, update

PATIENCE = timedelta(seconds=20)


def settings(path: Path, task_hub: str) -> SqliteSettings:
    """Locks that expire quickly, for tests of take-overs."""
    return SqliteSettings(
        path=path,
        task_hub=task_hub,
        lock_timeout=timedelta(seconds=1.5),
        heartbeat=timedelta(seconds=0.3),
        busy_timeout=timedelta(seconds=2),
    )


def say(*words: object) -> None:
    print(*words, flush=True)


async def hear() -> str:
    """Wait for a line from the test; empty at its end."""
    line: str = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    return line.strip()


async def acknowledge(backend: SqliteBackend) -> None:
    """Start instances and write five checkpoints each for ever, saying what has returned."""
    scene = Scene(backend, PATIENCE)
    while await backend.orchestrations.lock_next_orchestration(timedelta(milliseconds=200)):
        pass  # what the process before had locked when it was killed; it stays locked
    while True:
        wanted = await scene.start()
        session = await scene.session()
        while session.instance.instance_id != wanted.instance.instance_id:  # left by a process that was killed
            await session.release()
            session = await scene.session()
        start, _ = await scene.begin(session)
        execution_id = start.instance.execution_id
        assert execution_id is not None
        say(start.instance.instance_id, 3)
        for number in range(5):
            await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode()))
            say(start.instance.instance_id, 5 + 2 * number)
        await session.release()


async def work(backend: SqliteBackend) -> None:
    """Finish whatever is there, with this process id as the output."""
    scene = Scene(backend, PATIENCE)
    say("ready")
    while True:
        session = await backend.orchestrations.lock_next_orchestration(timedelta(seconds=1))
        if session is None:
            continue
        start, _ = await scene.begin(session)
        execution_id = start.instance.execution_id
        assert execution_id is not None
        await session.checkpoint(
            Checkpoint(
                execution_id=execution_id,
                new_events=next_episode(),
                instance=update(execution_id, OrchestrationStatus.COMPLETED, output=str(os.getpid())),
            )
        )
        await session.release()


async def hold(backend: SqliteBackend) -> None:
    """Hold a session; when told, try to write with it."""
    session, start = await Scene(backend, PATIENCE).started_session()
    execution_id = start.instance.execution_id
    assert execution_id is not None
    say(start.instance.instance_id)
    await hear()
    try:
        await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode()))
    except CheckpointConflictError:
        say("conflict")
    else:
        say("committed")


def block(path: Path) -> None:
    """Keep a write transaction open."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    say("blocking")
    sys.stdin.readline()
    connection.close()


async def run(role: str, path: Path, task_hub: str) -> None:
    async with SqliteBackend(settings(path, task_hub)) as backend:
        await backend.start_worker()
        if role == "hold":
            await hold(backend)
            return
        task = asyncio.ensure_future(work(backend) if role == "work" else acknowledge(backend))
        told = asyncio.ensure_future(hear())
        await asyncio.wait((task, told), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


if __name__ == "__main__":
    if sys.argv[1] == "block":
        block(Path(sys.argv[2]))
    else:
        asyncio.run(run(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
