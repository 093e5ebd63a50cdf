"""What a session on SQLite does beyond the contract."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import timedelta
from pathlib import Path

from durable_ext.backends.protocol import Checkpoint, OrchestrationSession, SessionEnd
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.core.events import ExecutionStarted
from durable_ext.core.messages import ExecutionId
from durable_ext.testing.contract_scenes import AT_ONCE, Scene, child_start, ids, messages_of, new_id, next_episode, raised

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


async def start_of(session: OrchestrationSession) -> ExecutionStarted:
    (message,) = (await messages_of(session, PATIENCE)).messages
    assert isinstance(message.message.event, ExecutionStarted)
    return message.message.event


async def two_children(scene: Scene) -> tuple[ExecutionId, ExecutionId]:
    """Let a parent start two children of one id in one step, and sleep; return their execution ids."""
    session, parent = await scene.started_session()
    child_id = new_id("child")
    children = [child_start(child_id, parent.instance, task_id) for task_id in (0, 1)]
    assert parent.instance.execution_id is not None
    await session.checkpoint(
        Checkpoint(execution_id=parent.instance.execution_id, new_events=next_episode(), messages=tuple(children))
    )
    await session.release()
    first, second = (child.message.target.execution_id for child in children)
    assert first is not None
    assert second is not None
    return first, second


async def test_a_child_whose_id_is_in_use_waits_until_that_instance_has_ended(tmp_path: Path, task_hub: str) -> None:
    settings = SqliteSettings(path=tmp_path / "hub.db", task_hub=task_hub, synchronous="NORMAL")
    async with SqliteBackend(settings) as backend:
        await backend.start_worker()
        scene = Scene(backend, PATIENCE)
        first, second = await two_children(scene)
        session = await scene.session()
        begun, _ = await scene.begin(session)
        idle = await session.next_messages(AT_ONCE)
        await session.release()
        woken = await backend.orchestrations.lock_next_orchestration(timedelta(milliseconds=100))

        await backend.instances.send(raised(begun.instance.instance_id, "go"))
        again = await scene.session()
        event = await messages_of(again, PATIENCE)
        await scene.finish(again, first, consumed=ids(event))
        following = await start_of(await scene.session())

    assert (begun.instance.execution_id, idle, woken) == (first, SessionEnd.IDLE, None)
    assert [one.message.event.__class__.__name__ for one in event.messages] == ["EventRaised"]
    assert following.instance.execution_id == second


async def test_a_row_that_stands_for_a_later_start_than_the_first_does_not_hold_its_instance(
    tmp_path: Path, task_hub: str
) -> None:
    settings = SqliteSettings(path=tmp_path / "hub.db", task_hub=task_hub, synchronous="NORMAL")
    async with SqliteBackend(settings) as backend:
        await backend.start_worker()
        first, second = await two_children(Scene(backend, PATIENCE))
    with sqlite3.connect(settings.path) as file:  # so hubs of older versions look
        file.execute("UPDATE instances SET execution_id = ? WHERE execution_id IN (?, ?)", (second, first, second))
    file.close()

    async with SqliteBackend(settings) as backend:
        await backend.start_worker()
        scene = Scene(backend, PATIENCE)
        session = await scene.session()
        begun, _ = await scene.begin(session)
        await scene.finish(session, first)
        following = await start_of(await scene.session())

    assert (begun.instance.execution_id, following.instance.execution_id) == (first, second)
