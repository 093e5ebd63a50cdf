"""Instances whose function this worker does not have: nobody has it, or another worker of the hub has it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.functions import registry_of

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus
from durable_ext.runtime.registry import ActivityDefinition, FunctionKind, FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import RunningTaskHub, run_task_hub


async def echo(value: Any) -> Any:
    return value


def wait_for_x(context: OrchestrationContext) -> Generator[Any, Any, Any]:
    first = yield context.call_activity("echo", 1)
    return [first, (yield context.wait_for_external_event("x"))]


def other(context: OrchestrationContext) -> str:
    return "other"


def count(context: Any) -> None:
    context.set_state(context.get_state(lambda: 0) + 1)


def ask(context: OrchestrationContext) -> Generator[Any, Any, Any]:
    return (yield context.call_activity("act"))


async def wait_for_text(hub: RunningTaskHub, instance_id: str) -> None:
    async def waits() -> bool:
        history = await hub.client.get_history(instance_id)
        return any(type(event).__name__ == "TaskCompleted" for event in history)

    await eventually(waits)


async def begin_and_leave(path: Path, *names: str) -> None:
    registry = registry_of(orchestrators=[wait_for_x], activities=[echo])
    async with run_task_hub(path, registry) as hub:
        for name in names:
            await hub.client.start("wait_for_x", instance_id=name)
            await wait_for_text(hub, name)


def registry_without(kind: FunctionKind, *names: str, **functions: Any) -> FunctionRegistry:
    registry = registry_of(**functions)
    for name in names:
        registry.leave_to_others(kind, name)
    return registry


async def test_an_instance_in_the_middle_fails_with_the_name_of_the_function_that_is_gone(tmp_path: Path) -> None:
    await begin_and_leave(tmp_path / "h.db", "i1")

    async with run_task_hub(tmp_path / "h.db", registry_of(orchestrators=[other])) as hub:
        await hub.client.raise_event("i1", "x", 2)
        status = await hub.client.wait_for_completion("i1")

    assert status.runtime_status is OrchestrationStatus.FAILED
    assert status.output == (
        "Orchestrator function 'wait_for_x' failed: The function 'wait_for_x' doesn't exist, is disabled, or is not an "
        "orchestrator function. Additional info: The following are the known orchestrator functions: 'other'."
    )


async def test_an_instance_whose_function_is_gone_can_be_terminated(tmp_path: Path) -> None:
    await begin_and_leave(tmp_path / "h.db", "i1")

    async with run_task_hub(tmp_path / "h.db", registry_of(orchestrators=[other])) as hub:
        await hub.client.terminate("i1", "enough")
        status = await hub.client.wait_for_completion("i1")

    assert status.runtime_status is OrchestrationStatus.TERMINATED
    assert status.output == "enough"


async def test_an_orchestrator_that_is_off_here_keeps_its_instances_for_another_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await begin_and_leave(tmp_path / "h.db", "i1", "i2")
    caplog.set_level(logging.WARNING, "durable_ext")

    without = registry_without("orchestrator", "wait_for_x", orchestrators=[other])
    async with run_task_hub(tmp_path / "h.db", without) as hub:
        await hub.client.raise_event("i1", "x", 2)
        await hub.client.raise_event("i2", "x", 2)
        await eventually(lambda: "'wait_for_x' is not served" in caplog.text)
        assert (await hub.client.wait_for_completion(await hub.client.start("other"))).output == "other"
        left = [await hub.client.get_status("i1"), await hub.client.get_status("i2")]
    async with run_task_hub(tmp_path / "h.db", registry_of(orchestrators=[wait_for_x], activities=[echo])) as hub:
        found = [(await hub.client.wait_for_completion(name)).output for name in ("i1", "i2")]

    assert [row and row.runtime_status for row in left] == [OrchestrationStatus.RUNNING] * 2
    assert found == [[1, 2], [1, 2]]
    assert len([line for line in caplog.messages if "'wait_for_x' is not served" in line]) == 1


async def test_an_entity_that_is_off_here_keeps_its_signals_for_another_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entity = EntityId("count", "1")
    without = registry_without("entity", "count", orchestrators=[other])
    async with run_task_hub(tmp_path / "h.db", without) as hub:
        await hub.client.signal_entity(entity, "add")
        await eventually(lambda: "'count' is not served" in caplog.text)
    async with run_task_hub(tmp_path / "h.db", registry_of(entities=[count])) as hub:

        async def counted() -> bool:
            return (await hub.client.read_entity(entity)).state_text == "1"

        await eventually(counted)


async def test_an_activity_that_is_off_here_is_left_to_another_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    began = asyncio.Event()

    async def slow(value: Any) -> None:
        began.set()
        await asyncio.Event().wait()

    async def quick(value: Any) -> str:
        return "done elsewhere"

    def registry_with(call: Any) -> FunctionRegistry:
        registry = registry_of(orchestrators=[ask])
        registry.add_activity(ActivityDefinition(name="act", call=call, is_async=True))
        return registry

    plain = WorkerSettings(local_activities="off")
    async with run_task_hub(tmp_path / "h.db", registry_with(slow), settings=plain, drain=timedelta(0)) as hub:
        instance_id = await hub.client.start("ask")
        await began.wait()
    without = registry_without("activity", "act", orchestrators=[ask])
    async with run_task_hub(tmp_path / "h.db", without, settings=plain) as hub:
        await eventually(lambda: "'act' is not served" in caplog.text)
    async with run_task_hub(tmp_path / "h.db", registry_with(quick), settings=plain) as hub:
        status = await hub.client.wait_for_completion(instance_id)

    assert status.output == "done elsewhere"
