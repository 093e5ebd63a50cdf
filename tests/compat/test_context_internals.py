"""What tests of apps look at in a context and an executor after a replay (specs/sdk.md 1.5, 2.4)."""

from __future__ import annotations

import json
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import azure.durable_functions as df
import pytest
from azure.durable_functions.models import DurableOrchestrationContext
from azure.durable_functions.models.actions import CallActivityAction, WhenAllAction
from azure.durable_functions.models.ReplaySchema import ReplaySchema
from azure.durable_functions.models.TaskOrchestrationExecutor import TaskOrchestrationExecutor
from support.request_builder import RequestBuilder


def every_call(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
    entity, retry = df.EntityId("Counter", "k"), df.RetryOptions(5, 2)
    context.signal_entity(entity, "add", 1)
    yield context.task_all(
        [
            context.call_activity("A", {"a": 1}),
            context.call_activity_with_retry("B", retry, "b"),
            context.call_sub_orchestrator("C", 3, "child", "v1"),
            context.call_sub_orchestrator_with_retry("D", retry, [4]),
            context.call_http("GET", "http://x/", token_source=df.ManagedIdentityTokenSource("r")),
            context.call_entity(entity, "get"),
            context.wait_for_external_event("Go"),
            context.task_any([context.create_timer(context.current_utc_datetime + timedelta(hours=1))]),
        ]
    )


def _replayed(schema: int, fn: Any = every_call, **members: Any) -> tuple[df.Orchestrator, DurableOrchestrationContext]:
    orchestrator = df.Orchestrator(fn)
    context = DurableOrchestrationContext.from_json(RequestBuilder(schema=schema, **members).text())
    orchestrator.handle(context)
    return orchestrator, context


@pytest.mark.parametrize("schema", [1, 2])
def test_the_actions_of_newer_schemas_are_one_list(schema: int) -> None:
    _, context = _replayed(schema)

    signal, compound = context._action_payload_v2

    assert context._action_payload_v1 == []
    assert signal.to_json()["operation"] == "add"
    assert isinstance(compound, WhenAllAction)
    assert compound.compound_tasks[0].action_type == 0
    assert len(context._actions) == 1


def test_the_actions_of_the_first_schema_are_a_list_for_each_yield() -> None:
    _, context = _replayed(0)

    signal, rest = context._action_payload_v1

    assert context._action_payload_v2 == []
    assert len(signal) == 1
    assert isinstance(rest[0], CallActivityAction)
    assert [action.action_type for action in rest] == [0, 1, 2, 3, 8, 7, 6, 5]


def test_actions_have_the_json_that_the_host_gets() -> None:
    orchestrator, context = _replayed(0)

    state = json.loads(df.Orchestrator.create(every_call)(RequestBuilder(schema=0).text()))

    assert [[action.to_json() for action in group] for group in context._actions] == state["actions"]
    assert orchestrator.durable_context is context


def test_open_tasks_are_known_by_id_or_name() -> None:
    _, context = _replayed(2)

    assert {1, 2, 3, 4, 5, "Go"} <= set(context.open_tasks)
    assert [wait.name for wait in context.open_tasks["Go"]] == ["Go"]


def test_counters_and_flags_are_there() -> None:
    def counts(context: df.DurableOrchestrationContext) -> Any:
        context.new_uuid()
        context.continue_as_new(1)

    _, context = _replayed(2, counts)

    assert (context._new_uuid_counter, context._continue_as_new_flag, context._sequence_number) == (1, True, 1)
    assert context.decision_started_event.event_type == 12
    assert '"EventType": 12' in context._pretty_print_history()


def test_an_executor_remembers_its_last_run() -> None:
    executor = TaskOrchestrationExecutor()
    context = DurableOrchestrationContext.from_json(RequestBuilder(input='"x"').text())

    executor.execute(context, context.histories, lambda given: given.get_input())

    assert (executor.output, executor.exception, executor.context) == ("x", None, context)
    assert executor.has_execution_completed
    assert executor.orchestration_invocation_succeeded


def test_an_executor_remembers_why_it_failed() -> None:
    def fails(context: df.DurableOrchestrationContext) -> Any:
        raise ValueError("why")

    executor = TaskOrchestrationExecutor()
    context = DurableOrchestrationContext.from_json(RequestBuilder().text())

    with pytest.raises(Exception, match="why"):
        executor.execute(context, context.histories, fails)

    assert isinstance(executor.exception, ValueError)
    assert not executor.orchestration_invocation_succeeded


def test_names_of_functions_are_resolved_for_a_trigger() -> None:
    from azure.durable_functions.decorators.metadata import ActivityTrigger, OrchestrationTrigger

    app = df.DFApp()

    @app.activity_trigger(input_name="x")
    def work(x: str) -> str:
        return x

    assert DurableOrchestrationContext._get_function_name(work, ActivityTrigger) == "work"
    with pytest.raises(ValueError, match="Received function with Trigger-type `activityTrigger` but expected"):
        DurableOrchestrationContext._get_function_name(work, OrchestrationTrigger)


def test_the_schema_is_that_of_the_request() -> None:
    assert _replayed(1)[1]._replay_schema is ReplaySchema.V2
