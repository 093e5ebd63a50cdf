"""What the embedded store may cost, counted in commits and rows instead of seconds (bench/performance.md 7)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from durable_ext.backends.protocol import Checkpoint, OrchestrationSession
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.core.events import (
    ExecutionCompleted,
    HistoryEvent,
    OrchestrationStatus,
    OrchestratorCompleted,
    OrchestratorStarted,
    TaskCompleted,
    TaskScheduled,
)
from durable_ext.core.instances import InstanceFilter
from durable_ext.core.messages import InstanceId
from durable_ext.testing.contract_scenes import (
    ANY_STATUS,
    AT_ONCE,
    Scene,
    activity,
    ids,
    messages_of,
    next_episode,
    now,
    raised,
    start_event,
    update,
)

PATIENCE = timedelta(seconds=20)


async def hello5(backend: SqliteBackend) -> None:
    """Start one hello sequence, run its five activities as local waves, and wait for its end as a client."""
    start = start_event(f"hello-{id(object())}-{now()}")
    await backend.instances.create_instance(start, reject=ANY_STATUS)
    session = await Scene(backend, PATIENCE).session()
    await play_hello5(session)
    row = await backend.instances.wait_for_change(session.instance.instance_id, None, PATIENCE)
    assert row is not None
    assert row.status is OrchestrationStatus.COMPLETED


async def play_hello5(session: OrchestrationSession) -> None:
    batch = await messages_of(session, PATIENCE)
    start = batch.messages[0].message.event
    execution_id = start.instance.execution_id  # type: ignore[attr-defined]
    events: list[HistoryEvent] = [OrchestratorStarted(timestamp=now()), start]
    consumed = ids(batch)
    for task_id in range(4):
        events += wave(task_id)
        await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=tuple(events), consumed=consumed))
        events, consumed = [], ()
    ended = ExecutionCompleted(timestamp=now(), event_id=5, status=OrchestrationStatus.COMPLETED, result="[]")
    await session.checkpoint(
        Checkpoint(
            execution_id=execution_id,
            new_events=(*wave(4), ended, OrchestratorCompleted(timestamp=now())),
            instance=update(execution_id, OrchestrationStatus.COMPLETED, output="[]"),
        )
    )
    await session.release()


def wave(task_id: int) -> list[HistoryEvent]:
    """One activity, decided, run and recorded."""
    moment = now()
    return [
        TaskScheduled(timestamp=moment, event_id=task_id, name="SayHello"),
        OrchestratorCompleted(timestamp=moment),
        OrchestratorStarted(timestamp=moment),
        TaskCompleted(timestamp=moment, task_scheduled_id=task_id, result='"Hello"'),
    ]


async def test_a_hello_sequence_alone_costs_six_commits(backend: SqliteBackend) -> None:
    await hello5(backend)
    before = backend.commits

    await hello5(backend)

    assert backend.commits - before == 6


async def test_two_hundred_hello_sequences_share_their_commits(backend: SqliteBackend) -> None:
    await hello5(backend)
    before = backend.commits

    await asyncio.gather(*[hello5(backend) for _ in range(200)])

    assert backend.commits - before < 200


async def test_a_fan_out_of_a_thousand_costs_few_commits(backend: SqliteBackend) -> None:
    scene = Scene(backend, PATIENCE)
    session, start = await scene.started_session()
    execution_id = start.instance.execution_id
    assert execution_id is not None
    before = backend.commits
    receipt = await session.checkpoint(
        Checkpoint(
            execution_id=execution_id,
            new_events=next_episode(),
            activities=tuple(activity(start.instance, task_id, run_here=True) for task_id in range(1000)),
        )
    )

    await asyncio.gather(
        *[
            backend.activities.complete(item, TaskCompleted(timestamp=now(), task_scheduled_id=task_id))
            for task_id, item in enumerate(receipt.activities)
        ]
    )
    received = 0
    while received < 1000:
        received += len((await messages_of(session, PATIENCE)).messages)

    assert backend.commits - before <= 100


async def test_an_idle_hub_writes_only_signs_of_life(backend: SqliteBackend) -> None:
    await hello5(backend)
    before = backend.commits

    assert await backend.orchestrations.lock_next_orchestration(timedelta(seconds=0.5)) is None

    assert backend.commits - before <= 1


async def test_a_long_history_is_stored_in_one_row_per_checkpoint(backend: SqliteBackend) -> None:
    await hello5(backend)

    def count(connection: object, payloads: list[None]) -> list[tuple[int, int]]:
        return [connection.execute("SELECT count(*), sum(event_count) FROM history").fetchone()]  # type: ignore[attr-defined]

    assert backend._opened is not None
    rows, events = await backend._opened.writer.submit(count, None)

    assert (rows, events) == (5, 24)


async def test_waiting_instances_are_not_loaded_when_a_worker_starts(settings: SqliteSettings) -> None:
    async with SqliteBackend(settings) as backend:
        await backend.start_worker()
        await asyncio.gather(*[wait_for_an_event(backend, f"waiting-{number:05d}") for number in range(2000)])

    async with SqliteBackend(settings) as backend:
        await backend.start_worker()
        handed_out = await backend.orchestrations.lock_next_orchestration(timedelta(seconds=0.3))
        page = await backend.instances.query_instances(InstanceFilter(), page_size=100)
        await backend.instances.send(raised("waiting-01234", "go"))
        woken = await backend.orchestrations.lock_next_orchestration(PATIENCE)

    assert handed_out is None
    assert [row.instance_id for row in page.rows] == [f"waiting-{number:05d}" for number in range(100)]
    assert woken is not None
    assert woken.instance.instance_id == "waiting-01234"
    assert len(woken.history) == 3


async def wait_for_an_event(backend: SqliteBackend, instance_id: str) -> None:
    """Start an instance and leave it waiting."""
    scene = Scene(backend, PATIENCE)
    await backend.instances.create_instance(start_event(instance_id), reject=ANY_STATUS)
    session = await scene.session()
    await scene.begin(session)
    await session.release()


async def test_bounded_numbers_of_instances_are_locked_ahead(backend: SqliteBackend, settings: SqliteSettings) -> None:
    starts = [backend.instances.create_instance(start_event(f"many-{n}"), reject=ANY_STATUS) for n in range(1000)]
    await asyncio.gather(*starts)

    async with SqliteBackend(settings) as other:
        await other.start_worker()
        session = await other.orchestrations.lock_next_orchestration(PATIENCE)

        assert session is not None


async def test_a_purge_by_filter_works_in_pages(backend: SqliteBackend) -> None:
    for number in range(250):
        await backend.instances.create_instance(start_event(f"old-{number:03d}"), reject=ANY_STATUS)
    before = backend.commits

    result = await backend.instances.purge_instances(InstanceFilter(instance_id_prefix="old-"))

    assert (result.deleted, result.complete) == (250, True)
    assert backend.commits - before == 3
    assert await backend.instances.get_instance(InstanceId("old-000")) is None


async def test_a_purge_stops_when_its_time_is_up(backend: SqliteBackend) -> None:
    for number in range(150):
        await backend.instances.create_instance(start_event(f"old-{number:03d}"), reject=ANY_STATUS)

    result = await backend.instances.purge_instances(InstanceFilter(instance_id_prefix="old-"), timeout=AT_ONCE)

    assert (result.deleted, result.complete) == (100, False)
