"""Payloads on the engine: what functions of the old import names get is what 1.7.0 gave them; the new name shapes.

The values of the old form were read off azure-functions-durable 1.7.0, those of activities off the converters of
azure-functions (specs/sdk.md 6.2 - 6.4).
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

import azure.durable_functions as df
import pytest
from azure.functions import durable_functions as worker_converters
from azure.functions.meta import Datum

import durable_ext
from durable_ext.client.status import InstanceStatus
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import run_task_hub

STRICT = "AZURE_FUNCTIONS_DURABLE_STRICT_TYPING"
UNKNOWN_CLASS = {"__class__": "Nobody", "__module__": __name__, "__data__": 1}


@dataclass
class Order:
    amount: int


def shown(value: Any) -> str:
    return f"{type(value).__name__}:{asdict(value) if isinstance(value, Order) else value}"


def app_of(names: Any) -> Any:
    """The same app under either name."""
    app = names.DFApp()

    @app.activity_trigger(input_name="order")
    def echo(order: Order) -> Order:
        return asdict(order) if isinstance(order, Order) else order  # type: ignore[return-value]

    @app.activity_trigger(input_name="order")
    def seen(order: Order) -> str:
        return shown(order)

    @app.activity_trigger(input_name="value")
    def any_of(value) -> Optional[int]:  # type: ignore[no-untyped-def]
        return value  # type: ignore[no-any-return]

    @app.activity_trigger(input_name="value")
    def cannot_be_stored(value: int) -> Any:
        return {value}

    @app.entity_trigger(context_name="context")
    def basket(context: Any) -> None:
        if context.operation_name == "put":
            context.set_state(context.get_input())
        context.set_result([shown(context.get_state(expected_type=Order)), shown(context.get_input(expected_type=Order))])

    @app.orchestration_trigger(context_name="context")
    def child(context: Any) -> Any:
        return context.get_input()

    @app.orchestration_trigger(context_name="context", input_type=Order)
    def everything(context: Any) -> Any:
        order = {"amount": 1}
        entity = names.EntityId("basket", "k")
        event = context.wait_for_external_event("Go", Order)
        result = {
            "input by decorator": shown(context.get_input()),
            "input": shown(context.get_input(expected_type=Order)),
            "activity": shown((yield context.call_activity("echo", order, expected_type=Order))),
            "activity by hint": shown((yield context.call_activity(echo, order))),
            "activity with retry": shown(
                (yield context.call_activity_with_retry("echo", names.RetryOptions(1, 2), order, expected_type=Order))
            ),
            "activity input": (yield context.call_activity("seen", order)),
            "child": shown((yield context.call_sub_orchestrator("child", order, expected_type=Order))),
            "entity call": shown((yield context.call_entity(entity, "put", order, expected_type=list))),
            "entity": (yield context.call_entity(entity, "get", {"amount": 2})),
        }
        result["event"] = shown((yield event))
        return result

    @app.orchestration_trigger(context_name="context")
    def calls_by_reference(context: Any) -> Any:
        return (yield context.call_activity(any_of, "text"))

    @app.orchestration_trigger(context_name="context")
    def meets_failures(context: Any) -> Any:
        failures = []
        for name, value in (("any_of", UNKNOWN_CLASS), ("cannot_be_stored", 1)):
            try:
                yield context.call_activity(name, value)
            except Exception as error:  # what 1.x code catches
                failures.append(str(error))
        return failures

    @app.orchestration_trigger(context_name="context")
    def sends_dataclass(context: Any) -> Any:
        try:
            return (yield context.call_activity("any_of", Order(3)))
        except TypeError as error:
            return str(error)

    return app


async def run_everything(names: Any, folder: Path) -> Any:
    async with run_task_hub(folder / "hub.db", app_of(names)) as hub:
        await hub.client.start("everything", {"amount": 1}, instance_id="i1")

        async def waits() -> bool:
            status: InstanceStatus | None = await hub.client.get_status("i1")
            return status is not None and status.runtime_status.name == "RUNNING"

        await eventually(waits, message="the orchestration never ran")
        await hub.client.raise_event("i1", "Go", {"amount": 1})
        return (await hub.client.wait_for_completion("i1")).output


async def run_one(names: Any, folder: Path, name: str, value: Any = None) -> Any:
    async with run_task_hub(folder / "hub.db", app_of(names)) as hub:
        return (await hub.client.wait_for_completion(await hub.client.start(name, value))).output


AS_RECORDED = "dict:{'amount': 1}"


async def test_functions_of_the_old_names_get_what_the_json_holds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "azure.functions.DurableFunctions"):
        result = await run_everything(df, tmp_path)

    assert result.pop("entity") == [AS_RECORDED, "dict:{'amount': 2}"]
    assert result.pop("entity call") == f"list:{[AS_RECORDED, AS_RECORDED]}"
    assert set(result.values()) == {AS_RECORDED}
    assert f"df_loads: deserialized value (dict) is not compatible with expected type {Order}" in caplog.text


async def test_functions_of_the_new_name_get_the_types_they_declare(tmp_path: Path) -> None:
    result = await run_everything(durable_ext, tmp_path)

    assert result.pop("entity") == ["Order:{'amount': 1}", "Order:{'amount': 2}"]
    assert result.pop("entity call").startswith("list:")
    assert set(result.values()) == {"Order:{'amount': 1}"}


async def test_a_dataclass_is_a_payload_under_the_new_name_only(tmp_path: Path) -> None:
    assert await run_one(durable_ext, tmp_path, "sends_dataclass") == {"amount": 3}
    (tmp_path / "old").mkdir()
    assert "does not expose a `to_json` function" in await run_one(df, tmp_path / "old", "sends_dataclass")


async def test_an_annotation_that_is_no_class_warns_nobody_under_the_old_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert await run_one(df, tmp_path, "calls_by_reference") == "text"
    assert "is not compatible" not in caplog.text


@pytest.mark.parametrize("strict", ["0", "1"])
async def test_the_old_names_follow_the_strict_switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strict: str) -> None:
    monkeypatch.setenv(STRICT, strict)
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    def reads(context: Any) -> Any:
        try:
            return shown(context.get_input(expected_type=Order))
        except TypeError as error:
            return str(error)

    async with run_task_hub(tmp_path / "hub.db", app) as hub:
        output = (await hub.client.wait_for_completion(await hub.client.start("reads", {"amount": 1}))).output

    assert ("is not compatible with expected type" in output) is (strict == "1")


def told_by_the_worker(call: Any) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    raise AssertionError("The worker's converter took it.")


async def test_activities_of_the_old_names_fail_as_in_the_functions_worker(tmp_path: Path) -> None:
    text = json.dumps(UNKNOWN_CLASS)
    converter = worker_converters.ActivityTriggerConverter
    unreadable = told_by_the_worker(lambda: converter.decode(Datum(text, "string"), trigger_metadata=None))
    unstorable = told_by_the_worker(lambda: converter.encode({1}, expected_type=None))

    failures = await run_one(df, tmp_path, "meets_failures")

    assert [failure.splitlines()[0].rstrip() for failure in failures] == [
        f"Activity function 'any_of' failed:  ValueError: {unreadable}",
        f"Activity function 'cannot_be_stored' failed:  ValueError: {unstorable}",
    ]


async def test_an_input_whose_class_is_unknown_fails_the_activity_of_the_new_name(tmp_path: Path) -> None:
    failures = await run_one(durable_ext, tmp_path, "meets_failures")

    assert "class 'Nobody' not found in module" in failures[0]
    assert "The return value of activity 'cannot_be_stored' is a set, which JSON cannot hold" in failures[1]


class Till(durable_ext.EntityBase):
    last: Optional[Order] = None

    def put(self, order: Order) -> str:
        before, self.last = self.last, order
        return f"{shown(before)} {shown(order)}"


async def test_an_entity_class_keeps_its_types_and_results_under_the_old_names(tmp_path: Path) -> None:
    app = df.DFApp()
    app.entity_trigger(context_name="context", entity_name="Till")(Till)

    @app.orchestration_trigger(context_name="context")
    def puts(context: Any) -> Any:
        till = df.EntityId("Till", "k")
        yield context.call_entity(till, "put", {"amount": 1})
        return (yield context.call_entity(till, "put", {"amount": 2}))

    async with run_task_hub(tmp_path / "hub.db", app) as hub:
        output = (await hub.client.wait_for_completion(await hub.client.start("puts"))).output

    assert output == "Order:{'amount': 1} Order:{'amount': 2}"
