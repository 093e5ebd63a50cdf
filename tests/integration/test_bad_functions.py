"""What becomes of user code that raises, hangs, loops, returns the wrong thing or does not exist."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.functions import registry_of

from durable_ext.client.status import InstanceStatus
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import RunningTaskHub, run_task_hub

FAILED = OrchestrationStatus.FAILED
COMPLETED = OrchestrationStatus.COMPLETED


async def end_of(hub: RunningTaskHub, name: str, value: Any = None) -> InstanceStatus:
    return await hub.client.wait_for_completion(await hub.client.start(name, value))


async def explode(value: Any) -> None:
    raise ValueError("boom")


async def return_a_set(value: Any) -> Any:
    return {1, 2}


async def leave(value: Any) -> None:
    raise SystemExit(3)


async def cancel_itself(value: Any) -> None:
    raise asyncio.CancelledError


async def interrupt(value: Any) -> None:
    raise KeyboardInterrupt


async def exit_generator(value: Any) -> None:
    raise GeneratorExit


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


async def raise_mute(value: Any) -> None:
    raise MuteError


async def raise_circle(value: Any) -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


async def echo(value: Any) -> Any:
    return value


def echo_on_thread(value: Any) -> Any:
    return value


def call_explode(context: Any) -> Any:
    yield context.call_activity("explode")


def catch_explode(context: Any) -> Any:
    try:
        yield context.call_activity("explode")
    except Exception as error:
        return str(error)


def call_named(context: Any) -> Any:
    return (yield context.call_activity(context.get_input()))


def echo_input(context: Any) -> Any:
    return (yield context.call_activity("echo", context.get_input()))


def echo_thread_input(context: Any) -> Any:
    return (yield context.call_activity("echo_on_thread", context.get_input()))


def raise_at_once(context: Any) -> Any:
    raise RuntimeError("no good")


def return_nan(context: Any) -> Any:
    return float("nan")


def return_a_lock(context: Any) -> Any:
    return threading.Lock()


async def test_a_failed_activity_fails_the_orchestration_with_its_text(tmp_path: Path) -> None:
    async with run_task_hub(tmp_path / "h.db", registry_of(orchestrators=[call_explode], activities=[explode])) as hub:
        status = await end_of(hub, "call_explode")

    assert status.runtime_status is FAILED
    assert str(status.output).startswith(
        "Orchestrator function 'call_explode' failed: Activity function 'explode' failed:  ValueError: boom \n {"
    )


async def test_the_details_of_a_failure_are_a_serialized_exception_with_the_users_frames(tmp_path: Path) -> None:
    async with run_task_hub(tmp_path / "h.db", registry_of(orchestrators=[catch_explode], activities=[explode])) as hub:
        status = await end_of(hub, "catch_explode")

    reason, details = str(status.output).split(" \n ", 1)
    recorded = json.loads(details)
    assert reason == "Activity function 'explode' failed:  ValueError: boom"
    assert recorded["Message"] == " ValueError: boom"
    assert recorded["ClassName"] == "System.Exception"
    assert "test_bad_functions.py" in recorded["StackTraceString"]
    assert "durable_ext/runtime" not in recorded["StackTraceString"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "return_a_set",
            "TypeError: The return value of activity 'return_a_set' is a set, which JSON cannot hold: class <class 'set'> "
            "does not expose a `to_json` function.",
        ),
        ("leave", "SystemExit: 3"),
        ("cancel_itself", "CancelledError"),
        ("interrupt", "KeyboardInterrupt"),
        ("exit_generator", "GeneratorExit"),
        ("raise_mute", "MuteError"),
        ("raise_circle", "ValueError: first"),
    ],
)
@pytest.mark.parametrize("limit", [None, timedelta(minutes=1)], ids=["no limit", "limited"])
async def test_whatever_an_activity_does_fails_only_itself(
    tmp_path: Path, name: str, expected: str, limit: timedelta | None
) -> None:
    activities = [return_a_set, leave, cancel_itself, interrupt, exit_generator, raise_mute, raise_circle, echo]
    registry = registry_of(orchestrators=[call_named, echo_input], activities=activities)
    settings = WorkerSettings(function_timeout=limit)
    async with run_task_hub(tmp_path / "h.db", registry, settings=settings) as hub:
        failed = await end_of(hub, "call_named", name)
        after = await end_of(hub, "echo_input", "still here")

    assert failed.runtime_status is FAILED
    assert expected in str(failed.output)
    assert after.output == "still here"


async def test_an_activity_that_does_not_exist_fails_the_orchestration_and_names_the_known_ones(tmp_path: Path) -> None:
    registry = registry_of(orchestrators=[call_named], activities=[echo, explode])
    async with run_task_hub(tmp_path / "h.db", registry) as hub:
        status = await end_of(hub, "call_named", "ekko")

    assert status.runtime_status is FAILED
    assert "The function 'ekko' doesn't exist, is disabled, or is not an activity function." in str(status.output)
    assert "'echo', 'explode'" in str(status.output)


async def test_an_orchestrator_that_does_not_exist_fails_its_instance(tmp_path: Path) -> None:
    async with run_task_hub(tmp_path / "h.db", registry_of(orchestrators=[call_named])) as hub:
        status = await end_of(hub, "nobody")

    assert status.runtime_status is FAILED
    assert "The function 'nobody' doesn't exist, is disabled, or is not an orchestrator function." in str(status.output)


async def test_an_entity_that_does_not_exist_fails_the_call(tmp_path: Path) -> None:
    def call_nobody(context: Any) -> Any:
        yield context.call_entity(EntityId("nobody", "1"), "get")

    async with run_task_hub(tmp_path / "h.db", registry_of(orchestrators=[call_nobody])) as hub:
        status = await end_of(hub, "call_nobody")

    assert status.runtime_status is FAILED
    assert "'nobody'" in str(status.output)


@pytest.mark.parametrize("name", ["raise_at_once", "return_a_lock"])
async def test_an_orchestrator_that_raises_or_returns_what_json_cannot_hold_fails(tmp_path: Path, name: str) -> None:
    async with run_task_hub(tmp_path / "h.db", registry_of(orchestrators=[raise_at_once, return_a_lock])) as hub:
        status = await end_of(hub, name)

    assert status.runtime_status is FAILED
    assert f"Orchestrator function '{name}' failed: " in str(status.output)


async def test_not_a_number_has_an_end(tmp_path: Path) -> None:
    async with run_task_hub(tmp_path / "h.db", registry_of(orchestrators=[return_nan])) as hub:
        status = await end_of(hub, "return_nan")

    assert status.is_terminal


@pytest.mark.parametrize("name", ["echo_input", "echo_thread_input"])
@pytest.mark.parametrize(
    "value",
    ["Grüße 東京 🚀", '\x00\u2028"\\', {"a": [1, None, True, 2.5]}, [[[[["deep"]]]]], "x" * 1_000_000],
    ids=["unicode", "control", "object", "nested", "one megabyte"],
)
async def test_values_come_back_as_they_went(tmp_path: Path, name: str, value: Any) -> None:
    registry = registry_of(orchestrators=[echo_input, echo_thread_input], activities=[echo, echo_on_thread])
    async with run_task_hub(tmp_path / "h.db", registry) as hub:
        status = await end_of(hub, name, value)

    assert status.runtime_status is COMPLETED
    assert status.output == value


@pytest.mark.parametrize("megabytes", [10, pytest.param(50, marks=pytest.mark.slow)])
async def test_many_megabytes_come_back(tmp_path: Path, megabytes: int) -> None:
    value = "y" * megabytes * 1_000_000
    async with run_task_hub(tmp_path / "h.db", registry_of(orchestrators=[echo_input], activities=[echo])) as hub:
        status = await end_of(hub, "echo_input", value)

    assert status.output == value


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets blocked user code go on at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("kind", ["async", "thread", "stubborn"])
async def test_a_hanging_activity_fails_at_the_time_limit(tmp_path: Path, kind: str, release: threading.Event) -> None:
    async def hang_async(value: Any) -> None:
        await asyncio.Event().wait()

    def hang_thread(value: Any) -> None:
        release.wait(30)

    async def hang_stubborn(value: Any) -> None:
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)

    registry = registry_of(orchestrators=[call_named], activities=[hang_async, hang_thread, hang_stubborn])
    settings = WorkerSettings(function_timeout=timedelta(milliseconds=200))
    async with run_task_hub(tmp_path / "h.db", registry, settings=settings) as hub:
        status = await end_of(hub, "call_named", f"hang_{kind}")
        release.set()

    assert status.runtime_status is FAILED
    assert f"Activity function 'hang_{kind}' failed: Timeout value of 00:00:00.2000000 exceeded" in str(status.output)


@pytest.mark.parametrize("width", [1, 3])
async def test_an_activity_that_takes_long_becomes_a_work_item_and_is_run_once(tmp_path: Path, width: int) -> None:
    go_on = asyncio.Event()
    runs: list[int] = []

    async def wait(value: int) -> int:
        runs.append(value)
        if value == 0:
            await go_on.wait()
        return value

    def slow(context: Any) -> Any:
        first = yield context.task_all([context.call_activity("wait", i) for i in range(width)])
        return [first, (yield context.call_activity("wait", 7))]

    settings = WorkerSettings(local_activity_spill=timedelta(milliseconds=20))
    async with run_task_hub(
        tmp_path / "h.db", registry_of(orchestrators=[slow], activities=[wait]), settings=settings
    ) as hub:
        instance_id = await hub.client.start("slow")

        async def is_scheduled() -> bool:
            kinds = [type(event).__name__ for event in await hub.client.get_history(instance_id)]
            return "TaskScheduled" in kinds

        await eventually(is_scheduled, "the activity was not handed to the hub")
        go_on.set()
        status = await hub.client.wait_for_completion(instance_id)

    assert status.output == [list(range(width)), 7]
    assert sorted(runs) == sorted([*range(width), 7])


async def test_an_event_during_a_slow_activity_is_seen_at_once(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def wait(value: Any) -> str:
        await go_on.wait()
        return "late"

    def race(context: Any) -> Any:
        slow = context.call_activity("wait")
        event = context.wait_for_external_event("ev")
        winner = yield context.task_any([slow, event])
        context.set_custom_status("event" if winner is event else "activity")
        return (yield slow)

    settings = WorkerSettings(local_activity_spill=timedelta(milliseconds=20))
    registry = registry_of(orchestrators=[race], activities=[wait])
    async with run_task_hub(tmp_path / "h.db", registry, settings=settings) as hub:
        instance_id = await hub.client.start("race")
        await hub.client.raise_event(instance_id, "ev")

        async def saw_the_event() -> bool:
            status = await hub.client.get_status(instance_id)
            return status is not None and status.custom_status == "event"

        await eventually(saw_the_event)
        go_on.set()
        status = await hub.client.wait_for_completion(instance_id)

    assert status.output == "late"


async def test_an_orchestrator_that_blocks_does_not_stop_the_others(
    tmp_path: Path, release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def block(context: Any) -> Any:
        release.wait(30)

    registry = registry_of(orchestrators=[block, echo_input], activities=[echo])
    settings = WorkerSettings(episode_warning=timedelta(milliseconds=100))
    with caplog.at_level(logging.WARNING):
        async with run_task_hub(tmp_path / "h.db", registry, settings=settings) as hub:
            blocked = await hub.client.start("block")
            status = await end_of(hub, "echo_input", "through")
            healthy = hub.worker.is_healthy
            release.set()
            late = await hub.client.wait_for_completion(blocked)

    assert status.output == "through"
    assert healthy
    assert late.runtime_status is COMPLETED
    assert "release.wait(30)" in caplog.text


async def test_a_worker_whose_threads_are_all_blocked_is_unhealthy_until_one_comes_back(
    tmp_path: Path, release: threading.Event
) -> None:
    def block(context: Any) -> Any:
        release.wait(30)

    registry = registry_of(orchestrators=[block, echo_input], activities=[echo])
    settings = WorkerSettings(episode_warning=timedelta(milliseconds=50), max_stuck_threads=2)
    async with run_task_hub(tmp_path / "h.db", registry, settings=settings) as hub:
        for _ in range(2):
            await hub.client.start("block")
        await eventually(lambda: not hub.worker.is_healthy, "the worker stayed healthy")
        waiting = await hub.client.start("echo_input", "at last")
        release.set()
        status = await hub.client.wait_for_completion(waiting)
        await eventually(lambda: hub.worker.is_healthy, "the worker stayed unhealthy")

    assert status.output == "at last"


async def test_a_blocked_episode_is_given_up_at_the_time_limit(tmp_path: Path, release: threading.Event) -> None:
    began = threading.Event()

    def block(context: Any) -> Any:
        began.set()
        release.wait(30)

    registry = registry_of(orchestrators=[block, echo_input], activities=[echo])
    settings = WorkerSettings(
        episode_warning=timedelta(milliseconds=50), function_timeout=timedelta(milliseconds=100), max_stuck_threads=8
    )
    async with run_task_hub(tmp_path / "h.db", registry, settings=settings, drain=timedelta(seconds=1)) as hub:
        blocked = await hub.client.start("block")
        status = await end_of(hub, "echo_input", "through")
        row = await hub.client.get_status(blocked)
        release.set()

    assert began.is_set()
    assert status.output == "through"
    assert row is not None
    assert row.runtime_status is OrchestrationStatus.PENDING


def process_id(value: Any) -> int:
    return os.getpid()


def end_process(value: Any) -> None:
    os._exit(9)


async def test_an_activity_can_run_in_a_process_of_its_own(tmp_path: Path) -> None:
    registry = registry_of(orchestrators=[call_named], processes=[process_id])
    async with run_task_hub(tmp_path / "h.db", registry) as hub:
        status = await end_of(hub, "call_named", "process_id")

    assert status.runtime_status is COMPLETED, status.output
    assert status.output != os.getpid()


async def test_a_process_that_dies_fails_its_activity_and_is_replaced(tmp_path: Path) -> None:
    registry = registry_of(orchestrators=[call_named], processes=[process_id, end_process])
    async with run_task_hub(tmp_path / "h.db", registry) as hub:
        died = await end_of(hub, "call_named", "end_process")
        after = await end_of(hub, "call_named", "process_id")

    assert died.runtime_status is FAILED
    assert "ended unexpectedly" in str(died.output)
    assert after.runtime_status is COMPLETED


async def test_blocking_activities_run_side_by_side(tmp_path: Path) -> None:
    barrier = threading.Barrier(4, timeout=10)

    def meet(value: int) -> int:
        barrier.wait()
        return value

    def four(context: Any) -> Any:
        return (yield context.task_all([context.call_activity("meet", i) for i in range(4)]))

    registry = registry_of(orchestrators=[four], activities=[meet])
    async with run_task_hub(tmp_path / "h.db", registry) as hub:
        status = await end_of(hub, "four")

    assert status.output == [0, 1, 2, 3]


async def test_operations_of_an_entity_that_hangs_are_answered_with_the_timeout(
    tmp_path: Path, release: threading.Event
) -> None:
    def stuck(context: Any) -> None:
        if context.operation_name == "hang":
            release.wait(30)
        context.set_result("quick")

    def ask(context: Any) -> Any:
        try:
            return (yield context.call_entity(EntityId("stuck", "1"), context.get_input()))
        except Exception as error:
            return f"failed: {error}"

    settings = WorkerSettings(function_timeout=timedelta(milliseconds=200))
    registry = registry_of(orchestrators=[ask], entities=[stuck])
    async with run_task_hub(tmp_path / "h.db", registry, settings=settings) as hub:
        hung = await end_of(hub, "ask", "hang")
        after = await end_of(hub, "ask", "other")
        release.set()

    assert "Timeout value of" in str(hung.output)
    assert after.output == "quick"


@pytest.mark.parametrize(
    "error", [ValueError("no"), MuteError(), SystemExit(2), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_whatever_an_entity_raises_fails_only_that_operation(
    tmp_path: Path, error: BaseException, is_async: bool
) -> None:
    def run(context: Any) -> None:
        if context.operation_name == "fail":
            raise error
        context.set_result("still here")

    async def run_async(context: Any) -> None:
        run(context)

    def ask(context: Any) -> Any:
        entity = EntityId("run_async" if is_async else "run", "1")
        try:
            yield context.call_entity(entity, "fail")
        except Exception:
            return (yield context.call_entity(entity, "other"))

    async with run_task_hub(tmp_path / "h.db", registry_of(orchestrators=[ask], entities=[run, run_async])) as hub:
        status = await end_of(hub, "ask")

    assert status.output == "still here"


async def test_an_orchestrator_whose_return_value_cannot_be_stored_is_named(tmp_path: Path) -> None:
    def end_with_a_set(context: Any) -> Any:
        return {1}

    async with run_task_hub(tmp_path / "h.db", registry_of(orchestrators=[end_with_a_set])) as hub:
        status = await end_of(hub, "end_with_a_set")

    assert status.runtime_status is FAILED
    assert str(status.output).startswith(
        "Orchestrator function 'end_with_a_set' failed: The return value of orchestrator 'end_with_a_set' is a set, which "
        "JSON cannot hold: class <class 'set'> does not expose a `to_json` function."
    )
