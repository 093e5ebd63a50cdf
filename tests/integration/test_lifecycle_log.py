"""What a developer reads in the log of an instance's start and end."""

from __future__ import annotations

import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from support.functions import registry_of
from support.store_place import HubPlace, worker_at

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import ExecutionRewound, OrchestrationStatus
from durable_ext.core.messages import InstanceId, OrchestrationInstance, OutgoingMessage, TaskMessage
from durable_ext.core.retry import RetryOptions
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.contract_scenes import now
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import run_task_hub


async def echo(value: Any) -> Any:
    return value


def two_steps(context: OrchestrationContext) -> Generator[Any, Any, Any]:
    yield context.call_activity("echo", 1)
    return (yield context.call_activity("echo", 2))


def break_down(context: OrchestrationContext) -> Generator[Any, Any, Any]:
    yield context.call_activity("echo", 1)
    raise LookupError("no such order")


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[logging.LogRecord]:
    return [each for each in caplog.records if each.name == "durable_ext.runtime.lifecycle" and each.levelno == level]


async def test_a_start_and_a_completion_are_told_once_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "durable_ext.runtime.lifecycle")

    async with run_task_hub(tmp_path / "hub.db", registry_of(orchestrators=[two_steps], activities=[echo])) as hub:
        await hub.client.wait_for_completion(await hub.client.start("two_steps", instance_id="told"))

    assert [each.getMessage() for each in lines(caplog, logging.INFO)] == [
        "told: orchestration 'two_steps' started.",
        "told: orchestration 'two_steps' completed.",
    ]


async def test_a_generation_that_follows_another_is_told_as_such(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def eternal(context: OrchestrationContext) -> Generator[Any, Any, Any]:
        number = yield context.call_activity("echo", context.get_input())
        if number < 3:
            context.continue_as_new(number + 1)

    caplog.set_level(logging.INFO, "durable_ext.runtime.lifecycle")
    async with run_task_hub(tmp_path / "hub.db", registry_of(orchestrators=[eternal], activities=[echo])) as hub:
        await hub.client.wait_for_completion(await hub.client.start("eternal", 1, instance_id="e"))

    assert [each.getMessage() for each in lines(caplog, logging.INFO)] == [
        "e: orchestration 'eternal' started.",
        "e: orchestration 'eternal' continued as new.",
        "e: orchestration 'eternal' continued as new.",
        "e: orchestration 'eternal' completed.",
    ]


async def test_an_orchestration_that_fails_of_an_activity_is_told_with_the_stack_of_the_activity_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(value: Any) -> Any:
        raise ValueError("outer")

    def tries(context: OrchestrationContext) -> Generator[Any, Any, Any]:
        yield context.call_activity_with_retry("crash", RetryOptions(1, 3), 1)

    async with run_task_hub(tmp_path / "hub.db", registry_of(orchestrators=[tries], activities=[crash])) as hub:
        await hub.client.wait_for_completion(await hub.client.start("tries", instance_id="t"))

    (line,) = lines(caplog, logging.ERROR)
    assert line.getMessage().count('raise ValueError("outer")') == 1
    assert "Caused by ValueError: outer" in line.getMessage()


async def test_a_failure_is_an_error_with_the_stack_of_the_users_code(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_task_hub(tmp_path / "hub.db", registry_of(orchestrators=[break_down], activities=[echo])) as hub:
        await hub.client.wait_for_completion(await hub.client.start("break_down", instance_id="broken"))

    (line,) = lines(caplog, logging.ERROR)
    assert "broken: orchestration 'break_down' failed." in line.getMessage()
    assert "no such order" in line.getMessage()
    assert 'raise LookupError("no such order")' in line.getMessage()


async def test_a_failed_activity_is_told_without_the_details_that_are_for_programs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(value: Any) -> Any:
        raise ValueError("outer")

    def child(context: OrchestrationContext) -> Generator[Any, Any, Any]:
        yield context.call_activity("crash", 1)

    def parent(context: OrchestrationContext) -> Generator[Any, Any, Any]:
        yield context.call_sub_orchestrator("child", instance_id="below")

    async with run_task_hub(tmp_path / "hub.db", registry_of(orchestrators=[child, parent], activities=[crash])) as hub:
        await hub.client.wait_for_completion(await hub.client.start("parent", instance_id="above"))

    told = [line.getMessage().splitlines()[0] for line in lines(caplog, logging.ERROR)]
    reason = "Orchestrator function 'child' failed: Activity function 'crash' failed:  ValueError: outer"
    assert sorted(told) == [
        f"above: orchestration 'parent' failed. Orchestrator function 'parent' failed: {reason}",
        f"below: orchestration 'child' failed. {reason}",
    ]
    assert not any("$type" in line.getMessage() for line in lines(caplog, logging.ERROR))


async def test_a_failure_is_told_with_its_cause(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def chained(context: OrchestrationContext) -> Generator[Any, Any, Any]:
        yield context.call_activity("echo", 1)
        try:
            raise LookupError("inner")
        except LookupError as exc:
            raise ValueError("outer") from exc

    async with run_task_hub(tmp_path / "hub.db", registry_of(orchestrators=[chained], activities=[echo])) as hub:
        await hub.client.wait_for_completion(await hub.client.start("chained"))

    (line,) = lines(caplog, logging.ERROR)
    text = line.getMessage()
    assert text.index("failed: outer") < text.index('raise ValueError("outer") from exc')
    assert text.index("from exc") < text.index("Caused by LookupError: inner") < text.index('raise LookupError("inner")')


async def test_a_termination_is_a_warning_with_its_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def wait(context: OrchestrationContext) -> Generator[Any, Any, Any]:
        yield context.wait_for_external_event("never")

    async with run_task_hub(tmp_path / "hub.db", registry_of(orchestrators=[wait])) as hub:
        instance_id = await hub.client.start("wait", instance_id="ended")
        await hub.client.terminate(instance_id, "enough")
        await hub.client.wait_for_completion(instance_id)

    messages = [each.getMessage() for each in lines(caplog, logging.WARNING)]
    assert messages == ["ended: orchestration 'wait' was terminated. Reason: enough"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_failed_entity_operation_is_an_error_with_the_stack_of_the_users_code(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    def stock(context: Any) -> None:
        raise LookupError("no such shelf")

    async def shop(context: Any) -> None:
        stock(context)

    entity = EntityId("shop" if is_async else "stock", "7")
    async with run_task_hub(tmp_path / "hub.db", registry_of(entities=[stock, shop])) as hub:
        await hub.client.signal_entity(entity, "take")
        await eventually(lambda: lines(caplog, logging.ERROR))

    (line,) = lines(caplog, logging.ERROR)
    text = line.getMessage()
    assert text.startswith(f"@{entity.name}@7: operation 'take' failed. LookupError: no such shelf")
    assert 'raise LookupError("no such shelf")' in text
    assert "durable_ext/runtime" not in text


async def test_a_start_is_told_before_the_code_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "durable_ext.runtime.lifecycle")
    told_before: list[list[str]] = []

    def look(context: OrchestrationContext) -> None:
        told_before.append([each.getMessage() for each in lines(caplog, logging.INFO)])

    async with run_task_hub(tmp_path / "hub.db", registry_of(orchestrators=[look])) as hub:
        await hub.client.wait_for_completion(await hub.client.start("look", instance_id="first"))

    assert told_before == [["first: orchestration 'look' started."]]


async def test_what_json_or_a_call_cannot_take_is_logged_without_lines_of_the_engine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def returns_a_set(context: Any) -> Any:
        return {1}
        yield

    def passes_a_set(context: Any) -> Any:
        yield context.call_activity("nothing", {1})

    def has_no_time(context: Any) -> Any:
        yield context.create_timer("tomorrow")

    failing = [returns_a_set, passes_a_set, has_no_time]
    async with run_task_hub(tmp_path / "h.db", registry_of(orchestrators=failing)) as hub:
        for function in failing:
            await hub.client.wait_for_completion(await hub.client.start(function.__name__))

    lines = {record.function: record.getMessage() for record in caplog.records if record.levelname == "ERROR"}  # type: ignore[attr-defined]
    assert len(lines["returns_a_set"].splitlines()) == 1
    assert "Caused by" not in lines["returns_a_set"]
    assert 'context.call_activity("nothing", {1})' in lines["passes_a_set"]
    assert 'context.create_timer("tomorrow")' in lines["has_no_time"]
    assert "durable_ext" not in "".join(lines.values())


async def test_a_rewind_that_comes_as_a_message_is_dropped_with_a_warning(
    place: HubPlace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "durable_ext.runtime.lifecycle")
    broken = True

    async def repairable(value: Any) -> str:
        if broken:
            raise LookupError("no such order")
        return "done"

    def order(context: OrchestrationContext) -> Generator[Any, Any, Any]:
        return (yield context.call_activity("repairable"))

    registry = registry_of(orchestrators=[order], activities=[repairable])
    async with worker_at(place, registry, WorkerSettings()) as hub:
        await hub.client.wait_for_completion(await hub.client.start("order", instance_id="rewindable"))
        event = ExecutionRewound(timestamp=now(), reason="repaired")
        target = OrchestrationInstance(instance_id=InstanceId("rewindable"))
        await hub.backend.instances.send(OutgoingMessage(message=TaskMessage(event=event, target=target)))
        await eventually(lambda: lines(caplog, logging.WARNING), "nothing is told")
        after_message = await hub.client.get_status("rewindable")
        broken = False
        await hub.client.rewind("rewindable", "repaired")
        after_rewind = await hub.client.wait_for_completion("rewindable")

    (line,) = lines(caplog, logging.WARNING)
    assert line.getMessage().startswith("rewindable: not rewound: a message asked for that")
    assert line.getMessage().endswith("Reason: repaired")
    assert after_message is not None
    assert after_message.runtime_status is OrchestrationStatus.FAILED
    assert after_rewind.output == "done"
