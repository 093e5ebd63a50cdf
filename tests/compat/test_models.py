"""Values of the old package: JSON, properties, validation (specs/sdk.md 2.12 - 2.21)."""

from __future__ import annotations

import json
from collections.abc import Generator
from datetime import date, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import azure.durable_functions as df
import pytest
from azure.durable_functions.entity import Entity, InternalEntityException
from azure.durable_functions.models import (
    DurableEntityContext,
    DurableHttpRequest,
    DurableOrchestrationBindings,
    DurableOrchestrationContext,
    OrchestrationRuntimeStatus,
    OrchestratorState,
    RetryOptions,
)
from azure.durable_functions.models.actions import CallActivityAction
from azure.durable_functions.models.actions.Action import Action
from azure.durable_functions.models.actions.ActionType import ActionType
from azure.durable_functions.models.actions.CallActivityWithRetryAction import CallActivityWithRetryAction
from azure.durable_functions.models.actions.CallEntityAction import CallEntityAction
from azure.durable_functions.models.actions.CallHttpAction import CallHttpAction
from azure.durable_functions.models.actions.CallSubOrchestratorAction import CallSubOrchestratorAction
from azure.durable_functions.models.actions.CallSubOrchestratorWithRetryAction import CallSubOrchestratorWithRetryAction
from azure.durable_functions.models.actions.ContinueAsNewAction import ContinueAsNewAction
from azure.durable_functions.models.actions.CreateTimerAction import CreateTimerAction
from azure.durable_functions.models.actions.NoOpAction import NoOpAction
from azure.durable_functions.models.actions.SignalEntityAction import SignalEntityAction
from azure.durable_functions.models.actions.WaitForExternalEventAction import WaitForExternalEventAction
from azure.durable_functions.models.actions.WhenAllAction import WhenAllAction
from azure.durable_functions.models.actions.WhenAnyAction import WhenAnyAction
from azure.durable_functions.models.entities.EntityState import EntityState, OperationResult
from azure.durable_functions.models.entities.RequestMessage import RequestMessage
from azure.durable_functions.models.entities.ResponseMessage import ResponseMessage
from azure.durable_functions.models.history import HistoryEventType
from azure.durable_functions.models.history.HistoryEvent import HistoryEvent
from azure.durable_functions.models.ReplaySchema import ReplaySchema
from azure.durable_functions.models.RpcManagementOptions import RpcManagementOptions
from azure.durable_functions.models.TokenSource import ManagedIdentityTokenSource
from azure.durable_functions.models.utils.json_utils import (
    add_attrib,
    add_datetime_attrib,
    add_json_attrib,
    parse_timespan_attrib,
)
from azure.durable_functions.models.utils.type_discovery import activity_output_type
from azure.durable_functions.orchestrator import Orchestrator
from azure.durable_functions.testing import orchestrator_generator_wrapper
from support.request_builder import RequestBuilder

COUNTER = df.EntityId("Counter", "Eu")
RETRY = RetryOptions(5000, 3)
RETRY_JSON = {"firstRetryIntervalInMilliseconds": 5000, "maxNumberOfAttempts": 3}


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (CallActivityAction("A", {"x": 1}), {"actionType": 0, "functionName": "A", "input": '{"x": 1}'}),
        (
            CallActivityWithRetryAction("A", RETRY, "x"),
            {"actionType": 1, "functionName": "A", "input": '"x"', "retryOptions": RETRY_JSON},
        ),
        (
            CallSubOrchestratorAction("S", None, "id"),
            {"actionType": 2, "functionName": "S", "input": "null", "instanceId": "id", "version": None},
        ),
        (
            CallSubOrchestratorWithRetryAction("S", RETRY, 1, None, "2"),
            {
                "actionType": 3,
                "functionName": "S",
                "input": "1",
                "retryOptions": RETRY_JSON,
                "instanceId": None,
                "version": "2",
            },
        ),
        (ContinueAsNewAction([1]), {"actionType": 4, "input": "[1]"}),
        (
            CreateTimerAction(datetime(2024, 5, 6, 7, 8, 9, 10)),
            {"actionType": 5, "fireAt": "2024-05-06T07:08:09.000010Z", "isCanceled": False},
        ),
        (
            CreateTimerAction(date(2024, 5, 6), is_cancelled=True),
            {"actionType": 5, "fireAt": "2024-05-06T00:00:00.000000Z", "isCanceled": True},
        ),
        (
            WaitForExternalEventAction("Go"),
            {"actionType": 6, "externalEventName": "Go", "reason": "ExternalEvent"},
        ),
        (
            CallEntityAction(COUNTER, "add", 1),
            {"actionType": 7, "instanceId": "@counter@Eu", "operation": "add", "input": "1"},
        ),
        (
            SignalEntityAction(COUNTER, "add"),
            {"actionType": 9, "instanceId": "@counter@Eu", "operation": "add", "input": "null"},
        ),
        (
            CallHttpAction(DurableHttpRequest("GET", "http://x", token_source=ManagedIdentityTokenSource("r"))),
            {
                "actionType": 8,
                "httpRequest": {
                    "method": "GET",
                    "uri": "http://x",
                    "content": None,
                    "headers": None,
                    "tokenSource": {"resource": "r", "kind": "AzureManagedIdentity"},
                },
            },
        ),
        (
            WhenAnyAction([WaitForExternalEventAction("A"), WhenAllAction([])]),
            {
                "actionType": 11,
                "compoundActions": [
                    {"actionType": 6, "externalEventName": "A", "reason": "ExternalEvent"},
                    {"actionType": 12, "compoundActions": []},
                ],
            },
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Action) else "",
)
def test_an_action_has_its_json_with_keys_in_order(action: Any, expected: dict[str, Any]) -> None:
    assert json.dumps(action.to_json()) == json.dumps(expected)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: CallActivityAction(""), "function_name cannot be empty"),
        (lambda: CallSubOrchestratorAction(None), "function_name cannot be empty"),  # type: ignore[arg-type]
        (lambda: WaitForExternalEventAction(""), "external_event_name cannot be empty"),
        (lambda: CallEntityAction(None, "op"), "entity_id cannot be empty"),  # type: ignore[arg-type]
        (lambda: SignalEntityAction(None, "op"), "entity_id cannot be empty"),  # type: ignore[arg-type]
    ],
)
def test_an_action_without_its_name_is_refused(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


def test_a_timer_needs_a_date() -> None:
    with pytest.raises(ValueError, match="fireAt: Expected valid datetime object but got") as refused:
        CreateTimerAction("tomorrow")  # type: ignore[arg-type]

    assert refused.value.args[1] == "tomorrow"


def test_event_waits_are_equal_by_name() -> None:
    assert WaitForExternalEventAction("A") == WaitForExternalEventAction("A")
    assert WaitForExternalEventAction("A") != WaitForExternalEventAction("B")
    with pytest.raises(TypeError):
        hash(WaitForExternalEventAction("A"))


def test_a_placeholder_has_no_type_and_no_json() -> None:
    with pytest.raises(Exception, match="internal NoOp"):
        NoOpAction().to_json()


def test_an_empty_state_has_the_text_of_1x() -> None:
    state = OrchestratorState(is_done=False, actions=[], output=None, replay_schema=0)  # type: ignore[arg-type]

    assert state.to_json_string() == '{"isDone": false, "actions": []}'


def test_a_state_has_its_keys_in_order() -> None:
    state = OrchestratorState(
        is_done=True,
        actions=[[CallActivityAction("A")]],
        output={"a": 1},
        replay_schema=ReplaySchema.V3,
        error="bad",
        custom_status="half",
    )

    assert state.to_json_string() == (
        '{"isDone": true, "schemaVersion": 2, "actions": [[{"actionType": 0, "functionName": "A", "input": "null"}]], '
        '"output": {"a": 1}, "error": "bad", "customStatus": "half"}'
    )


def test_expected_states_are_built_by_mutation() -> None:
    state = OrchestratorState(is_done=False, actions=[], output=None, replay_schema=ReplaySchema.V1)
    state.actions.append([CallActivityAction("A")])
    state._is_done, state._output, state._error, state._custom_status = True, "x", "e", 1

    assert list(state.to_json()) == ["isDone", "actions", "output", "error", "customStatus"]


def test_an_entity_state_has_the_hosts_form() -> None:
    state = EntityState(results=[], signals=[])
    state.state = 5
    state.entity_exists = True
    state._results.append(OperationResult(False, 1, 2, {"a": 3}))

    assert state.to_json_string() == (
        '{"entityExists": true, "entityState": "5", "results": [{"isError": false, "duration": 1, "startTime": 2, '
        '"result": "{\\"a\\": 3}"}], "signals": []}'
    )


def test_a_raw_entity_state_is_written_as_it_is() -> None:
    assert EntityState([], [], True, '{"a":  1}', state_is_raw=True).to_json()["entityState"] == '{"a":  1}'


def test_messages_of_entities_are_read() -> None:
    request = RequestMessage.from_json('{"id": "r1", "op": "add", "input": "1", "signal": true}')
    timeout = ResponseMessage("Timeout value of 00:05:00 exceeded")

    assert (request.id, request.signal) == ("r1", True)
    assert ResponseMessage.from_dict({"result": "1"}).is_exception is False
    assert ResponseMessage.from_dict({"result": '"x"', "exceptionType": "Error"}).is_exception is True
    assert (timeout.is_exception, timeout.result) == (True, '"Timeout value of 00:05:00 exceeded"')


def test_the_schemas_and_types_have_their_numbers() -> None:
    assert [schema.value for schema in ReplaySchema] == [0, 1, 2]
    assert ActionType.WHEN_ALL == 12
    assert HistoryEventType.EVENT_RAISED == 15


def test_a_history_event_has_its_attributes() -> None:
    event = HistoryEvent(5, 1, False, "2024-05-06T07:08:09.1234567Z", TaskScheduledId=3, Result="1")
    event.FireAt = "later"  # type: ignore[attr-defined]

    assert (event.event_type, event.event_id, event.is_played) == (5, 1, False)
    assert event.timestamp == datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=timezone.utc)
    assert (event.TaskScheduledId, event.Result, event.Name) == (3, "1", None)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        event.TimerId  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"instance_id": "i1"}, "instances/i1"),
        ({"instance_id": "i1", "show_history": True, "show_input": True}, "instances/i1?showInput=True&showHistory=True"),
        ({"instance_id": "i1", "instance_id_prefix": "i"}, "instances/i1"),
        (
            {
                "created_time_from": datetime(2020, 1, 1),
                "runtime_status": [OrchestrationRuntimeStatus.Running, OrchestrationRuntimeStatus.Failed],
                "instance_id_prefix": "i",
            },
            "instances/?createdTimeFrom=2020-01-01T00:00:00.000000Z&instanceIdPrefix=i&runtimeStatus=Running,Failed",
        ),
        (
            {"entity_Id": COUNTER, "operation_name": "add", "task_hub_name": "H", "connection_name": "C"},
            "entities/Counter/Eu?taskHub=H&connectionName=C&op=add",
        ),
    ],
)
def test_management_options_become_urls(options: dict[str, Any], expected: str) -> None:
    assert RpcManagementOptions(**options).to_url("http://x/") == f"http://x/{expected}"


def test_management_options_need_a_base() -> None:
    with pytest.raises(ValueError, match="orchestration bindings has not RPC base url"):
        RpcManagementOptions(instance_id="i1").to_url(None)


def test_a_client_binding_is_parsed() -> None:
    text = json.dumps(
        {"taskHubName": "H", "creationUrls": {"a": "b"}, "managementUrls": {"id": "X"}, "baseUrl": "http://x", "new": 1}
    )

    binding = DurableOrchestrationBindings.from_json(text)

    assert (binding.task_hub_name, binding.creation_urls, binding.management_urls) == ("H", {"a": "b"}, {"id": "X"})
    assert binding.rpc_base_url is None
    assert (binding.client_data.baseUrl, binding.client_data.new) == ("http://x", 1)


def test_the_rpc_base_of_a_client_can_be_set() -> None:
    text = json.dumps({"taskHubName": "H", "creationUrls": {}, "managementUrls": {"id": "X"}})
    client: Any = df.DurableOrchestrationClient(text)

    client._orchestration_bindings._rpc_base_url = "http://x/"

    assert client._get_start_new_url("i1", "Hello", "1.0") == "http://x/orchestrators/Hello/i1?version=1.0"
    assert client._get_raise_event_url("i1", "Go", None, None) == "http://x/instances/i1/raiseEvent/Go"
    assert client._get_json_input({"a": 1}) == '{"a": 1}'


def test_attributes_are_copied_into_dictionaries() -> None:
    source = SimpleNamespace(a=1, at=datetime(2024, 5, 6), inner=RETRY, none=None)
    target: dict[str, Any] = {}

    add_attrib(target, source, "a", "A")
    add_attrib(target, source, "missing")
    add_datetime_attrib(target, source, "at")
    add_json_attrib(target, source, "inner")
    add_json_attrib(target, source, "none")

    assert target == {"A": 1, "at": "2024-05-06T00:00:00.000000Z", "inner": RETRY_JSON}


def test_time_spans_are_read() -> None:
    assert parse_timespan_attrib("6.00:00:00") == timedelta(days=6)
    with pytest.raises(Exception, match="Format of TimeSpan failed attempted conversion to timedelta: soon"):
        parse_timespan_attrib("soon")


def test_result_types_are_discovered() -> None:
    bp = df.Blueprint()

    @bp.activity_trigger(input_name="x")
    def typed(x: str) -> int:
        return 1

    @bp.activity_trigger(input_name="x")
    def optional(x: str) -> int | None:
        return 1

    assert activity_output_type(typed) is int
    assert activity_output_type(optional) is None
    assert activity_output_type("name") is None


# The engine behind the old names.


def _chain(context: Any) -> Generator[Any, Any, Any]:
    first = yield context.call_activity("A", 1)
    return [first, context.get_input()]


def test_an_orchestrator_replays_a_request() -> None:
    context = DurableOrchestrationContext.from_json(RequestBuilder(input='"in"').text())
    orchestrator = Orchestrator(_chain)

    state = json.loads(orchestrator.handle(context))

    assert state["actions"] == [[{"actionType": 0, "functionName": "A", "input": "1"}]]
    assert orchestrator.durable_context is context


def test_a_registered_orchestrator_takes_the_json_and_hands_on_the_old_context() -> None:
    seen: list[Any] = []
    app = df.DFApp()

    def look(context: Any) -> Any:
        seen.append(context)
        return context.get_input()

    builder: Any = app.orchestration_trigger(context_name="context")(look)
    state = json.loads(builder._function._func(RequestBuilder(input='"in"').text()))

    assert state["output"] == "in"
    assert isinstance(seen[0], df.DurableOrchestrationContext)


def test_a_context_takes_further_attributes() -> None:
    context: Any = DurableOrchestrationContext.from_json(RequestBuilder().text())
    context.anything = 1
    context._input_expected_type = int

    assert (context.anything, context._input_expected_type) == (1, int)
    assert context._replay_schema is ReplaySchema.V3


def test_an_entity_runs_a_batch() -> None:
    def counter(context: df.DurableEntityContext) -> None:
        context.set_state(context.get_state(lambda: 0) + context.get_input())
        context.set_result("done")

    request = {
        "self": {"name": "counter", "key": "eu"},
        "exists": True,
        "state": "2",
        "batch": [{"name": "add", "input": '"3"', "isSignal": True}],
    }

    answer = json.loads(Entity.create(counter)(json.dumps(request)))

    assert (answer["entityExists"], answer["entityState"], answer["results"][0]["result"]) == (True, "5", '"done"')


def test_an_operation_without_name_is_an_internal_error() -> None:
    context, _ = DurableEntityContext.from_json(
        '{"self": {"name": "a", "key": "b"}, "exists": false, "state": null, "batch": []}'
    )

    with pytest.raises(InternalEntityException, match="Entity operation was missing a name field"):
        Entity(lambda context: None).handle(context, [{"name": None, "input": None}])


# orchestrator_generator_wrapper


def _task(result: Any) -> Any:
    return SimpleNamespace(result=result)


def test_the_wrapper_answers_tasks_and_ends_with_the_output() -> None:
    first, second = _task(1), _task(2)

    def orchestrator() -> Generator[Any, Any, Any]:
        return [(yield first), (yield second)]

    assert list(orchestrator_generator_wrapper(orchestrator())) == [first, second, [1, 2]]


def test_the_wrapper_throws_what_a_result_raises() -> None:
    class Failing:
        @property
        def result(self) -> Any:
            raise ValueError("broken")

    def orchestrator() -> Generator[Any, Any, Any]:
        try:
            yield Failing()
        except ValueError as error:
            return str(error)

    assert list(orchestrator_generator_wrapper(orchestrator()))[-1] == "broken"


def test_the_wrapper_takes_an_orchestrator_that_never_yields() -> None:
    def orchestrator() -> Generator[Any, Any, Any]:
        return "at once"
        yield

    assert list(orchestrator_generator_wrapper(orchestrator())) == ["at once"]
