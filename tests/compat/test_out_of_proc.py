"""The JSON protocol beyond the recordings: schemas, compounds, identity of texts (specs/sdk.md 4, 5)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from azure.functions import EntityContext
from support.request_builder import RequestBuilder

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.retry import RetryOptions
from durable_ext.errors import LockingRulesError
from durable_ext.sdk.history_event import HistoryEvent
from durable_ext.sdk.out_of_proc import Entity, Orchestrator
from durable_ext.sdk.out_of_proc_context import OutOfProcContext, parse_timespan
from durable_ext.sdk.out_of_proc_entity import InternalEntityError, OutOfProcEntityContext

DURATIONS = {"maximumShortTimerDuration": "6.00:00:00", "longRunningTimerIntervalDuration": "3.00:00:00"}


def answer(function: Callable[[Any], Any], request: RequestBuilder) -> str:
    return Orchestrator.create(function)(request.text())


def actions(function: Callable[[Any], Any], request: RequestBuilder) -> Any:
    return json.loads(answer(function, request))["actions"]


def activity(name: str, value: Any = None) -> dict[str, Any]:
    return {"actionType": 0, "functionName": name, "input": json.dumps(value)}


# Worked example of specs/sdk.md 5.5.


def approve(context: Any) -> Any:
    context.set_custom_status("waiting")
    event = context.wait_for_external_event("Approval")
    timer = context.create_timer(context.current_utc_datetime + timedelta(hours=1))
    winner = yield context.task_any([event, timer])
    if winner is event:
        timer.cancel()
    receipt = yield context.call_activity("charge_card", context.get_input())
    return {"ok": event.result, "receipt": receipt}


EVENT = '{"actionType": 6, "externalEventName": "Approval", "reason": "ExternalEvent"}'
TIMER = '{"actionType": 5, "fireAt": "2025-03-01T09:00:00.123456Z", "isCanceled": %s}'


def approval() -> RequestBuilder:
    return RequestBuilder(input='{"amount": 40}', **DURATIONS)


def test_the_first_episode_of_the_worked_example() -> None:
    assert answer(approve, approval()) == (
        '{"isDone": false, "schemaVersion": 2, "actions": [[{"actionType": 11, "compoundActions": ['
        + EVENT
        + ", "
        + TIMER % "false"
        + ']}]], "customStatus": "waiting"}'
    )


def test_a_timer_that_is_cancelled_later_changes_the_action_already_emitted() -> None:
    request = approval().event(10, 0).episode().raised("Approval", True)

    assert TIMER % "true" in answer(approve, request)
    assert actions(approve, request)[0][1] == activity("charge_card", {"amount": 40})


def test_the_last_episode_of_the_worked_example() -> None:
    request = approval().event(10, 0).episode().raised("Approval", True).event(4, 1).episode().completed(1, "R-9")

    assert answer(approve, request).endswith('"output": {"ok": true, "receipt": "R-9"}, "customStatus": "waiting"}')


def test_an_uncaught_failure_carries_the_state_behind_the_marker() -> None:
    request = approval().event(10, 0).episode().raised("Approval", True).event(4, 1).episode()
    request.failed(1, "Activity function 'charge_card' failed: declined", "{}")

    with pytest.raises(Exception, match="declined") as caught:
        answer(approve, request)

    text, state = str(caught.value).split("\n\n$OutOfProcData$:")
    assert text == "Activity function 'charge_card' failed: declined \n {}"
    assert state.startswith('{"isDone": false, "schemaVersion": 2, "actions": [[')
    assert state.endswith('"error": "Activity function \'charge_card\' failed: declined \\n {}", "customStatus": "waiting"}')


# Schemas.


def fan_out_then_one(context: Any) -> Any:
    yield context.task_all([context.call_activity("A", 1), context.call_activity("B", 2)])
    yield context.call_activity("C")


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (None, '{"isDone": false, "actions": [[%s, %s], [%s]]}'),
        (0, '{"isDone": false, "actions": [[%s, %s], [%s]]}'),
        (1, '{"isDone": false, "schemaVersion": 1, "actions": [[{"actionType": 12, "compoundActions": [%s, %s]}, %s]]}'),
        (2, '{"isDone": false, "schemaVersion": 2, "actions": [[{"actionType": 12, "compoundActions": [%s, %s]}, %s]]}'),
        (7, '{"isDone": false, "schemaVersion": 2, "actions": [[{"actionType": 12, "compoundActions": [%s, %s]}, %s]]}'),
    ],
)
def test_each_schema_has_its_own_form_of_actions(schema: int | None, expected: str) -> None:
    request = RequestBuilder(schema=schema).event(4, 0).event(4, 1).episode().completed(0).completed(1)

    texts = tuple(json.dumps(activity(name, value)) for name, value in (("A", 1), ("B", 2), ("C", None)))
    assert answer(fan_out_then_one, request) == expected % texts


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (0, '{"isDone": true, "actions": [], "output": 5}'),
        (1, '{"isDone": true, "schemaVersion": 1, "actions": [[]], "output": 5}'),
    ],
)
def test_without_actions_v1_has_no_inner_array_and_v2_one(schema: int, expected: str) -> None:
    assert answer(lambda context: 5, RequestBuilder(schema=schema)) == expected


def test_a_schema_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="3 is not a valid ReplaySchema"):
        OutOfProcContext([], "i", False, None, upperSchemaVersion=3)


def retried(context: Any) -> Any:
    yield context.call_activity_with_retry("A", RetryOptions(1000, 3), 5)


RETRY = {
    "actionType": 1,
    "functionName": "A",
    "input": "5",
    "retryOptions": {"firstRetryIntervalInMilliseconds": 1000, "maxNumberOfAttempts": 3},
}


@pytest.mark.parametrize(("schema", "expected"), [(0, RETRY), (1, {"actionType": 12, "compoundActions": [RETRY]})])
def test_a_retry_is_wrapped_from_schema_v2_on(schema: int, expected: object) -> None:
    assert actions(retried, RequestBuilder(schema=schema)) == [[expected]]


def test_further_attempts_emit_no_actions() -> None:
    request = RequestBuilder().event(4, 0).episode().failed(0).event(10, 1).episode().fired(1)

    assert actions(retried, request) == [[{"actionType": 12, "compoundActions": [RETRY]}]]


def test_a_retried_sub_orchestration_names_instance_and_version_last() -> None:
    def function(context: Any) -> Any:
        yield context.call_sub_orchestrator_with_retry("C", RetryOptions(5, 2), 1, "child", "v")

    assert (
        '{"actionType": 3, "functionName": "C", "input": "1", "retryOptions": {"firstRetryIntervalInMilliseconds": 5, '
        '"maxNumberOfAttempts": 2}, "instanceId": "child", "version": "v"}'
    ) in answer(function, RequestBuilder())


# Compounds.


def test_compounds_nest() -> None:
    def function(context: Any) -> Any:
        both = context.task_all([context.call_activity("A"), context.call_activity("B")])
        yield context.task_any([both, context.wait_for_external_event("E")])

    inner = {"actionType": 12, "compoundActions": [activity("A"), activity("B")]}
    event = {"actionType": 6, "externalEventName": "E", "reason": "ExternalEvent"}
    assert actions(function, RequestBuilder()) == [[{"actionType": 11, "compoundActions": [inner, event]}]]
    assert actions(function, RequestBuilder(schema=0)) == [[activity("A"), activity("B"), event]]


def shrinking(context: Any) -> Any:
    tasks = [context.call_activity(name) for name in "ABC"]
    while tasks:
        winner = yield context.task_any(tasks)
        tasks.remove(winner)
    return "done"


def test_a_shrinking_task_any_adds_no_actions() -> None:
    request = RequestBuilder().event(4, 0).event(4, 1).event(4, 2).episode().completed(1).completed(0).completed(2)

    state = json.loads(answer(shrinking, request))

    assert state["output"] == "done"
    assert state["actions"] == [[{"actionType": 11, "compoundActions": [activity(name) for name in "ABC"]}]]


def test_a_compound_of_old_and_new_tasks_holds_the_new_ones_only() -> None:
    def function(context: Any) -> Any:
        old = context.call_activity("A")
        yield context.task_any([old, context.call_activity("B")])
        yield context.task_all([old, context.call_activity("C")])

    request = RequestBuilder().event(4, 0).event(4, 1).episode().completed(1)

    assert actions(function, request)[0][1] == {"actionType": 12, "compoundActions": [activity("C")]}


def test_schema_v1_emits_old_tasks_again_when_new_ones_are_with_them() -> None:
    def function(context: Any) -> Any:
        old = context.call_activity("A")
        yield context.task_any([old, context.call_activity("B")])
        yield context.task_all([old, context.call_activity("C")])

    request = RequestBuilder(schema=0).event(4, 0).event(4, 1).episode().completed(1)

    assert actions(function, request) == [[activity("A"), activity("B")], [activity("A"), activity("C")]]


def test_a_compound_keeps_the_shape_it_was_made_with() -> None:
    def function(context: Any) -> Any:
        one, two = context.call_activity("A"), context.call_activity("B")
        both = context.task_all([one, two])
        yield one
        yield both

    request = RequestBuilder().event(4, 0).episode().completed(0)

    assert actions(function, request) == [
        [activity("A"), {"actionType": 12, "compoundActions": [activity("A"), activity("B")]}]
    ]


def test_an_http_call_with_polling_is_one_action() -> None:
    def function(context: Any) -> Any:
        yield context.call_http("GET", "http://x/", enable_polling=True)

    request = actions(function, RequestBuilder())[0][0]["httpRequest"]
    assert request["asynchronousPatternEnabled"] is True


def test_a_history_event_has_the_attributes_of_1x() -> None:
    event = HistoryEvent(5, -1, True, "2025-03-01T08:00:00.1234567Z", TaskScheduledId=3, Result="1")

    event.is_processed = True

    assert (event.event_type, event.event_id, event.is_played, event.is_processed) == (5, -1, True, True)
    assert (event.TaskScheduledId, event.Result, event.Name) == (3, "1", None)


def test_a_context_is_run_with_a_function() -> None:
    context = OutOfProcContext.from_json(RequestBuilder().text().encode())

    assert Orchestrator(lambda each: each is context).handle(context).endswith('"output": true}')


def test_a_compound_of_nothing_is_no_action_and_none() -> None:
    def function(context: Any) -> Any:
        first = yield context.task_all([])
        second = yield context.task_any([])
        return [first, second]

    assert answer(function, RequestBuilder()) == (
        '{"isDone": true, "schemaVersion": 2, "actions": [[]], "output": [null, null]}'
    )


# Timers.


def long_timer(context: Any) -> Any:
    return (yield context.create_timer(context.current_utc_datetime + timedelta(days=20)))


def test_a_long_timer_hops_at_top_level_and_ends_with_a_list_of_none() -> None:
    request = RequestBuilder(**DURATIONS)
    hops = 0
    while "output" not in answer(long_timer, request):
        request.event(10, hops).event(13)
        day = (3, 6, 9, 12, 15, 20)[hops]
        at = (datetime(2025, 3, 1, 8, tzinfo=timezone.utc) + timedelta(days=day, seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        request.history.append({"EventType": 12, "EventId": -1, "IsPlayed": False, "Timestamp": at})
        request.fired(hops)
        hops += 1

    state = json.loads(answer(long_timer, request))
    assert hops == 6
    assert state["output"] == [None]
    assert [action["actionType"] for action in state["actions"][0]] == [12, 5, 5, 5, 5, 5]


def test_a_long_timer_is_an_ordinary_one_without_durations() -> None:
    assert actions(long_timer, RequestBuilder())[0][0]["fireAt"] == "2025-03-21T08:00:00.123456Z"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6.00:00:00", 518400.0), ("-1.02:03:04.5000000", -93784.5), ("00:00:00.0000019", 0.000001)],
)
def test_durations_are_read_as_dotnet_writes_them(text: str, seconds: float) -> None:
    span = parse_timespan(text)

    assert span is not None
    assert span.total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "1", "1:2:3", "00:00:00.5"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Format of TimeSpan failed attempted conversion to timedelta"):
        parse_timespan(text)


# Entities, HTTP, continue-as-new.


def test_signals_are_actions_at_once_in_the_order_of_the_code() -> None:
    def function(context: Any) -> Any:
        entity = EntityId("Counter", "k")
        context.signal_entity(entity, "add", 1)
        yield context.call_entity(entity, "get")

    assert answer(function, RequestBuilder()) == (
        '{"isDone": false, "schemaVersion": 2, "actions": [[{"actionType": 9, "instanceId": "@counter@k", "operation": '
        '"add", "input": "1"}, {"actionType": 7, "instanceId": "@counter@k", "operation": "get", "input": "null"}]]}'
    )


def test_a_signal_at_a_later_time_is_the_hosts_scheduled_signal() -> None:
    def function(context: Any) -> Any:
        at = context.current_utc_datetime + timedelta(hours=1)
        context.signal_entity(EntityId("Counter", "k"), "add", 1, signal_time=at)

    assert actions(function, RequestBuilder())[0] == [
        {
            "actionType": 10,
            "instanceId": "@counter@k",
            "operation": "add",
            "input": "1",
            "fireAt": "2025-03-01T09:00:00.123456Z",
        }
    ]


def test_an_entity_answers_under_the_id_that_history_recorded() -> None:
    def function(context: Any) -> Any:
        return (yield context.call_entity(EntityId("Counter", "k"), "get"))

    request = RequestBuilder().event(14, 0, InstanceId="@counter@k", Name="op", Input='{"op":"get","id":"the-guid"}')
    request.episode().event(15, Name="the-guid", Input='{"result":"19"}')

    assert json.loads(answer(function, request))["output"] == 19


def test_entity_locks_are_refused_with_the_way_out() -> None:
    def function(context: Any) -> Any:
        yield context.lock_entities([EntityId("Counter", "k")])

    with pytest.raises(Exception, match="DURABLE_EXT_HOSTING=native") as caught:
        answer(function, RequestBuilder())
    assert isinstance(caught.value.__cause__, LockingRulesError)


def test_an_http_call_has_the_request_inside_the_action() -> None:
    def function(context: Any) -> Any:
        yield context.call_http("GET", "http://x/", content="text")

    assert answer(function, RequestBuilder()) == (
        '{"isDone": false, "schemaVersion": 2, "actions": [[{"actionType": 8, "httpRequest": {"method": "GET", "uri": '
        '"http://x/", "content": "\\"text\\"", "headers": null}}]]}'
    )


def test_nothing_is_decided_after_continue_as_new() -> None:
    def function(context: Any) -> Any:
        context.continue_as_new({"n": 1})
        context.signal_entity(EntityId("Counter", "k"), "add", 1)
        yield context.call_activity("Late")

    assert answer(function, RequestBuilder()) == (
        '{"isDone": true, "schemaVersion": 2, "actions": [[{"actionType": 4, "input": "{\\"n\\": 1}"}]]}'
    )


def test_a_plain_function_may_continue_as_new() -> None:
    assert json.loads(answer(lambda context: context.continue_as_new(2), RequestBuilder()))["isDone"] is True


# What user code sees.


def test_the_deterministic_ids_are_those_of_1x() -> None:
    def function(context: Any) -> Any:
        return [context.new_uuid(), context.new_uuid(), str(context.new_guid()), str(context.new_guid())]

    request = RequestBuilder()
    request.history[0]["Timestamp"] = "2019-12-08T23:18:41.3240927Z"

    assert json.loads(answer(function, request))["output"] == [
        "26e2cc5f-aed2-5994-a5aa-aacadda6a49c",
        "def590ed-71fa-5a9c-81bc-0c49ce37261c",
        "ed885e7f-8fe7-5062-8e89-fa7cf3cdc322",
        "94cd5cea-0f68-50f4-8ebe-7aa3341dbb4d",
    ]


def test_replaying_is_false_only_behind_the_events_of_the_last_episode() -> None:
    flags: list[bool] = []

    def function(context: Any) -> Any:
        flags.append(context.is_replaying)
        yield context.call_activity("A")
        flags.append(context.is_replaying)
        yield context.call_activity("B")
        flags.append(context.is_replaying)

    answer(function, RequestBuilder().event(4, 0).episode().completed(0).event(4, 1).episode().completed(1))

    assert flags == [True, True, False]


def test_unknown_members_of_the_request_are_attributes_of_the_function_context() -> None:
    seen: list[Any] = []

    answer(seen.append, RequestBuilder(defaultHttpAsyncRequestSleepTimeMillseconds=30000, more="x"))

    context = seen[0]
    assert context.function_context.defaultHttpAsyncRequestSleepTimeMillseconds == 30000
    assert context.function_context.more == "x"


def test_history_version_and_parent_are_those_of_the_request() -> None:
    seen: list[Any] = []
    request = RequestBuilder(parentInstanceId="parent")
    request.history[1]["Version"] = "2.0"

    answer(seen.append, request)

    assert (seen[0].version, seen[0].parent_instance_id, seen[0].instance_id) == ("2.0", "parent", "abc123")
    assert [event.event_type for event in seen[0].histories] == [12, 0]
    assert seen[0].histories[1].Name == "Orchestrator"
    assert seen[0].histories[0].timestamp == datetime(2025, 3, 1, 8, 0, 0, 123456, timezone.utc)


def test_newer_and_suspension_events_are_passed_over() -> None:
    def function(context: Any) -> Any:
        return (yield context.call_activity("A"))

    request = RequestBuilder().event(4, 0).episode().event(19, Reason="r").event(21).event(99).completed(0, 5)

    assert json.loads(answer(function, request))["output"] == 5


@dataclass
class Order:
    item: str


def test_the_declared_input_type_decodes_the_input() -> None:
    handle = Orchestrator.create(lambda context: context.get_input().item)
    handle._df_input_type = Order  # type: ignore[attr-defined]

    assert json.loads(handle(RequestBuilder(input='{"item": "x"}').text()))["output"] == "x"


def test_an_async_orchestrator_runs_too() -> None:
    async def function(context: Any) -> Any:
        return await context.call_activity("A")

    request = RequestBuilder().event(4, 0).episode().completed(0, 5)

    assert json.loads(answer(function, request))["output"] == 5


def test_an_output_that_json_cannot_hold_fails_the_orchestration_with_the_text_of_json() -> None:
    with pytest.raises(Exception, match=r"^Object of type set is not JSON serializable\n") as caught:
        answer(lambda context: {1}, RequestBuilder())

    assert '"isDone": true' in str(caught.value)


def test_an_exception_without_text_is_named_by_its_class() -> None:
    def function(context: Any) -> Any:
        raise KeyboardError

    with pytest.raises(Exception, match=r"\$OutOfProcData\$") as caught:
        answer(function, RequestBuilder())

    state = json.loads(str(caught.value).split("$OutOfProcData$:")[1])
    assert state["error"] == str(KeyboardError)


class KeyboardError(Exception):
    pass


def test_a_history_that_is_too_short_is_refused() -> None:
    request = RequestBuilder()
    del request.history[1]

    with pytest.raises(ValueError, match="1 events"):
        answer(lambda context: 1, request)


def test_numbers_over_64_bits_keep_their_digits() -> None:
    request = RequestBuilder(input=[2**70])

    assert json.loads(answer(lambda context: context.get_input(), request))["output"] == [2**70]


def test_one_handle_serves_many_instances() -> None:
    handle = Orchestrator.create(lambda context: context.instance_id)

    assert [json.loads(handle(RequestBuilder(instance_id=name).text()))["output"] for name in "ab"] == ["a", "b"]


def test_the_users_function_stays_reachable() -> None:
    assert Orchestrator.create(approve).orchestrator_function is approve  # type: ignore[attr-defined]


# Entities.


def batch(*operations: dict[str, Any], exists: bool = False, state: str | None = None, **members: Any) -> str:
    target = {"name": "counter", "key": "k"}
    return json.dumps({"self": target, "exists": exists, "state": state, "batch": list(operations), **members})


def operation(name: str | None, text: str | None = None) -> dict[str, Any]:
    return {"name": name, "input": text, "isSignal": False}


def run(function: Callable[[Any], Any], *operations: dict[str, Any], **members: Any) -> Any:
    return json.loads(Entity.create(function)(EntityContext(batch(*operations, **members))))


def test_what_a_failed_operation_did_stays_and_the_batch_goes_on() -> None:
    def function(context: Any) -> None:
        context.set_state(context.operation_name)
        if context.operation_name == "bad":
            raise ValueError("text")
        context.set_result(1)

    response = run(function, operation("bad"), operation("good"))

    assert [(each["isError"], each["result"]) for each in response["results"]] == [(True, '"text"'), (False, "1")]
    assert response["entityState"] == '"good"'


def test_an_untouched_state_is_returned_verbatim() -> None:
    response = run(lambda context: None, operation("x"), exists=True, state='{"a":1}')

    assert (response["entityExists"], response["entityState"]) == (True, '{"a":1}')


def test_an_operation_without_a_name_gives_up_the_batch() -> None:
    with pytest.raises(InternalEntityError, match="Internal Error:Entity operation was missing a name field"):
        run(lambda context: None, operation(None))


def test_a_missing_input_member_fails_the_operation() -> None:
    response = run(lambda context: None, {"name": "x", "isSignal": True})

    assert response["results"][0]["result"] == "\"'input'\""


def test_results_do_not_leak_into_later_operations() -> None:
    def function(context: Any) -> None:
        if context.operation_name == "first":
            context.set_result(1)

    assert [each["result"] for each in run(function, operation("first"), operation("second"))["results"]] == ["1", "null"]


def test_what_the_function_returns_counts_if_it_set_no_result() -> None:
    assert run(lambda context: 7, operation("x"))["results"][0]["result"] == "7"


def test_an_async_entity_runs() -> None:
    async def function(context: Any) -> None:
        context.set_result(context.get_input())

    assert run(function, operation("x", '"5"'))["results"][0]["result"] == "5"


def test_signals_of_an_entity_are_sent_in_the_hosts_form() -> None:
    def function(context: Any) -> None:
        context.signal_entity(EntityId("Other", "x"), "add", 1)

    assert run(function, operation("x"))["signals"] == [
        {"target": {"name": "Other", "key": "x"}, "name": "add", "input": '"1"'}
    ]


def test_an_entity_cannot_start_orchestrations_under_the_extension() -> None:
    response = run(lambda context: context.start_new_orchestration("O"), operation("x"))

    assert "DURABLE_EXT_HOSTING=native" in response["results"][0]["result"]


def test_the_context_tells_entity_and_operation() -> None:
    seen: list[Any] = []

    def function(context: Any) -> None:
        seen.append((context.entity_id, context.entity_name, context.entity_key, context.operation_name))
        seen.append((context.is_signal, context.caller_instance_id, context.is_newly_constructed))
        context.set_state(1)

    run(function, operation("a"), {"name": "b", "input": None, "isSignal": True})

    assert seen == [
        (EntityId("counter", "k"), "counter", "k", "a"),
        (False, None, True),
        (EntityId("counter", "k"), "counter", "k", "b"),
        (True, None, False),
    ]


def test_an_initializer_makes_a_value_that_is_not_stored() -> None:
    response = run(lambda context: context.set_result(context.get_state(lambda: 7)), operation("x"))

    assert (response["entityState"], response["results"][0]["result"]) == ("null", "7")


def test_an_initializer_that_cannot_be_called_fails_the_operation() -> None:
    response = run(lambda context: context.get_state(5), operation("x"))

    assert response["results"][0]["result"] == '"initializer argument needs to be a callable function"'


def test_a_deleted_entity_has_the_text_null() -> None:
    response = run(lambda context: context.destruct_on_exit(), operation("x"), exists=True, state="5")

    assert (response["entityExists"], response["entityState"]) == (False, "null")


def test_a_signal_at_a_later_time_is_refused_in_an_entity() -> None:
    at = datetime(2030, 1, 1, tzinfo=timezone.utc)
    response = run(lambda context: context.signal_entity(EntityId("Other", "x"), "add", signal_time=at), operation("x"))

    assert "DURABLE_EXT_HOSTING=native" in response["results"][0]["result"]


def test_members_of_the_request_that_are_newer_are_ignored() -> None:
    assert run(lambda context: None, operation("x"), newer=1)["signals"] == []


def test_there_is_no_operation_name_outside_an_operation() -> None:
    context, _ = OutOfProcEntityContext.from_json(batch())

    with pytest.raises(InternalEntityError, match="Entity operation is unassigned"):
        _ = context.operation_name


def test_an_entity_state_that_cannot_be_serialized_fails_the_batch() -> None:
    with pytest.raises(TypeError):
        run(lambda context: context.set_state({1}), operation("x"))


def test_the_entity_function_stays_reachable() -> None:
    assert Entity.create(print).entity_function is print  # type: ignore[attr-defined]


def test_code_goes_on_after_continue_as_new_with_an_event_that_came_early() -> None:
    def orchestrate(context: Any) -> Any:
        yield context.call_activity("A")
        context.continue_as_new(2)
        event = yield context.wait_for_external_event("Go")
        context.set_custom_status(event)
        return event

    builder = RequestBuilder()
    builder.event(4, 0, Name="A").episode().raised("Go", "early").completed(0, 1)
    state = json.loads(Orchestrator.create(orchestrate)(builder.text()))

    assert (state["isDone"], state["output"], state["customStatus"]) == (True, "early", "early")
    assert [action["actionType"] for action in state["actions"][0]] == [0, 4]


@pytest.mark.parametrize("call", ["call_activity", "call_sub_orchestrator"])
@pytest.mark.parametrize("name", ["", None])
def test_a_call_needs_a_name(call: str, name: Any) -> None:
    def orchestrate(context: Any) -> Any:
        try:
            getattr(context, call)(name)
        except ValueError as error:
            return str(error)

    assert json.loads(Orchestrator.create(orchestrate)(RequestBuilder().text()))["output"] == "function_name cannot be empty"


def test_a_timer_takes_a_date() -> None:
    def orchestrate(context: Any) -> Any:
        yield context.create_timer(date(2025, 3, 2))

    state = json.loads(Orchestrator.create(orchestrate)(RequestBuilder().text()))

    assert state["actions"][0][0]["fireAt"] == "2025-03-02T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"upperSchemaVersion": "1"}, "'1' is not a valid ReplaySchema"),
        ({"history": [{"EventType": 12}]}, "no member 'Timestamp'"),
        ({"history": [{"EventType": 12, "Timestamp": "2025-03-01T08:00:00Z"}, {"EventType": 0}]}, "no member 'IsPlayed'"),
    ],
)
def test_a_request_that_cannot_be_read_says_why(members: dict[str, Any], text: str) -> None:
    request = {**json.loads(RequestBuilder().text()), **members}

    with pytest.raises((TypeError, ValueError), match=text):
        Orchestrator.create(lambda context: None)(json.dumps(request))


def test_a_request_that_is_no_object_is_refused() -> None:
    with pytest.raises(TypeError, match="a JSON object is expected"):
        Orchestrator.create(lambda context: None)("[]")
