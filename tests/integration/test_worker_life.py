"""A worker starts, drains and stops; its loops have a supervisor."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.functions import registry_of

from durable_ext.aio.slots import Slots
from durable_ext.aio.supervisor import Supervisor
from durable_ext.backends.protocol import OrchestrationSession
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus, TaskScheduled
from durable_ext.runtime.orchestrations import SessionDispatcher
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.contract_scenes import Scene
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import run_task_hub

SOON = timedelta(milliseconds=200)


async def test_a_drain_lets_a_running_activity_end_and_leaves_the_rest_to_the_next_worker(tmp_path: Path) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    ran: list[int] = []

    async def step(value: int) -> int:
        ran.append(value)
        if value == 0:
            began.set()
            await go_on.wait()
        return value

    def two(context: Any) -> Any:
        first = yield context.call_activity("step", 0)
        second = yield context.call_activity("step", 1)
        return [first, second]

    registry = registry_of(orchestrators=[two], activities=[step])
    async with run_task_hub(tmp_path / "h.db", registry) as hub:
        instance_id = await hub.client.start("two")
        await began.wait()
        draining = asyncio.ensure_future(hub.worker.drain(timedelta(seconds=10)))
        await asyncio.sleep(0)
        go_on.set()
        everything_ended = await draining
        history = await hub.client.get_history(instance_id)
    async with run_task_hub(tmp_path / "h.db", registry) as hub:
        status = await hub.client.wait_for_completion(instance_id)

    assert everything_ended
    assert sum(isinstance(event, TaskScheduled) for event in history) == 2
    assert status.output == [0, 1]
    assert ran == [0, 1]


async def test_a_drain_does_not_wait_for_a_blocked_orchestrator(tmp_path: Path) -> None:
    began, release = threading.Event(), threading.Event()

    def block(context: Any) -> None:
        began.set()
        release.wait(30)

    async with run_task_hub(tmp_path / "h.db", registry_of(orchestrators=[block]), drain=SOON) as hub:
        await hub.client.start("block")
        await eventually(began.is_set)
        everything_ended = await hub.worker.drain(SOON)
        release.set()

    assert not everything_ended


async def test_a_drained_worker_takes_nothing_new(tmp_path: Path) -> None:
    def quick(context: Any) -> str:
        return "done"

    registry = registry_of(orchestrators=[quick])
    async with run_task_hub(tmp_path / "h.db", registry) as hub:
        await hub.worker.drain(SOON)
        instance_id = await hub.client.start("quick")
        for _ in range(20):
            await asyncio.sleep(0)
        drained = await hub.client.get_status(instance_id)
    async with run_task_hub(tmp_path / "h.db", registry) as hub:
        status = await hub.client.wait_for_completion(instance_id)

    assert drained is not None
    assert drained.runtime_status is OrchestrationStatus.PENDING
    assert status.output == "done"


async def test_a_stop_gives_a_hanging_activity_back(tmp_path: Path) -> None:
    began = asyncio.Event()
    hangs = True

    async def step(value: Any) -> str:
        began.set()
        if hangs:
            await asyncio.Event().wait()
        return "done"

    def one(context: Any) -> Any:
        return (yield context.call_activity("step"))

    registry = registry_of(orchestrators=[one], activities=[step])
    async with run_task_hub(tmp_path / "h.db", registry, drain=timedelta(0)) as hub:
        instance_id = await hub.client.start("one")
        await began.wait()
    hangs = False
    async with run_task_hub(tmp_path / "h.db", registry) as hub:
        status = await hub.client.wait_for_completion(instance_id)

    assert status.output == "done"


async def test_a_stopped_worker_says_so(tmp_path: Path) -> None:
    async with run_task_hub(tmp_path / "h.db", registry_of()) as hub:
        worker = hub.worker
        healthy = worker.is_healthy
        assert worker.failure is not None
        assert not worker.failure.done()

    assert healthy
    assert not worker.is_healthy
    assert worker.failure.result() is None


async def test_activities_of_one_kind_do_not_starve_entities_and_orchestrations(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def hold(value: Any) -> None:
        await go_on.wait()

    def holder(context: Any) -> Any:
        yield context.call_activity("hold")

    def quick(context: Any) -> Any:
        return (yield context.call_entity(EntityId("counter", "c"), "add", 1))

    def counter(context: Any) -> None:
        context.set_state(context.get_state(lambda: 0) + context.get_input())
        context.set_result(context.get_state())

    settings = WorkerSettings(
        max_concurrent_activities=1, local_activity_spill=timedelta(milliseconds=10), max_concurrent_orchestrations=1
    )
    registry = registry_of(orchestrators=[holder, quick], activities=[hold], entities=[counter])
    async with run_task_hub(tmp_path / "h.db", registry, settings=settings) as hub:
        held = await hub.client.start("holder")
        status = await hub.client.wait_for_completion(await hub.client.start("quick"))
        go_on.set()
        await hub.client.wait_for_completion(held)

    assert status.output == 1


async def test_instances_that_wait_for_an_activity_leave_their_slot_to_others(tmp_path: Path) -> None:
    met = asyncio.Event()
    arrived: list[int] = []

    async def meet(value: int) -> int:
        arrived.append(value)
        if len(arrived) == 3:
            met.set()
        await met.wait()
        return value

    def one(context: Any) -> Any:
        return (yield context.call_activity("meet", context.get_input()))

    settings = WorkerSettings(
        max_concurrent_orchestrations=1, max_concurrent_activities=3, local_activity_spill=timedelta(minutes=5)
    )
    async with run_task_hub(
        tmp_path / "h.db", registry_of(orchestrators=[one], activities=[meet]), settings=settings
    ) as hub:
        ids = [await hub.client.start("one", number) for number in range(3)]
        outputs = [(await hub.client.wait_for_completion(instance_id)).output for instance_id in ids]

    assert outputs == [0, 1, 2]


async def leave_an_activity_begun(path: Path, registry: FunctionRegistry, began: asyncio.Event) -> str:
    plain = WorkerSettings(local_activities="off")
    async with run_task_hub(path, registry, settings=plain, drain=timedelta(0)) as hub:
        instance_id = await hub.client.start("call_deadly")
        await began.wait()
    return instance_id


def call_deadly(context: Any) -> Any:
    return (yield context.call_activity("deadly"))


@pytest.mark.parametrize(("deaths", "runs"), [(9, 2), (10, 1)])
async def test_an_activity_that_no_worker_survives_fails_after_ten_deaths(tmp_path: Path, deaths: int, runs: int) -> None:
    began = asyncio.Event()
    begun: list[int] = []

    async def deadly(value: Any) -> str:
        begun.append(1)
        if len(begun) == 1:
            began.set()
            await asyncio.Event().wait()
        return "survived"

    registry = registry_of(orchestrators=[call_deadly], activities=[deadly])
    instance_id = await leave_an_activity_begun(tmp_path / "h.db", registry, began)
    with closing(sqlite3.connect(tmp_path / "h.db")) as connection, connection:
        left = connection.execute("SELECT deaths FROM activities").fetchall()
        connection.execute("UPDATE activities SET deaths = ?", (deaths,))
    async with run_task_hub(tmp_path / "h.db", registry) as hub:
        status = await hub.client.wait_for_completion(instance_id)

    assert left == [(0,)]  # a worker that stops gives back what it has: that is no death
    assert len(begun) == runs
    expected = "survived" if deaths < 10 else "activity 'deadly' was started 10 times and its process died each time"
    assert expected in str(status.output)


async def test_a_session_that_waits_for_a_slot_is_released_when_its_dispatcher_stops(tmp_path: Path) -> None:
    async with SqliteBackend(SqliteSettings(path=tmp_path / "hub.db", task_hub="Slots")) as backend:
        await backend.start_worker()
        await Scene(backend, timedelta(seconds=10)).start()
        slots, locked = Slots(1), asyncio.Event()

        async def lock_next(wait: timedelta) -> OrchestrationSession | None:
            session = await backend.orchestrations.lock_next_orchestration(wait)
            slots.try_take()
            locked.set()
            return session

        dispatcher = SessionDispatcher(
            name="orchestration",
            lock_next=lock_next,
            hold=_NoRun,
            slots=slots,
            supervisor=Supervisor("test"),
            may_take=lambda: True,
        )
        running = asyncio.ensure_future(dispatcher.run())
        await locked.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

        assert await backend.orchestrations.lock_next_orchestration(timedelta(seconds=1)) is not None


class _NoRun:
    def __init__(self, session: OrchestrationSession) -> None:
        raise AssertionError(f"{session.instance} got a slot")

    async def run(self) -> None:
        """Never comes so far."""
