"""Checkpoints that come from another thread than the event loop's, and are written there or by the writer thread."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from durable_ext.backends.checkpoint_port import CheckpointAnswer
from durable_ext.backends.protocol import Checkpoint, OrchestrationSession, Receipt
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.core.messages import OrchestrationInstance
from durable_ext.errors import BackendUnavailableError, CheckpointConflictError
from durable_ext.testing.contract_scenes import Scene, activity, messages_of, names, next_episode, raised

PATIENCE = timedelta(seconds=10)


@pytest.fixture
def settings(tmp_path: Path, task_hub: str) -> SqliteSettings:
    return SqliteSettings(
        path=tmp_path / "hub.db", task_hub=task_hub, synchronous="NORMAL", busy_timeout=timedelta(seconds=2)
    )


class Answers:
    """Notes which answers came, in order, and on which thread."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.all: asyncio.Queue[CheckpointAnswer] = asyncio.Queue()

    def __call__(self, answer: CheckpointAnswer) -> None:
        self.threads.add(threading.get_ident())
        self.all.put_nowait(answer)

    async def next(self) -> CheckpointAnswer:
        return await asyncio.wait_for(self.all.get(), PATIENCE.total_seconds())


async def put(backend: SqliteBackend, session: OrchestrationSession, wanted: Checkpoint, answers: Answers) -> None:
    """Put and flush a checkpoint on a thread that may write."""

    def on_thread() -> None:
        backend.checkpoint_port.put(session, wanted, answers)
        backend.checkpoint_port.flush(here=True)

    await asyncio.to_thread(on_thread)


def checkpoint(instance: OrchestrationInstance, **fields: object) -> Checkpoint:
    assert instance.execution_id is not None
    return Checkpoint(execution_id=instance.execution_id, new_events=next_episode(), **fields)  # type: ignore[arg-type]


async def test_it_is_durable_when_it_is_answered_and_that_is_on_the_event_loop(
    backend: SqliteBackend, settings: SqliteSettings
) -> None:
    session, start = await Scene(backend, PATIENCE).started_session()
    answers = Answers()

    await put(
        backend, session, checkpoint(start.instance, activities=(activity(start.instance, 1, run_here=True),)), answers
    )
    answer = await answers.next()
    with sqlite3.connect(settings.path) as other:
        (stored,) = other.execute("SELECT count(*) FROM activities").fetchone()
    other.close()

    assert stored == 1
    assert isinstance(answer, Receipt)
    assert [item.message.event.event_id for item in answer.activities] == [1]
    assert answers.threads == {threading.get_ident()}


async def test_messages_to_instances_that_are_locked_here_arrive_before_the_answer(backend: SqliteBackend) -> None:
    session, start = await Scene(backend, PATIENCE).started_session()
    target, _ = await Scene(backend, PATIENCE).started_session()
    answers = Answers()
    message = raised(target.instance.instance_id, "ping")

    await put(backend, session, checkpoint(start.instance, messages=(message,)), answers)
    await answers.next()
    batch = await target.next_messages(timedelta(0))

    assert names(batch) == ["ping"]


async def test_while_another_process_writes_the_thread_goes_on_and_the_checkpoint_follows(
    backend: SqliteBackend, settings: SqliteSettings
) -> None:
    session, start = await Scene(backend, PATIENCE).started_session()
    answers = Answers()
    other = sqlite3.connect(settings.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    await put(backend, session, checkpoint(start.instance), answers)
    unanswered = answers.all.empty()
    other.execute("COMMIT")
    other.close()
    answer = await answers.next()

    assert unanswered
    assert isinstance(answer, Receipt)


async def test_a_file_that_stays_locked_is_the_answer_and_ends_the_session(
    backend: SqliteBackend, settings: SqliteSettings
) -> None:
    session, start = await Scene(backend, PATIENCE).started_session()
    answers = Answers()
    other = sqlite3.connect(settings.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    await put(backend, session, checkpoint(start.instance), answers)
    answer = await answers.next()
    other.execute("ROLLBACK")
    other.close()

    assert isinstance(answer, BackendUnavailableError)
    with pytest.raises(CheckpointConflictError):
        await session.checkpoint(checkpoint(start.instance))


async def test_a_lost_lock_is_the_answer(backend: SqliteBackend, settings: SqliteSettings) -> None:
    session, start = await Scene(backend, PATIENCE).started_session()
    answers = Answers()
    with sqlite3.connect(settings.path) as other:
        other.execute("UPDATE instances SET lock_token = lock_token + 1")
    other.close()

    await put(backend, session, checkpoint(start.instance), answers)

    assert isinstance(await answers.next(), CheckpointConflictError)


async def test_a_session_that_is_over_takes_no_checkpoint(backend: SqliteBackend) -> None:
    session, start = await Scene(backend, PATIENCE).started_session()
    await session.release()

    with pytest.raises(CheckpointConflictError):
        backend.checkpoint_port.put(session, checkpoint(start.instance), Answers())


async def test_what_comes_after_the_file_was_closed_is_answered(settings: SqliteSettings) -> None:
    answers = Answers()
    async with SqliteBackend(settings) as backend:
        await backend.start_worker()
        session, start = await Scene(backend, PATIENCE).started_session()
        port = backend.checkpoint_port
        port.put(session, checkpoint(start.instance), answers)
    port.flush(here=False)
    port.flush(here=True)

    assert isinstance(await answers.next(), BackendUnavailableError)


async def test_threads_that_write_and_the_loop_that_sends_do_not_disturb_each_other(backend: SqliteBackend) -> None:
    scenes = [await Scene(backend, PATIENCE).started_session() for _ in range(4)]
    answers = Answers()

    async def write(session: OrchestrationSession, instance: OrchestrationInstance) -> None:
        for _ in range(25):
            mine = Answers()
            await put(backend, session, checkpoint(instance), mine)
            answers(await mine.next())

    async def send() -> None:
        for number in range(100):
            await backend.instances.send(raised(scenes[number % 4][1].instance.instance_id, f"event{number}"))

    await asyncio.gather(send(), *(write(session, start.instance) for session, start in scenes))
    batches = [await messages_of(session, PATIENCE) for session, _ in scenes]
    received = sorted(name for batch in batches for name in names(batch))
    histories = [len(await backend.instances.get_history(start.instance.instance_id)) for _, start in scenes]

    assert received == sorted(f"event{number}" for number in range(100))
    assert len(set(histories)) == 1
    assert histories[0] >= 25 * len(next_episode())
    assert all(isinstance(answers.all.get_nowait(), Receipt) for _ in range(100))
