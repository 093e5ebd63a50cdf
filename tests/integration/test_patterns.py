"""The six patterns and the life of an instance, on a real file: worker, store, core and client together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from support.functions import registry_of

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus, TaskCompleted, TaskScheduled
from durable_ext.core.retry import RetryOptions
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.clock import ManualClock
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import RunningTaskHub, run_task_hub

Open = Callable[..., AbstractAsyncContextManager[RunningTaskHub]]


@pytest.fixture
def open_hub(tmp_path: Path) -> Open:
    """Opens the same file each time it is called."""

    def open_(registry: FunctionRegistry, **more: Any) -> AbstractAsyncContextManager[RunningTaskHub]:
        return run_task_hub(tmp_path / "hub.db", registry, **more)

    return open_


async def run(hub: RunningTaskHub, name: str, value: Any = None) -> Any:
    instance_id = await hub.client.start(name, value)
    status = await hub.client.wait_for_completion(instance_id)
    assert status.runtime_status is OrchestrationStatus.COMPLETED, status.output
    return status.output


async def status_of(hub: RunningTaskHub, instance_id: str) -> OrchestrationStatus | None:
    status = await hub.client.get_status(instance_id)
    return status.runtime_status if status is not None else None


async def until_status(hub: RunningTaskHub, instance_id: str, wanted: OrchestrationStatus) -> None:
    async def reached() -> bool:
        return await status_of(hub, instance_id) is wanted

    await eventually(reached, f"{instance_id} is not {wanted}")


async def until_custom_status(hub: RunningTaskHub, instance_id: str, wanted: Any) -> None:
    async def reached() -> bool:
        status = await hub.client.get_status(instance_id)
        return status is not None and status.custom_status == wanted

    await eventually(reached, f"{instance_id} has no custom status {wanted}")


async def greet(name: str) -> str:
    return f"Hello {name}!"


def shout(text: str) -> str:
    return text.upper()


def chain(context: Any) -> Any:
    first = yield context.call_activity("greet", "Tokyo")
    second = yield context.call_activity("shout", first)
    return [first, second]


async def chain_awaited(context: Any) -> Any:
    first = await context.call_activity("greet", "Tokyo")
    return await context.call_activity("shout", first)


def fan_out(context: Any) -> Any:
    return (yield context.task_all([context.call_activity("greet", str(i)) for i in range(context.get_input())]))


def wait_for_two(context: Any) -> Any:
    context.set_custom_status("waiting")
    first = yield context.wait_for_external_event("first")
    second = yield context.wait_for_external_event("second")
    return [int(first), int(second)]


def approval(context: Any) -> Any:
    context.set_custom_status("asked")
    deadline = context.create_timer(context.current_utc_datetime + timedelta(hours=72))
    answer = context.wait_for_external_event("Approval")
    winner = yield context.task_any([deadline, answer])
    if winner is answer:
        deadline.cancel()
        return "approved"
    return "too late"


def parent(context: Any) -> Any:
    children = [context.call_sub_orchestrator("child", i) for i in range(3)]
    return (yield context.task_all(children))


def child(context: Any) -> Any:
    return (yield context.call_activity("greet", str(context.get_input())))


def eternal(context: Any) -> Any:
    count = context.get_input()
    yield context.call_activity("greet", str(count))
    if count < 4:
        context.continue_as_new(count + 1)
        return None
    return count


async def test_a_chain_of_activities_returns_their_results(open_hub: Open) -> None:
    async with open_hub(registry_of(orchestrators=[chain], activities=[greet, shout])) as hub:
        assert await run(hub, "chain") == ["Hello Tokyo!", "HELLO TOKYO!"]


async def test_an_async_orchestrator_runs_like_a_generator(open_hub: Open) -> None:
    async with open_hub(registry_of(orchestrators=[chain_awaited], activities=[greet, shout])) as hub:
        assert await run(hub, "chain_awaited") == "HELLO TOKYO!"


@pytest.mark.parametrize("local", ["on", "off", "batched"])
async def test_results_of_a_fan_out_keep_the_order_of_the_calls(open_hub: Open, local: Any) -> None:
    settings = WorkerSettings(local_activities=local)
    async with open_hub(registry_of(orchestrators=[fan_out], activities=[greet]), settings=settings) as hub:
        assert await run(hub, "fan_out", 60) == [f"Hello {i}!" for i in range(60)]


async def test_a_fan_out_is_wider_than_the_slots(open_hub: Open) -> None:
    running = most = 0

    async def count(value: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return value

    def wide(context: Any) -> Any:
        return (yield context.task_all([context.call_activity("count", i) for i in range(50)]))

    settings = WorkerSettings(max_concurrent_activities=4)
    async with open_hub(registry_of(orchestrators=[wide], activities=[count]), settings=settings) as hub:
        assert await run(hub, "wide") == list(range(50))

    assert 1 < most <= 4


async def test_events_are_delivered_in_any_order_of_arrival(open_hub: Open) -> None:
    async with open_hub(registry_of(orchestrators=[wait_for_two])) as hub:
        instance_id = await hub.client.start("wait_for_two")
        await hub.client.raise_event(instance_id, "second", 2)
        await hub.client.raise_event(instance_id, "first", 1)

        status = await hub.client.wait_for_completion(instance_id)

        assert status.output == [1, 2]


async def test_an_approval_in_time_cancels_the_deadline(open_hub: Open) -> None:
    async with open_hub(registry_of(orchestrators=[approval])) as hub:
        instance_id = await hub.client.start("approval")
        await until_custom_status(hub, instance_id, "asked")
        await hub.client.raise_event(instance_id, "Approval", True)

        status = await hub.client.wait_for_completion(instance_id)

        assert status.output == "approved"


async def test_a_timer_of_three_days_fires_when_its_time_has_come(open_hub: Open) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=timezone.utc))
    async with open_hub(registry_of(orchestrators=[approval]), clock=clock) as hub:
        instance_id = await hub.client.start("approval")
        await until_custom_status(hub, instance_id, "asked")

        await clock.advance(timedelta(hours=71))
        before = await status_of(hub, instance_id)
        await clock.advance(timedelta(hours=2))

        async def is_over() -> bool:
            await clock.advance(timedelta(seconds=31))  # whoever began to sleep just after a jump sleeps a little longer
            return await status_of(hub, instance_id) is OrchestrationStatus.COMPLETED

        await eventually(is_over)
        status = await hub.client.get_status(instance_id)
        assert before is OrchestrationStatus.RUNNING
        assert status is not None
        assert status.output == "too late"


async def test_sub_orchestrations_report_to_their_parent(open_hub: Open) -> None:
    async with open_hub(registry_of(orchestrators=[parent, child], activities=[greet])) as hub:
        assert await run(hub, "parent") == ["Hello 0!", "Hello 1!", "Hello 2!"]


async def test_continue_as_new_starts_over_with_an_empty_history(open_hub: Open) -> None:
    async with open_hub(registry_of(orchestrators=[eternal], activities=[greet])) as hub:
        instance_id = await hub.client.start("eternal", 0)
        status = await hub.client.wait_for_completion(instance_id)
        history = await hub.client.get_history(instance_id)

    assert status.output == 4
    assert sum(isinstance(event, TaskScheduled) for event in history) == 1


async def test_a_terminated_instance_keeps_the_reason(open_hub: Open) -> None:
    async with open_hub(registry_of(orchestrators=[wait_for_two])) as hub:
        instance_id = await hub.client.start("wait_for_two")
        await until_custom_status(hub, instance_id, "waiting")
        await hub.client.terminate(instance_id, "enough")

        status = await hub.client.wait_for_completion(instance_id)

        assert (status.runtime_status, status.output) == (OrchestrationStatus.TERMINATED, "enough")


async def test_a_terminate_interrupts_a_long_row_of_local_activities(open_hub: Open) -> None:
    began = asyncio.Event()

    async def step(value: int) -> int:
        began.set()
        await asyncio.sleep(0)
        return value

    def endless(context: Any) -> Any:
        for i in range(100_000):
            yield context.call_activity("step", i)

    async with open_hub(registry_of(orchestrators=[endless], activities=[step])) as hub:
        instance_id = await hub.client.start("endless")
        await began.wait()
        await hub.client.terminate(instance_id, "enough")

        status = await hub.client.wait_for_completion(instance_id)

        assert status.runtime_status is OrchestrationStatus.TERMINATED


async def test_events_of_a_suspended_instance_wait_for_its_resumption(open_hub: Open) -> None:
    async with open_hub(registry_of(orchestrators=[wait_for_two])) as hub:
        instance_id = await hub.client.start("wait_for_two")
        await until_custom_status(hub, instance_id, "waiting")
        await hub.client.suspend(instance_id, "pause")
        await until_status(hub, instance_id, OrchestrationStatus.SUSPENDED)
        await hub.client.raise_event(instance_id, "first", 1)
        await hub.client.raise_event(instance_id, "second", 2)
        await hub.client.resume(instance_id, "go on")

        status = await hub.client.wait_for_completion(instance_id)

        assert status.output == [1, 2]


async def test_entities_apply_every_signal_once(open_hub: Open) -> None:
    def counter(context: Any) -> None:
        context.set_state(context.get_state(lambda: 0) + context.get_input())

    async with open_hub(registry_of(entities=[counter])) as hub:
        entity = EntityId("counter", "c")
        await asyncio.gather(*(hub.client.signal_entity(entity, "add", i) for i in range(100)))

        async def total() -> bool:
            return (await hub.client.read_entity(entity)).state == sum(range(100))

        await eventually(total)
        await hub.worker.drain(timedelta(seconds=10))
        assert await total()  # a signal that came twice would have been counted by now


def account(context: Any) -> None:
    if context.operation_name == "add":
        context.set_state(context.get_state(lambda: 0) + context.get_input())
    elif context.operation_name == "fail":
        raise ValueError("no such luck")
    context.set_result(context.get_state(lambda: 0))


async def account_async(context: Any) -> None:
    await asyncio.sleep(0)
    account(context)


def account_awaitable(context: Any) -> Any:
    return account_async(context)


@pytest.mark.parametrize("entity", [account, account_async, account_awaitable])
async def test_an_orchestration_gets_the_answer_of_an_entity(open_hub: Open, entity: Any) -> None:
    def caller(context: Any) -> Any:
        target = EntityId(entity.__name__, "a")
        context.signal_entity(target, "add", 3)
        yield context.call_entity(target, "add", 4)
        try:
            yield context.call_entity(target, "fail")
        except Exception as error:
            return [(yield context.call_entity(target, "get")), str(error)]

    async with open_hub(registry_of(orchestrators=[caller], entities=[entity])) as hub:
        assert await run(hub, "caller") == [7, "no such luck"]


async def test_locks_keep_others_out_of_a_critical_section(open_hub: Open) -> None:
    def account(context: Any) -> None:
        if context.operation_name == "set":
            context.set_state(context.get_input())
        context.set_result(context.get_state(lambda: 0))

    def add_one(context: Any) -> Any:
        entity = EntityId("account", "a")
        with (yield context.lock_entities([entity])):
            value = yield context.call_entity(entity, "get")
            yield context.call_entity(entity, "set", value + 1)

    async with open_hub(registry_of(orchestrators=[add_one], entities=[account])) as hub:
        await asyncio.gather(*(run(hub, "add_one") for _ in range(10)))

        assert (await hub.client.read_entity(EntityId("account", "a"))).state == 10


async def test_a_failed_activity_is_retried_and_then_succeeds(open_hub: Open) -> None:
    attempts = 0

    async def flaky(value: str) -> str:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise ConnectionError("not yet")
        return value

    def with_retry(context: Any) -> Any:
        options = RetryOptions(first_retry_interval_in_milliseconds=1, max_number_of_attempts=5)
        return (yield context.call_activity_with_retry("flaky", options, "done"))

    async with open_hub(registry_of(orchestrators=[with_retry], activities=[flaky])) as hub:
        assert await run(hub, "with_retry") == "done"

    assert attempts == 3


async def test_an_instance_out_of_memory_goes_on_from_its_history(open_hub: Open) -> None:
    settings = WorkerSettings(max_cached_sessions=0)
    async with open_hub(registry_of(orchestrators=[wait_for_two]), settings=settings) as hub:
        instance_id = await hub.client.start("wait_for_two")
        await until_custom_status(hub, instance_id, "waiting")
        await eventually(lambda: hub.worker.cached_sessions == 0)
        await hub.client.raise_event(instance_id, "first", 1)
        await hub.client.raise_event(instance_id, "second", 2)

        status = await hub.client.wait_for_completion(instance_id)

        assert status.output == [1, 2]


async def test_no_more_instances_wait_in_memory_than_allowed(open_hub: Open) -> None:
    settings = WorkerSettings(max_cached_sessions=3)
    async with open_hub(registry_of(orchestrators=[wait_for_two]), settings=settings) as hub:
        ids = [await hub.client.start("wait_for_two") for _ in range(10)]
        for instance_id in ids:
            await until_custom_status(hub, instance_id, "waiting")

        await eventually(lambda: hub.worker.cached_sessions == 3)
        for instance_id in ids:
            await hub.client.raise_event(instance_id, "first", 1)
            await hub.client.raise_event(instance_id, "second", 2)
        outputs = [(await hub.client.wait_for_completion(instance_id)).output for instance_id in ids]

        assert outputs == [[1, 2]] * 10


async def test_a_waiting_instance_is_taken_up_by_the_next_worker(open_hub: Open) -> None:
    registry = registry_of(orchestrators=[wait_for_two])
    async with open_hub(registry) as hub:
        instance_id = await hub.client.start("wait_for_two")
        await until_custom_status(hub, instance_id, "waiting")
    async with open_hub(registry) as hub:
        await hub.client.raise_event(instance_id, "first", 1)
        await hub.client.raise_event(instance_id, "second", 2)

        status = await hub.client.wait_for_completion(instance_id)

        assert status.output == [1, 2]


async def test_a_wave_is_written_in_one_piece(open_hub: Open) -> None:
    async with open_hub(registry_of(orchestrators=[fan_out], activities=[greet])) as hub:
        instance_id = await hub.client.start("fan_out", 5)
        await hub.client.wait_for_completion(instance_id)
        history = await hub.client.get_history(instance_id)

    kinds = [type(event).__name__ for event in history]
    assert kinds == [
        "OrchestratorStarted",
        "ExecutionStarted",
        *["TaskScheduled"] * 5,
        "OrchestratorCompleted",
        "OrchestratorStarted",
        *["TaskCompleted"] * 5,
        "ExecutionCompleted",
        "OrchestratorCompleted",
    ]
    assert {event.task_scheduled_id for event in history if isinstance(event, TaskCompleted)} == set(range(5))
