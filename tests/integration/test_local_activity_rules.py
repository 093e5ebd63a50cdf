"""Rules R1 to R7 of local activities on a store with the limits of Azure Storage: what is written when.

The rules protect a plain worker that takes over after any write (interop/local-activities), so each accepted checkpoint
of a run is checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.functions import registry_of
from support.recording_backend import NarrowBackend, RecordingBackend

from durable_ext.aio.clock import SYSTEM_CLOCK, Clock
from durable_ext.backends.protocol import Checkpoint, OutgoingActivity
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.events import (
    EventRaised,
    ExecutionCompleted,
    ExecutionStarted,
    OrchestrationStatus,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
)
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import LocalActivities, WorkerSettings
from durable_ext.runtime.worker import TaskHubWorker
from durable_ext.testing.clock import ManualClock
from durable_ext.testing.eventually import eventually
from durable_ext.testing.history import RecordedHistory
from durable_ext.testing.replay import replay_history


@dataclass
class Recorded:
    client: DurableClient
    backend: RecordingBackend

    async def finish(self, name: str, value: Any = None) -> tuple[Any, list[Checkpoint]]:
        instance_id = await self.client.start(name, value)
        status = await self.client.wait_for_completion(instance_id)
        return status.output, self.backend.checkpoints[instance_id]


@asynccontextmanager
async def recorded(
    path: Path,
    registry: FunctionRegistry,
    settings: WorkerSettings | None = None,
    *,
    kind: type[RecordingBackend] = RecordingBackend,
    clock: Clock = SYSTEM_CLOCK,
) -> AsyncIterator[Recorded]:
    converter, codec = DataConverter(), JsonEntityCodec()
    async with SqliteBackend(SqliteSettings(path=path / "hub.db", task_hub="TestHub", synchronous="NORMAL")) as inner:
        backend = kind(inner)
        worker = TaskHubWorker(
            backend,  # type: ignore[arg-type]
            registry,
            settings=settings or WorkerSettings(),
            converter=converter,
            entity_codec=codec,
            clock=clock,
        )
        await worker.start()
        try:
            yield Recorded(DurableClient(backend.instances, converter=converter, entity_codec=codec), backend)
        finally:
            await worker.drain(timedelta(seconds=5))
            await worker.stop()


async def echo(value: Any) -> Any:
    return value


def fan(context: Any) -> Any:
    return (yield context.task_all([context.call_activity("echo", i) for i in range(context.get_input())]))


def sequence(context: Any) -> Any:
    for i in range(context.get_input()):
        yield context.call_activity("echo", i)
    return "done"


def check_every_prefix(checkpoints: list[Checkpoint]) -> None:
    """After each write every scheduled activity has a result in history or a work item in the hub."""
    answered: set[int] = set()
    queued: set[int] = set()
    scheduled: set[int] = set()
    for checkpoint in checkpoints:
        if checkpoint.starts_generation:
            answered, queued, scheduled = set(), set(), set()
        queued |= {activity.message.event.event_id for activity in checkpoint.activities}
        for event in checkpoint.new_events:
            if isinstance(event, TaskScheduled):
                scheduled.add(event.event_id)
            elif isinstance(event, (TaskCompleted, TaskFailed)):
                answered.add(event.task_scheduled_id)
        assert scheduled <= answered | queued


def local_writes(checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    return [
        checkpoint
        for checkpoint in checkpoints
        if any(isinstance(event, (TaskCompleted, TaskFailed)) for event in checkpoint.new_events)
    ]


async def test_the_start_is_stored_before_the_first_activity_runs(tmp_path: Path) -> None:
    written: list[int] = []

    async def look(value: Any) -> None:
        written.append(len(hub.backend.checkpoints["i"]))

    def one(context: Any) -> Any:
        yield context.call_activity("look")

    async with recorded(tmp_path, registry_of(orchestrators=[one], activities=[look])) as hub:
        await hub.client.start("one", instance_id="i")
        await hub.client.wait_for_completion("i")

    first = hub.backend.checkpoints["i"][0]
    assert written == [1]
    assert [type(event) for event in first.new_events][1] is ExecutionStarted
    assert first.consumed == ()


async def test_the_row_of_a_child_is_stored_with_its_start(tmp_path: Path) -> None:
    def child(context: Any) -> Any:
        yield context.call_activity("echo", 1)

    def parent(context: Any) -> Any:
        yield context.call_sub_orchestrator("child", instance_id="c")

    async with recorded(tmp_path, registry_of(orchestrators=[parent, child], activities=[echo])) as hub:
        await hub.client.start("parent", instance_id="p")
        await hub.client.wait_for_completion("p")

    first = hub.backend.checkpoints["c"][0]
    assert first.instance is not None
    assert first.instance.status is OrchestrationStatus.RUNNING


async def test_the_last_results_and_the_end_are_one_write(tmp_path: Path) -> None:
    def one(context: Any) -> Any:
        return (yield context.call_activity("echo", 1))

    async with recorded(tmp_path, registry_of(orchestrators=[one], activities=[echo])) as hub:
        output, checkpoints = await hub.finish("one")

    assert output == 1
    assert len(checkpoints) == 2
    assert checkpoints[1].new_events[-2].__class__ is ExecutionCompleted
    assert checkpoints[1].instance is not None
    assert checkpoints[1].instance.status is OrchestrationStatus.COMPLETED


@pytest.mark.parametrize("width", [1, 2, 47, 48, 49, 100, 250])
async def test_a_wide_wave_is_written_in_parts_that_fit(tmp_path: Path, width: int) -> None:
    async with recorded(tmp_path, registry_of(orchestrators=[fan], activities=[echo])) as hub:
        output, checkpoints = await hub.finish("fan", width)

    assert output == list(range(width))
    check_every_prefix(checkpoints)
    assert all(len(checkpoint.new_events) <= 99 for checkpoint in local_writes(checkpoints))


async def test_a_wave_ends_its_write_and_the_next_one_brings_its_own_decisions(tmp_path: Path) -> None:
    async with recorded(tmp_path, registry_of(orchestrators=[sequence], activities=[echo])) as hub:
        _, checkpoints = await hub.finish("sequence", 3)

    kinds = [[type(event).__name__ for event in checkpoint.new_events] for checkpoint in checkpoints]
    wave = ["TaskScheduled", "OrchestratorCompleted", "OrchestratorStarted", "TaskCompleted"]
    assert kinds == [
        ["OrchestratorStarted", "ExecutionStarted"],
        wave,
        wave,
        [*wave, "ExecutionCompleted", "OrchestratorCompleted"],
    ]
    check_every_prefix(checkpoints)


async def test_after_many_waves_those_of_the_same_moment_are_one_episode(tmp_path: Path) -> None:
    """State s17a of interop/local-activities: pairs of a TaskScheduled and its result."""
    async with recorded(tmp_path, registry_of(orchestrators=[sequence], activities=[echo]), clock=ManualClock()) as hub:
        _, checkpoints = await hub.finish("sequence", 20)

    kinds = [[type(event).__name__ for event in checkpoint.new_events] for checkpoint in checkpoints]
    apart = ["TaskScheduled", "OrchestratorCompleted", "OrchestratorStarted", "TaskCompleted"]
    together = ["TaskScheduled", "TaskCompleted"]
    end = ["ExecutionCompleted", "OrchestratorCompleted"]
    assert kinds == [["OrchestratorStarted", "ExecutionStarted"], *[apart] * 16, *[together] * 4, end]
    check_every_prefix(checkpoints)


@pytest.mark.parametrize("local", ["on", "batched"])
async def test_activities_of_one_episode_see_one_time_that_their_history_has(tmp_path: Path, local: LocalActivities) -> None:
    settings = WorkerSettings(local_activities=local, local_activity_spill=timedelta(hours=1))
    clock = ManualClock()

    async def pause(value: int) -> None:
        if value in (20, 23, 26):
            await clock.advance(timedelta(milliseconds=20))

    def paced(context: Any) -> Any:
        times = []
        for i in range(30):
            yield context.call_activity("pause", i)
            times.append(context.current_utc_datetime)
        return [times.index(time) for time in times]

    async with recorded(tmp_path, registry_of(orchestrators=[paced], activities=[pause]), settings, clock=clock) as hub:
        await hub.client.start("paced", instance_id="x")
        status = await hub.client.wait_for_completion("x")
        replayed = replay_history(
            await RecordedHistory.of(hub.client, "x"), registry_of(orchestrators=[paced], activities=[pause])
        )

    check_every_prefix(hub.backend.checkpoints["x"])
    assert status.output == [*[0] * 20, *[20] * 3, *[23] * 3, *[26] * 4]
    assert replayed.output == status.output


async def test_the_message_that_woke_the_instance_stays_until_the_end(tmp_path: Path) -> None:
    async with recorded(tmp_path, registry_of(orchestrators=[sequence], activities=[echo])) as hub:
        _, checkpoints = await hub.finish("sequence", 3)

    assert [len(checkpoint.consumed) for checkpoint in checkpoints] == [0, 0, 0, 1]


async def test_an_episode_woken_by_an_event_goes_the_plain_way(tmp_path: Path) -> None:
    def after_event(context: Any) -> Any:
        yield context.wait_for_external_event("ev")
        yield context.call_activity("echo", 1)
        yield context.call_activity("echo", 2)

    async with recorded(tmp_path, registry_of(orchestrators=[after_event], activities=[echo])) as hub:
        instance_id = await hub.client.start("after_event")
        await eventually(lambda: hub.backend.checkpoints.get(instance_id))
        await hub.client.raise_event(instance_id, "ev")
        await hub.client.wait_for_completion(instance_id)

    checkpoints = hub.backend.checkpoints[instance_id]
    woken = next(c for c in checkpoints if any(isinstance(event, EventRaised) for event in c.new_events))
    assert len(woken.consumed) == 1
    assert [activity.run_here for activity in woken.activities] == [True]
    check_every_prefix(checkpoints)


async def test_a_generation_made_by_continue_as_new_runs_its_first_wave_the_plain_way(tmp_path: Path) -> None:
    def again(context: Any) -> Any:
        count = context.get_input()
        yield context.call_activity("echo", count)
        yield context.call_activity("echo", count)
        if count < 2:
            context.continue_as_new(count + 1)

    async with recorded(tmp_path, registry_of(orchestrators=[again], activities=[echo])) as hub:
        _, checkpoints = await hub.finish("again", 0)

    later = [checkpoint for checkpoint in checkpoints if checkpoint.starts_generation][-2:]
    assert [len(checkpoint.activities) for checkpoint in later] == [1, 1]
    check_every_prefix(checkpoints)


@pytest.mark.parametrize("width", [1, 5, 60])
async def test_what_takes_long_is_spilled_and_the_rest_is_written(tmp_path: Path, width: int) -> None:
    go_on = asyncio.Event()
    runs: list[int] = []

    async def maybe_wait(value: int) -> int:
        runs.append(value)
        if value % 5 == 0:
            await go_on.wait()
        return value

    def wide(context: Any) -> Any:
        return (yield context.task_all([context.call_activity("maybe_wait", i) for i in range(width)]))

    settings = WorkerSettings(local_activity_spill=timedelta(milliseconds=30))
    registry = registry_of(orchestrators=[wide], activities=[maybe_wait])
    async with recorded(tmp_path, registry, settings) as hub:
        instance_id = await hub.client.start("wide")

        def spilled() -> bool:
            return any(checkpoint.activities for checkpoint in hub.backend.checkpoints.get(instance_id, []))

        await eventually(spilled)
        go_on.set()
        status = await hub.client.wait_for_completion(instance_id)

    assert status.output == list(range(width))
    assert sorted(runs) == list(range(width))
    check_every_prefix(hub.backend.checkpoints[instance_id])


async def test_code_that_waits_for_any_result_goes_on_while_others_run(tmp_path: Path) -> None:
    may_end = asyncio.Event()

    async def held(value: Any) -> str:
        await may_end.wait()
        return "held"

    async def let_go(value: Any) -> None:
        may_end.set()

    def race(context: Any) -> Any:
        tasks = [context.call_activity("echo", "first"), context.call_activity("held")]
        winner = yield context.task_any(tasks)
        yield context.call_activity("let_go")
        return [winner.result, (yield tasks[1])]

    settings = WorkerSettings(local_activity_spill=timedelta(hours=1))
    registry = registry_of(orchestrators=[race], activities=[echo, held, let_go])
    async with recorded(tmp_path, registry, settings) as hub:
        output, checkpoints = await hub.finish("race")

    assert output == ["first", "held"]
    assert not any(checkpoint.activities for checkpoint in checkpoints)
    check_every_prefix(checkpoints)


async def test_a_failure_reaches_code_that_waits_for_all_results_while_others_run(tmp_path: Path) -> None:
    may_end = asyncio.Event()

    async def held(value: Any) -> str:
        await may_end.wait()
        return "held"

    async def fail(value: Any) -> None:
        raise ValueError("no")

    async def let_go(value: Any) -> None:
        may_end.set()

    def all_or_none(context: Any) -> Any:
        tasks = [context.call_activity("held"), context.call_activity("fail")]
        try:
            yield context.task_all(tasks)
        except Exception:
            yield context.call_activity("let_go")
        return (yield tasks[0])

    settings = WorkerSettings(local_activity_spill=timedelta(hours=1))
    registry = registry_of(orchestrators=[all_or_none], activities=[held, fail, let_go])
    async with recorded(tmp_path, registry, settings) as hub:
        output, checkpoints = await hub.finish("all_or_none")

    assert output == "held"
    check_every_prefix(checkpoints)


async def test_results_that_do_not_wake_the_code_wait_for_the_others(tmp_path: Path) -> None:
    ended = [asyncio.Event() for _ in range(4)]

    async def one_after_the_other(value: int) -> int:
        if value:
            await ended[value - 1].wait()
        for _ in range(100):  # turns of the loop in which the worker could write the result before
            await asyncio.sleep(0)
        ended[value].set()
        return value

    def all_of_them(context: Any) -> Any:
        return (yield context.task_all([context.call_activity("one_after_the_other", i) for i in range(4)]))

    settings = WorkerSettings(local_activity_spill=timedelta(hours=1))
    registry = registry_of(orchestrators=[all_of_them], activities=[one_after_the_other])
    async with recorded(tmp_path, registry, settings) as hub:
        output, checkpoints = await hub.finish("all_of_them")

    assert output == [0, 1, 2, 3]
    assert len(local_writes(checkpoints)) == 1


async def test_width_alone_never_spills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    time_of_loop, passed = loop.time, 0.0

    async def a_second(value: int) -> int:
        nonlocal passed
        passed += 1.0  # for everything that waits in this loop
        await asyncio.sleep(0)
        return value

    def wide(context: Any) -> Any:
        return (yield context.task_all([context.call_activity("a_second", i) for i in range(60)]))

    monkeypatch.setattr(loop, "time", lambda: time_of_loop() + passed)
    settings = WorkerSettings(local_activity_spill=timedelta(seconds=20), max_concurrent_activities=2)
    async with recorded(tmp_path, registry_of(orchestrators=[wide], activities=[a_second]), settings) as hub:
        output, checkpoints = await hub.finish("wide")

    assert passed == 60  # three times what spills, and no activity took more than some seconds of it
    assert output == list(range(60))
    assert not any(checkpoint.activities for checkpoint in checkpoints)
    assert len(local_writes(checkpoints)) > 1


async def test_activities_for_which_no_slot_comes_free_are_for_any_worker(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def long(value: int) -> int:
        await gate.wait()
        return value

    def one(context: Any) -> Any:
        return (yield context.call_activity("long", 7))

    settings = WorkerSettings(local_activity_spill=timedelta(milliseconds=20), max_concurrent_activities=1)
    async with recorded(tmp_path, registry_of(orchestrators=[one], activities=[long]), settings) as hub:
        begins, waits = await hub.client.start("one"), await hub.client.start("one")

        def activities(instance_id: str) -> list[OutgoingActivity]:
            return [each for checkpoint in hub.backend.checkpoints.get(instance_id, ()) for each in checkpoint.activities]

        await eventually(lambda: activities(begins) and activities(waits), "it waits here")
        gate.set()
        outputs = [(await hub.client.wait_for_completion(instance_id)).output for instance_id in (begins, waits)]

    assert outputs == [7, 7]
    assert sorted(each.run_here for each in activities(begins) + activities(waits)) == [False, True]


@pytest.mark.slow  # a line in which the last one waits for much longer than the patience, and nobody for as long as it
async def test_activities_in_a_line_that_moves_stay_in_it(tmp_path: Path) -> None:
    async def short(value: int) -> int:
        await asyncio.sleep(0.1)
        return value

    def one(context: Any) -> Any:
        return (yield context.call_activity("short", 7))

    settings = WorkerSettings(max_concurrent_activities=1)
    async with recorded(tmp_path, registry_of(orchestrators=[one], activities=[short]), settings) as hub:
        instances = [await hub.client.start("one") for _ in range(100)]
        for instance_id in instances:
            await hub.client.wait_for_completion(instance_id)
        sent = [
            each
            for instance_id in instances
            for written in hub.backend.checkpoints[instance_id]
            for each in written.activities
        ]

    assert sent == []


async def test_decisions_made_while_a_wave_is_running_join_it(tmp_path: Path) -> None:
    def race(context: Any) -> Any:
        tasks = [context.call_activity("echo", i) for i in range(100)]
        winner = yield context.task_any(tasks)
        follow_up = yield context.call_activity("echo", f"after {winner.result}")
        rest = yield context.task_all(tasks)
        return [follow_up, len(rest)]

    async with recorded(tmp_path, registry_of(orchestrators=[race], activities=[echo])) as hub:
        output, checkpoints = await hub.finish("race")

    assert output == ["after 0", 100]
    check_every_prefix(checkpoints)


async def test_a_timer_decided_while_a_wave_is_running_takes_the_rest_the_plain_way(tmp_path: Path) -> None:
    def race(context: Any) -> Any:
        tasks = [context.call_activity("echo", i) for i in range(100)]
        yield context.task_any(tasks)
        yield context.create_timer(context.current_utc_datetime + timedelta(milliseconds=1))
        return len((yield context.task_all(tasks)))

    async with recorded(tmp_path, registry_of(orchestrators=[race], activities=[echo])) as hub:
        output, checkpoints = await hub.finish("race")

    assert output == 100
    check_every_prefix(checkpoints)


async def test_switched_off_every_activity_is_a_work_item_for_anybody(tmp_path: Path) -> None:
    settings = WorkerSettings(local_activities="off")
    async with recorded(tmp_path, registry_of(orchestrators=[sequence], activities=[echo]), settings) as hub:
        _, checkpoints = await hub.finish("sequence", 3)

    activities = [activity for checkpoint in checkpoints for activity in checkpoint.activities]
    assert [activity.run_here for activity in activities] == [False] * 3


@pytest.mark.parametrize("name", ["long_output", "long_result", "long_child"])
async def test_what_the_store_refuses_for_its_size_fails_the_instance(tmp_path: Path, name: str) -> None:
    async def long_text(value: Any) -> str:
        return "x" * 5_000

    def long_output(context: Any) -> str:
        return "x" * 5_000

    def long_result(context: Any) -> Any:
        yield context.call_activity("echo", 1)
        yield context.call_activity("long_text")

    def long_child(context: Any) -> Any:
        yield context.call_sub_orchestrator("long_output")

    registry = registry_of(orchestrators=[long_output, long_result, long_child], activities=[long_text, echo])
    async with recorded(tmp_path, registry, kind=NarrowBackend) as hub:
        instance_id = await hub.client.start(name)
        status = await hub.client.wait_for_completion(instance_id)

    assert status.runtime_status is OrchestrationStatus.FAILED
    assert "more than the 1000 that can be stored" in str(status.output)


@pytest.mark.parametrize(("name", "local"), [("long_output", "on"), ("long_input", "on"), ("long_input", "off")])
async def test_an_instance_that_fails_for_its_size_keeps_its_custom_status(
    tmp_path: Path, name: str, local: LocalActivities
) -> None:
    def long_output(context: Any) -> str:
        context.set_custom_status("half way")
        return "x" * 5_000

    def long_input(context: Any) -> Any:
        context.set_custom_status("half way")
        yield context.call_activity("echo", 1)
        yield context.call_activity("echo", "x" * 5_000)

    registry = registry_of(orchestrators=[long_output, long_input], activities=[echo])
    async with recorded(tmp_path, registry, WorkerSettings(local_activities=local), kind=NarrowBackend) as hub:
        instance_id = await hub.client.start(name)
        status = await hub.client.wait_for_completion(instance_id)

    assert status.runtime_status is OrchestrationStatus.FAILED
    assert status.custom_status == "half way"
