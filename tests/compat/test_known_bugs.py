"""Bugs of 1.7.0 that are fixed under the old names too, because nobody can depend on them (specs/sdk.md 7, class S).

Those whose fix would change a replay are tested in both forms in unit/core (`fixes=False` is what the old names use).
"""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import azure.durable_functions as df
import pytest
from azure.durable_functions.models import DurableOrchestrationContext
from support.request_builder import RequestBuilder

import durable_ext
from durable_ext.sdk.management_calls import EndpointAnswer, announced

BINDING = json.dumps(
    {
        "taskHubName": "Hub",
        "creationUrls": {},
        "managementUrls": {"id": "INSTANCEID"},
        "rpcBaseUrl": "http://127.0.0.1:1/durabletask/",
    }
)


class Order:
    @staticmethod
    def to_json(order: Order) -> Any:
        return 1

    @staticmethod
    def from_json(data: Any) -> Order:
        return Order()


def answered(fn: Any, request: RequestBuilder | None = None) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(df.Orchestrator.create(fn)((request or RequestBuilder()).text()))
    return state


def test_row_6_a_plain_function_that_raises_keeps_its_status() -> None:
    def fails(context: df.DurableOrchestrationContext) -> None:
        context.set_custom_status("seen")
        raise ValueError("why")

    with pytest.raises(Exception, match="why") as failed:
        df.Orchestrator.create(fails)(RequestBuilder().text())

    assert '"customStatus": "seen"' in str(failed.value)


def test_row_7_a_result_that_cannot_be_decoded_can_be_caught() -> None:
    def catches(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
        try:
            yield context.call_activity("A")
        except Exception as error:  # what 1.x code catches
            return type(error).__name__

    request = RequestBuilder().event(4, 0, Name="A").episode().event(5, TaskScheduledId=0, Result="{not json")

    assert answered(catches, request)["output"] == "JSONDecodeError"


def test_row_8_the_expected_type_of_a_retried_call_reaches_its_attempts() -> None:
    def asks(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
        order = yield context.call_activity_with_retry("A", df.RetryOptions(1, 2), expected_type=Order)
        return isinstance(order, Order)

    envelope = json.dumps({"__class__": "Order", "__module__": __name__, "__data__": 1})
    request = RequestBuilder().event(4, 0, Name="A").episode().event(5, TaskScheduledId=0, Result=envelope)

    assert answered(asks, request)["output"] is True


def test_row_9_the_result_type_of_a_child_is_that_of_its_function(caplog: pytest.LogCaptureFixture) -> None:
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    def child(context: df.DurableOrchestrationContext) -> Generator[Any, Any, int]:
        yield context.call_activity("A")
        return 1

    def parent(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
        return (yield context.call_sub_orchestrator(child))

    request = RequestBuilder().event(7, 0, Name="child").episode().event(8, TaskScheduledId=0, Result="5")

    assert answered(parent, request)["output"] == 5
    assert "not compatible" not in caplog.text


@pytest.mark.parametrize("registered", ["trigger", "decorator"])
def test_row_10_a_function_is_called_by_its_registered_name(registered: str) -> None:
    app = df.DFApp()

    if registered == "trigger":

        @app.activity_trigger(input_name="x", activity="Real")
        def work(x: str) -> str:
            return x

    else:

        @app.function_name("Real")
        @app.activity_trigger(input_name="x")
        def work(x: str) -> str:
            return x

    def calls(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
        yield context.call_activity(work, 1)

    assert answered(calls)["actions"][0][0]["functionName"] == "Real"


@pytest.mark.parametrize("given", [[1, 2], 5, True, 1.5, {"a": 1}])
def test_row_12_inputs_that_are_no_objects_can_be_read(given: Any) -> None:
    assert DurableOrchestrationContext.from_json(RequestBuilder(input=given).text()).get_input() == given


def test_row_29_what_is_no_task_fails_with_a_text_that_says_so() -> None:
    def yields(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
        yield 5

    with pytest.raises(Exception, match="5, which is no durable task"):
        df.Orchestrator.create(yields)(RequestBuilder().text())


def test_row_30_ended_tasks_may_be_yielded_without_limit() -> None:
    def yields(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
        task = context.call_activity("A")
        for _ in range(5_000):
            value = yield task
        return value

    request = RequestBuilder().event(4, 0, Name="A").episode().completed(0, 7)

    assert answered(yields, request)["output"] == 7


def test_row_33_a_request_may_lack_what_hosts_usually_send() -> None:
    request = json.loads(RequestBuilder().event(4, 0, Name="A").episode().event(5, TaskScheduledId=0).text())
    del request["history"][1]["Version"]

    def asks(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
        return [context.version, (yield context.call_activity("A"))]

    state = json.loads(df.Orchestrator.create(asks)(json.dumps(request)))

    assert state["output"] == [None, None]


def test_row_43_an_early_result_warns_nobody(recwarn: pytest.WarningsRecorder) -> None:
    def asks(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
        yield context.wait_for_external_event("Go")
        return (yield context.wait_for_external_event("Early"))

    request = RequestBuilder().episode().event(15, Name="Early", Input="1").event(15, Name="Go", Input=None)

    assert answered(asks, request)["output"] == 1
    assert not recwarn.list


async def test_row_44_every_call_carries_the_invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []

    async def endpoint(method: str, url: str, headers: Any, body: Any) -> EndpointAnswer:
        seen.append(dict(headers))
        return EndpointAnswer(status=404, body=b"")

    with announced("http://127.0.0.1:1/durabletask/", endpoint):
        client = df.DurableOrchestrationClient(BINDING, "inv-7")
        await client.get_status("i1")
        await client.purge_instance_history("i1")

    assert [headers["x-azure-functions-invocationid"] for headers in seen] == ["inv-7", "inv-7"]


def test_row_16_what_an_entity_returns_does_not_count_under_the_old_names() -> None:
    request = {
        "self": {"name": "counter", "key": "k"},
        "exists": True,
        "state": "1",
        "batch": [{"name": "get", "input": None, "isSignal": False}],
    }

    answer = json.loads(df.Entity.create(lambda context: "ignored")(json.dumps(request)))

    assert answer["results"][0]["result"] == "null"


async def test_row_23_the_connection_is_named_as_1x_does() -> None:
    seen: list[str] = []

    async def endpoint(method: str, url: str, headers: Any, body: Any) -> EndpointAnswer:
        seen.append(url.partition("?")[2])
        return EndpointAnswer(status=404, body=b"")

    with announced("http://127.0.0.1:1/durabletask/", endpoint):
        for client in (df.DurableOrchestrationClient(BINDING), durable_ext.DurableOrchestrationClient(BINDING)):
            await client.read_entity_state(df.EntityId("Counter", "k"), "Hub2", "Conn2")

    assert seen == ["taskHub=Hub2&connectionName=Conn2", "taskHub=Hub2&connection=Conn2"]


@pytest.mark.parametrize(("data", "body"), [(False, b"false"), (None, b"null"), ({"a": 1}, b'{"a": 1}')])
async def test_row_11_an_event_is_sent_once_encoded_and_twice_under_the_old_names(data: Any, body: bytes) -> None:
    seen: list[bytes | None] = []

    async def endpoint(method: str, url: str, headers: Any, sent: bytes | None) -> EndpointAnswer:
        seen.append(sent)
        return EndpointAnswer(status=202, body=b"")

    with announced("http://127.0.0.1:1/durabletask/", endpoint):
        await durable_ext.DurableOrchestrationClient(BINDING).raise_event("i1", "Go", data)
        await df.DurableOrchestrationClient(BINDING).raise_event("i1", "Go", data)

    assert seen == [body, json.dumps(body.decode()).encode()]
