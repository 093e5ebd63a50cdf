"""An app of the old import names on the engine, unchanged: a plain FunctionApp, generators, 1.x semantics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.durable_functions as df
import azure.functions as func
import pytest

from durable_ext.core.events import OrchestrationStatus
from durable_ext.http.urls import ManagementUrls
from durable_ext.sdk.discovery import collect_durable_functions, result_type
from durable_ext.sdk.function_names import resolve_function_name
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import RunningTaskHub, run_task_hub

URLS = ManagementUrls(base_url="http://localhost:7071/runtime/webhooks/durabletask", task_hub="TestHub")
app = func.FunctionApp()
COUNTER = df.EntityId("Counter", "k")


@app.orchestration_trigger(context_name="context")
def everything(context: df.DurableOrchestrationContext) -> Any:
    hello = yield context.call_activity("hello", "Tokyo")
    try:
        yield context.call_activity_with_retry("fails", df.RetryOptions(1, 2), "y")
    except Exception as error:  # what 1.x code catches
        hello += f" / {str(error).splitlines()[0]}"
    three = yield context.task_all([context.call_activity("hello", str(number)) for number in range(3)])
    deadline = context.create_timer(context.current_utc_datetime + timedelta(hours=1))
    event = context.wait_for_external_event("Go")
    winner = yield context.task_any([event, deadline])
    deadline.cancel()
    child = yield context.call_sub_orchestrator("child", {"z": 1})
    return {"hello": hello, "three": three, "event": winner.result, "child": child}


@app.orchestration_trigger(context_name="context")
def child(context: df.DurableOrchestrationContext) -> Any:
    return context.get_input()


@app.orchestration_trigger(context_name="context")
def asks(context: df.DurableOrchestrationContext) -> Any:
    answers = []
    for operation in ("spoil", "returns", "get"):
        try:
            answers.append((yield context.call_entity(COUNTER, operation)))
        except Exception as error:  # what 1.x code catches
            answers.append(str(error))
    return answers


@app.activity_trigger(input_name="name")
def hello(name: str) -> str:
    return f"Hello {name}"


@app.activity_trigger(input_name="name")
def fails(name: str) -> str:
    raise ValueError(name)


@app.entity_trigger(context_name="context", entity_name="Counter")
def counter(context: df.DurableEntityContext) -> Any:
    if context.operation_name == "spoil":
        context.set_state("spoilt")
        raise ValueError("kept all the same")
    if context.operation_name == "get":
        context.set_result(context.get_state())
    return "ignored"


DURABLE = collect_durable_functions(app.get_functions())


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningTaskHub]:
    async with run_task_hub(
        tmp_path / "hub.db",
        DURABLE.to_registry(),
        resolve_name=resolve_function_name,
        resolve_type=result_type,
    ) as hub:
        yield hub


async def test_an_app_of_1x_runs_unchanged(hub: RunningTaskHub) -> None:
    await hub.client.start("everything", instance_id="i1")

    async def waits() -> bool:
        status = await hub.client.get_status("i1")
        return status is not None and status.runtime_status is OrchestrationStatus.RUNNING

    await eventually(waits, message="the orchestration never ran")
    await df.DurableOrchestrationClient.engine_class()(hub.client, URLS).raise_event("i1", "Go", {"a": 1})
    status = await hub.client.wait_for_completion("i1")

    assert status.output == {
        "hello": "Hello Tokyo / Activity function 'fails' failed:  ValueError: y ",
        "three": ["Hello 0", "Hello 1", "Hello 2"],
        "event": '{"a": 1}',
        "child": {"z": 1},
    }


async def test_an_entity_of_1x_is_not_rolled_back_and_its_return_value_does_not_count(hub: RunningTaskHub) -> None:
    status = await hub.client.wait_for_completion(await hub.client.start("asks"))

    assert status.output == ["kept all the same", None, "spoilt"]


async def test_ids_that_are_no_texts_and_texts_of_errors_are_as_in_1x(hub: RunningTaskHub) -> None:
    client = df.DurableOrchestrationClient.engine_class()(hub.client, URLS)
    await client.start_new("child", "5", "x")
    await hub.client.wait_for_completion("5")

    assert (await client.get_status(5)).runtime_status is df.OrchestrationRuntimeStatus.Completed  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^class <class 'set'> does not expose a `to_json` function$"):
        await client.start_new("child", None, {1, 2})
