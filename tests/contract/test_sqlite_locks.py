"""Locks of the embedded store in detail: take-overs, restarts under a running session, undone transactions."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from durable_ext.backends.protocol import Checkpoint, MessageBatch, SessionEnd
from durable_ext.backends.sqlite.connection import Connection
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.core.events import ExecutionTerminated, HistoryEvent, OrchestrationStatus, TaskCompleted, TaskScheduled
from durable_ext.core.messages import ExecutionId, InstanceId, OutgoingMessage, TaskMessage
from durable_ext.errors import BackendUnavailableError, CheckpointConflictError, LeaseLostError
from durable_ext.testing.clock import ManualClock
from durable_ext.testing.contract_activities import scheduled
from durable_ext.testing.contract_scenes import (
    ANY_STATUS,
    AT_ONCE,
    Scene,
    activity,
    ids,
    later,
    messages_of,
    names,
    next_episode,
    now,
    raised,
    start_event,
    timer,
    update,
)
from durable_ext.testing.eventually import eventually

PATIENCE = timedelta(seconds=10)


@pytest.fixture
async def sleeper(settings: SqliteSettings) -> AsyncIterator[SqliteBackend]:
    """A worker whose clock stands still, so that it gives no sign of life."""
    async with SqliteBackend(settings, ManualClock()) as opened:
        await opened.start_worker()
        yield opened


async def test_a_worker_without_signs_of_life_loses_its_sessions_and_starts_over(
    sleeper: SqliteBackend, settings: SqliteSettings
) -> None:
    session, start = await Scene(sleeper, PATIENCE).started_session()
    execution_id = start.instance.execution_id
    assert execution_id is not None
    async with SqliteBackend(settings) as other:  # its clock is years ahead
        await other.start_worker()
        taken = await Scene(other, PATIENCE).session()

        with pytest.raises(CheckpointConflictError):
            await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode()))
        ended = await session.next_messages(PATIENCE)
        await taken.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode()))
        await taken.release()
    fresh = await Scene(sleeper, PATIENCE).started_session()

    assert ended is SessionEnd.LOST
    assert fresh[1].instance.instance_id != start.instance.instance_id
    assert len(await sleeper.instances.get_history(start.instance.instance_id)) == 5


async def test_a_session_whose_loss_only_the_writer_thread_knows_begins_nothing(
    sleeper: SqliteBackend, settings: SqliteSettings
) -> None:
    session, _ = await Scene(sleeper, PATIENCE).started_session()
    assert await session.confirm()
    before = stored(settings, "SELECT worker_id FROM workers")

    async def take_over() -> None:
        async with SqliteBackend(settings) as other:  # its clock is years ahead
            await other.start_worker()

    thread = threading.Thread(target=lambda: asyncio.run(take_over()))
    thread.start()
    thread.join()  # this loop stands still meanwhile
    deadline = time.monotonic() + PATIENCE.total_seconds()
    while stored(settings, "SELECT worker_id FROM workers") in ([], before):
        assert time.monotonic() < deadline, "the writer thread does not start over"

    assert not await session.confirm()


async def test_the_result_of_an_activity_that_another_worker_took_over_is_refused(
    sleeper: SqliteBackend, settings: SqliteSettings
) -> None:
    session, start, _ = await scheduled(Scene(sleeper, PATIENCE), 1)
    item = await sleeper.activities.lock_next_activity(PATIENCE)
    assert item is not None
    await session.release()
    async with SqliteBackend(settings) as other:  # its clock is years ahead
        await other.start_worker()
        taken = await other.activities.lock_next_activity(PATIENCE)
        assert taken is not None

        with pytest.raises(LeaseLostError, match=start.instance.instance_id):
            await sleeper.activities.complete(item, TaskCompleted(timestamp=now(), task_scheduled_id=0, result="1"))
        await other.activities.complete(taken, TaskCompleted(timestamp=now(), task_scheduled_id=0, result="2"))
        batch = await messages_of(await Scene(other, PATIENCE).session(), PATIENCE)

    assert [event.result for event in _events(batch) if isinstance(event, TaskCompleted)] == ["2"]


async def test_a_worker_that_is_late_takes_nothing_over(sleeper: SqliteBackend, settings: SqliteSettings) -> None:
    """A machine that slept wakes all its workers at once: each gives its own sign of life first."""
    clock = ManualClock()
    session, start = await Scene(sleeper, PATIENCE).started_session()
    execution_id = start.instance.execution_id
    assert execution_id is not None
    async with SqliteBackend(settings, clock) as other:
        await other.start_worker()
        await clock.advance(timedelta(minutes=1))
        await eventually(lambda: other.commits >= 2, "no sign of life")

        await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode()))

    assert len(await sleeper.instances.get_history(start.instance.instance_id)) == 5


async def test_a_recovered_instance_counts_as_delivered_before(sleeper: SqliteBackend, settings: SqliteSettings) -> None:
    _, start = await Scene(sleeper, PATIENCE).started_session()
    async with SqliteBackend(settings) as other:
        await other.start_worker()
        taken = await Scene(other, PATIENCE).session()
        await other.instances.send(raised(start.instance.instance_id, "first"))

        batch = await messages_of(taken, PATIENCE)

    assert (names(batch), batch.messages[0].dequeue_count) == (["first"], 1)
    assert batch.redelivered


async def test_the_row_of_a_restarted_instance_is_not_overwritten_by_its_former_generation(
    backend: SqliteBackend,
) -> None:
    session, former = await Scene(backend, PATIENCE).started_session()
    execution_id = former.instance.execution_id
    assert execution_id is not None
    start = start_event(former.instance.instance_id, input='"new"')
    await backend.instances.create_instance(start, reject=ANY_STATUS)

    change = update(execution_id, OrchestrationStatus.COMPLETED, output='"old"')
    await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode(), instance=change))
    row = await backend.instances.get_instance(former.instance.instance_id)
    await session.release()
    begun, _ = await Scene(backend, PATIENCE).begin(await Scene(backend, PATIENCE).session())

    assert row is not None
    assert (row.status, row.execution_id, row.output) == (OrchestrationStatus.PENDING, start.instance.execution_id, None)
    assert begun.instance == start.instance


async def test_a_restart_before_the_first_episode_leaves_one_start(backend: SqliteBackend) -> None:
    scene = Scene(backend, PATIENCE)
    first = await scene.start()
    session = await scene.session()
    start = start_event(first.instance.instance_id)
    await backend.instances.create_instance(start, reject=ANY_STATUS)

    ended = await session.next_messages(PATIENCE)
    await session.release()
    batch = await messages_of(await scene.session(), PATIENCE)

    assert ended is SessionEnd.YIELD
    assert [message.message.target for message in batch.messages] == [start.instance]


async def test_an_instance_that_is_terminated_before_its_time_never_starts(backend: SqliteBackend) -> None:
    scene = Scene(backend, PATIENCE)
    start = await scene.start(scheduled_start_time=later(timedelta(seconds=1)))
    terminate = ExecutionTerminated(timestamp=now(), input="not wanted")
    target = start.instance
    await backend.instances.send(OutgoingMessage(message=TaskMessage(event=terminate, target=target)))
    session = await scene.session()
    batch = await messages_of(session, PATIENCE)
    change = update("none", OrchestrationStatus.TERMINATED, output="not wanted")
    await session.checkpoint(Checkpoint(execution_id=ExecutionId("none"), consumed=ids(batch), instance=change))
    await session.release()

    again = await backend.orchestrations.lock_next_orchestration(timedelta(seconds=1.5))
    row = await backend.instances.get_instance(start.instance.instance_id)

    assert names(batch) == ["ExecutionTerminated"]
    assert again is None
    assert row is not None
    assert row.status is OrchestrationStatus.TERMINATED


async def test_events_wait_for_the_start_that_they_came_before(backend: SqliteBackend) -> None:
    scene = Scene(backend, PATIENCE)
    start = await scene.start(scheduled_start_time=later(timedelta(seconds=1)))
    await backend.instances.send(raised(start.instance.instance_id, "early"))

    at_once = await backend.orchestrations.lock_next_orchestration(AT_ONCE)
    batch = await messages_of(await scene.session(), PATIENCE)

    assert at_once is None
    assert names(batch) == ["Hello", "early"]


async def test_a_delayed_message_reaches_the_next_session_once(backend: SqliteBackend) -> None:
    scene = Scene(backend, PATIENCE)
    session, start = await scene.started_session()
    instance_id = start.instance.instance_id
    await backend.instances.send(raised(instance_id, "late", due=later(timedelta(seconds=0.8))))
    await session.release()
    await backend.instances.send(raised(instance_id, "wake"))
    again = await scene.session()
    first = await messages_of(again, PATIENCE)

    second = await messages_of(again, PATIENCE)
    third = await again.next_messages(timedelta(seconds=0.2))

    assert (names(first), names(second), third) == (["wake"], ["late"], SessionEnd.IDLE)


async def test_an_ended_instance_leaves_no_timers_behind(backend: SqliteBackend, settings: SqliteSettings) -> None:
    scene = Scene(backend, PATIENCE)
    session, start = await scene.started_session()
    execution_id = start.instance.execution_id
    assert execution_id is not None
    due = later(timedelta(days=3))
    await session.checkpoint(
        Checkpoint(execution_id=execution_id, new_events=next_episode(), messages=(timer(start.instance, 0, due),))
    )
    await scene.finish(session, execution_id)
    await backend.close()

    assert stored(settings, "SELECT count(*) FROM messages") == [(0,)]


async def test_events_for_nobody_leave_nothing_behind(backend: SqliteBackend, settings: SqliteSettings) -> None:
    await backend.instances.send(raised("nobody", "ev"))
    session = await Scene(backend, PATIENCE).session()
    batch = await messages_of(session, PATIENCE)
    await session.checkpoint(Checkpoint(execution_id=ExecutionId("none"), consumed=ids(batch)))
    await session.release()
    await backend.close()

    assert stored(settings, "SELECT count(*) FROM instances") == [(0,)]
    assert stored(settings, "SELECT count(*) FROM messages") == [(0,)]


async def test_a_damaged_history_holds_up_nobody_else(backend: SqliteBackend, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(backend, PATIENCE)
    session, damaged = await scene.started_session()
    await session.release()

    def damage(connection: Connection, payloads: list[None]) -> list[None]:
        connection.execute("UPDATE history SET events = '[[5, '")
        return payloads

    assert backend._opened is not None
    await backend._opened.writer.submit(damage, None)
    caplog.set_level(logging.ERROR, "durable_ext.sqlite")

    await backend.instances.send(raised(damaged.instance.instance_id, "wake"))
    other = await scene.start()
    session = await scene.session()

    assert session.instance.instance_id == other.instance.instance_id
    await eventually(lambda: "history_unreadable" in {getattr(record, "event", "") for record in caplog.records})
    with pytest.raises(ValueError, match="Expecting"):
        await backend.instances.get_history(damaged.instance.instance_id)


async def test_what_an_undone_transaction_had_locked_is_not_held(backend: SqliteBackend) -> None:
    def limit(connection: Connection, pages: list[int]) -> list[None]:
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {used + pages[0]}").fetchone()
        return [None]

    assert backend._opened is not None
    await backend._opened.writer.submit(limit, 1)
    starts = [start_event(f"try-{number}", input='"' + "x" * 3000 + '"') for number in range(20)]
    results = await asyncio.gather(
        *[backend.instances.create_instance(start, reject=ANY_STATUS) for start in starts], return_exceptions=True
    )
    refused = [start for start, result in zip(starts, results, strict=True) if result is not None]
    await backend._opened.writer.submit(limit, 1_000_000)
    for start in refused:
        await backend.instances.create_instance(start, reject=ANY_STATUS)

    handed_out = {(await Scene(backend, PATIENCE).session()).instance.instance_id for _ in starts}

    assert refused
    assert {type(result) for result in results} <= {type(None), BackendUnavailableError}
    assert handed_out == {InstanceId(f"try-{number}") for number in range(20)}


def stored(settings: SqliteSettings, statement: str) -> list[tuple[int, ...]]:
    """What a query finds in the file after the backend was closed."""
    connection = sqlite3.connect(settings.path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("begins", [True, False])
async def test_an_activity_whose_workers_keep_dying_waits_before_the_next_one_tries(
    settings: SqliteSettings, begins: bool
) -> None:
    """... unless they only held it."""
    clock = ManualClock()

    async def open_worker() -> SqliteBackend:
        opened = SqliteBackend(settings, clock)
        await opened.open()
        await opened.start_worker()
        return opened

    first = await open_worker()
    session, start = await Scene(first, PATIENCE).started_session()
    scheduled = TaskScheduled(timestamp=now(), event_id=0, name="SayHello")
    await session.checkpoint(
        Checkpoint(
            execution_id=ExecutionId(start.instance.execution_id or ""),
            new_events=next_episode(decisions=(scheduled,)),
            activities=(activity(start.instance, 0, run_here=True),),
        )
    )
    await first.abort()
    await clock.advance(settings.lock_timeout * 2)
    second = await open_worker()
    tried_at_once = await second.activities.lock_next_activity(PATIENCE)
    assert tried_at_once is not None
    if begins:
        assert await second.activities.begin(tried_at_once)
    await second.abort()
    await clock.advance(settings.lock_timeout * 2)
    third = await open_worker()

    early = await third.activities.lock_next_activity(AT_ONCE)
    in_time = early
    if early is None:
        waiting = asyncio.ensure_future(third.activities.lock_next_activity(PATIENCE))
        await eventually(lambda: clock.sleepers == 1)
        await clock.advance(timedelta(seconds=1))
        in_time = await waiting
    await third.close()

    assert (early is None) is begins
    assert in_time is not None
    assert in_time.dequeue_count == 3
    assert in_time.deaths == int(begins)


def _events(batch: MessageBatch) -> list[HistoryEvent]:
    return [received.message.event for received in batch.messages]
