"""The 1.x client over HTTP: URLs, bodies, statuses and texts (specs/sdk.md 2.11).

The transport is replaced where tests of 1.x replace it; the bytes are tested against a server in test_remote.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta, timezone
from typing import Any

import azure.functions as func
import pytest

import durable_ext as df
from durable_ext.errors import (
    ArgumentTypeError,
    ClientError,
    FunctionNotFoundError,
    InstanceNotFoundError,
    InvalidArgumentError,
    InvalidInstanceStateError,
    UnexpectedResponseError,
)

RPC = "http://127.0.0.1:17071/durabletask/"
BASE = "https://shop.example/runtime/webhooks/durabletask/instances/INSTANCEID"
BINDING = {
    "taskHubName": "Shop",
    "creationUrls": {"createNewInstancePostUri": "https://shop.example/x"},
    "managementUrls": {
        "id": "INSTANCEID",
        "statusQueryGetUri": f"{BASE}?taskHub=Shop&connection=Storage&code=K",
        "sendEventPostUri": f"{BASE}/raiseEvent/{{eventName}}?taskHub=Shop&connection=Storage&code=K",
    },
    "rpcBaseUrl": RPC,
}
STATUS = {
    "name": "Hello",
    "instanceId": "i1",
    "createdTime": "2024-05-06T07:08:09Z",
    "lastUpdatedTime": "2024-05-06T07:08:10Z",
    "output": "done",
}


class Calls:
    """A client whose transport answers what the test says and remembers what was asked."""

    def __init__(self, *answers: list[Any]) -> None:
        self.client = df.DurableOrchestrationClient(json.dumps(BINDING), "inv-1")
        self.answers = list(answers)
        self.asked: list[tuple[Any, ...]] = []
        for verb in ("_get_async_request", "_post_async_request", "_delete_async_request"):
            setattr(self.client, verb, self._answering(verb))

    def _answering(self, verb: str) -> Callable[..., Coroutine[Any, Any, list[Any]]]:
        async def answer(*args: Any, **kwargs: Any) -> list[Any]:
            self.asked.append((verb, *args, kwargs))
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

        return answer

    @property
    def url(self) -> str:
        return str(self.asked[-1][1])


async def test_start_new_posts_the_input_and_returns_the_id() -> None:
    calls = Calls([202, {"id": "i1"}])

    assert await calls.client.start_new("Hello", "i1", {"a": 1}) == "i1"

    assert calls.asked == [("_post_async_request", f"{RPC}orchestrators/Hello/i1", '{"a": 1}', None, None, "inv-1", {})]


async def test_start_new_without_input_and_id_sends_neither() -> None:
    calls = Calls([202, {"id": "i1"}])

    await calls.client.start_new("Hello")

    assert calls.asked[0][1:3] == (f"{RPC}orchestrators/Hello", None)


async def test_start_new_escapes_the_version() -> None:
    calls = Calls([202, {"id": "i1"}])

    await calls.client.start_new("Hello", version="1.0 beta")

    assert calls.url == f"{RPC}orchestrators/Hello?version=1.0%20beta"


HALF = "a\ud800"
CALLS_WITH_HALF_A_CHARACTER: dict[str, Callable[[df.DurableOrchestrationClient], Coroutine[Any, Any, Any]]] = {
    "function_name": lambda client: client.start_new(HALF),
    "instance_id": lambda client: client.start_new("Hello", HALF),
    "version": lambda client: client.start_new("Hello", version=HALF),
    "instance_id of get_status": lambda client: client.get_status(HALF),
    "instance_id of purge": lambda client: client.purge_instance_history(HALF),
    "instance_id of restart": lambda client: client.restart(HALF),
    "instance_id of rewind": lambda client: client.rewind(HALF, "r"),
    "instance_id of terminate": lambda client: client.terminate(HALF, "r"),
    "instance_id of raise_event": lambda client: client.raise_event(HALF, "Go"),
    "event_name": lambda client: client.raise_event("i1", HALF),
    "reason": lambda client: client.suspend("i1", HALF),
    "reason of rewind": lambda client: client.rewind("i1", HALF),
    "taskHub": lambda client: client.rewind("i1", "r", HALF),
    "connection": lambda client: client.raise_event("i1", "Go", 1, None, HALF),
    "instanceIdPrefix": lambda client: client.get_status_by(instance_id_prefix=HALF),
    "entity_id": lambda client: client.signal_entity(df.EntityId("Counter", HALF), "add"),
    "op": lambda client: client.signal_entity(df.EntityId("Counter", "k"), HALF),
    "entity_id of read": lambda client: client.read_entity_state(df.EntityId(HALF, "k")),
}


@pytest.mark.parametrize("case", CALLS_WITH_HALF_A_CHARACTER)
async def test_half_a_character_in_a_url_is_refused_with_the_name_of_the_argument(case: str) -> None:
    calls = Calls([202, {"id": "i1"}])

    with pytest.raises(InvalidArgumentError, match=r"'a\\ud800' must not contain lone surrogates") as refused:
        await CALLS_WITH_HALF_A_CHARACTER[case](calls.client)

    assert refused.value.argument == case.partition(" ")[0]
    assert calls.asked == []


def test_links_with_half_a_character_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"'a\\ud800' must not contain lone surrogates"):
        Calls([202, None]).client.create_http_management_payload(HALF)


async def test_start_new_raises_the_text_of_a_bad_request() -> None:
    text = "The function 'Nope' doesn't exist, is disabled, or is not an orchestrator function."
    calls = Calls([400, {"ExceptionMessage": text}])

    with pytest.raises(FunctionNotFoundError) as refused:
        await calls.client.start_new("Nope")

    assert str(refused.value) == text


async def test_start_new_raises_any_other_body_as_it_is() -> None:
    calls = Calls([500, {"why": "broken"}])

    with pytest.raises(UnexpectedResponseError) as refused:
        await calls.client.start_new("Hello")

    assert refused.value.args == ({"why": "broken"},)


async def test_a_decorated_orchestrator_can_be_started() -> None:
    bp = df.Blueprint()

    @bp.orchestration_trigger(context_name="context", orchestration="Named")
    def hello(context: df.DurableOrchestrationContext) -> str:
        return "x"

    calls = Calls([202, {"id": "i1"}])
    await calls.client.start_new(hello)

    assert calls.url == f"{RPC}orchestrators/Named"


async def test_get_status_asks_for_what_is_shown() -> None:
    calls = Calls([200, STATUS])

    status = await calls.client.get_status("i1", show_history=True, show_history_output=True, show_input=True)

    assert calls.url == f"{RPC}instances/i1?showInput=True&showHistory=True&showHistoryOutput=True"
    assert status.output == "done"


@pytest.mark.parametrize("code", [404, 500])
async def test_get_status_of_nothing_is_false(code: int) -> None:
    assert not await Calls([code, ""]).client.get_status("i1")


async def test_get_status_refuses_other_answers() -> None:
    with pytest.raises(ClientError, match="The operation failed with an unexpected status code 403"):
        await Calls([403, None]).client.get_status("i1")


async def test_get_status_by_sends_the_filter_in_utc() -> None:
    calls = Calls([200, [STATUS]])
    tokyo = timezone(timedelta(hours=9))

    found = await calls.client.get_status_by(
        created_time_from=datetime(2024, 5, 6, 9, tzinfo=tokyo),
        created_time_to=datetime(2024, 5, 7),
        runtime_status=[df.OrchestrationRuntimeStatus.Running, df.OrchestrationRuntimeStatus.Completed],
        instance_id_prefix="i",
    )

    assert calls.url == (
        f"{RPC}instances/?createdTimeFrom=2024-05-06T00:00:00.000000Z&createdTimeTo=2024-05-07T00:00:00.000000Z"
        "&instanceIdPrefix=i&runtimeStatus=Running,Completed"
    )
    assert [status.instance_id for status in found] == ["i1"]


async def test_get_status_all_refuses_anything_but_200() -> None:
    with pytest.raises(ClientError, match="unexpected status code 500"):
        await Calls([500, None]).client.get_status_all()


async def test_purging_something_returns_how_much() -> None:
    calls = Calls([200, {"instancesDeleted": 3}])

    result = await calls.client.purge_instance_history_by(created_time_from=datetime(2024, 5, 6))

    assert result.instances_deleted == 3
    assert calls.url == f"{RPC}instances/?createdTimeFrom=2024-05-06T00:00:00.000000Z"


async def test_purging_nothing_returns_zero() -> None:
    assert (await Calls([404, None]).client.purge_instance_history("i1")).instances_deleted == 0


async def test_purging_many_needs_a_time() -> None:
    with pytest.raises(ValueError, match="created_time_from is required"):
        await Calls([200, {}]).client.purge_instance_history_by()


async def test_an_event_is_posted_as_json_text() -> None:
    calls = Calls([202, None])

    await calls.client.raise_event("i1", "Go", {"a": 1}, "Hub2", "Conn2")

    assert calls.asked == [
        (
            "_post_async_request",
            f"{RPC}instances/i1/raiseEvent/Go?taskHub=Hub2&connection=Conn2",
            '{"a": 1}',
            {"function_invocation_id": "inv-1"},
        )
    ]


async def test_an_event_without_data_is_null() -> None:
    calls = Calls([202, None])

    await calls.client.raise_event("i1", "Go")

    assert calls.asked[0][2] == "null"


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (404, InstanceNotFoundError, "No instance with ID i1 found."),
        (410, InvalidInstanceStateError, "Instance with ID i1 is gone: either completed or failed"),
        (400, ClientError, "Only application/json request content is supported"),
        (418, ClientError, "Webhook returned unrecognized status code 418"),
    ],
)
async def test_an_event_that_is_not_taken_says_why(code: int, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as refused:
        await Calls([code, None]).client.raise_event("i1", "Go")

    assert str(refused.value) == text


async def test_an_event_needs_a_name() -> None:
    with pytest.raises(ValueError, match=r"event_name must be a non-empty string\."):
        await Calls([202, None]).client.raise_event("i1", "")


@pytest.mark.parametrize("operation", ["terminate", "suspend", "resume"])
async def test_steering_sends_the_reason_escaped(operation: str) -> None:
    calls = Calls([202, None])

    await getattr(calls.client, operation)("i1", "stop it now")

    assert calls.url == f"{RPC}instances/i1/{operation}?reason=stop%20it%20now"


@pytest.mark.parametrize("operation", ["terminate", "suspend", "resume"])
async def test_steering_an_ended_instance_is_silent(operation: str) -> None:
    assert await getattr(Calls([410, None]).client, operation)("i1", "x") is None


@pytest.mark.parametrize("operation", ["terminate", "suspend", "resume"])
async def test_steering_a_missing_instance_is_an_error(operation: str) -> None:
    with pytest.raises(InstanceNotFoundError) as refused:
        await getattr(Calls([404, None]).client, operation)("i1", "x")

    assert str(refused.value) == "No instance with ID 'i1' found."


async def test_restart_returns_the_id_of_the_new_run() -> None:
    calls = Calls([202, {"id": "i2"}])

    assert await calls.client.restart("i1") == "i2"
    assert calls.url == f"{RPC}instances/i1/restart?restartWithNewInstanceId=true"


async def test_restart_under_the_same_id_returns_it_if_the_body_is_empty() -> None:
    calls = Calls([202, None])

    assert await calls.client.restart("i1", restart_with_new_instance_id=False) == "i1"
    assert calls.url == f"{RPC}instances/i1/restart?restartWithNewInstanceId=false"


async def test_restart_of_a_missing_instance_is_an_error() -> None:
    with pytest.raises(InstanceNotFoundError, match="No instance with ID 'i1' found"):
        await Calls([404, None]).client.restart("i1")


async def test_rewind_sends_reason_hub_and_connection() -> None:
    calls = Calls([202, None])

    await calls.client.rewind("i1", "again", "Hub2", "Conn2")

    assert calls.url == f"{RPC}instances/i1/rewind?reason=again&taskHub=Hub2&connection=Conn2"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ([404, None], "No instance with ID i1 found."),
        ([410, None], "The rewind operation is only supported on failed orchestration instances."),
        ([412, "only failed ones"], "only failed ones"),
        ([500, {"a": 1}], "Received unexpected payload from the durable-extension: [500, {'a': 1}]"),
    ],
)
async def test_a_refused_rewind_says_why(answer: list[Any], text: str) -> None:
    with pytest.raises(ClientError) as refused:
        await Calls(answer).client.rewind("i1", "again")

    assert str(refused.value) == text


async def test_rewind_without_rpc_endpoint_has_the_text_of_1x() -> None:
    client = df.DurableOrchestrationClient(json.dumps({**BINDING, "rpcBaseUrl": None}))

    with pytest.raises(Exception, match=r"The Python SDK only supports RPC endpoints\.Please remove"):
        await client.rewind("i1", "again")


async def test_other_calls_without_rpc_endpoint_say_what_to_do() -> None:
    client = df.DurableOrchestrationClient(json.dumps({**BINDING, "rpcBaseUrl": None}))

    with pytest.raises(df.DurableError, match="rpcBaseUrl"):
        await client.get_status("i1")


async def test_a_signal_carries_operation_and_input() -> None:
    calls = Calls([202, None])

    await calls.client.signal_entity(df.EntityId("Counter", "eu"), "add", 0)

    assert calls.asked[0][1:6] == (f"{RPC}entities/Counter/eu?op=add", "0", None, None, "inv-1")


async def test_reading_an_entity_returns_its_state() -> None:
    calls = Calls([200, {"n": 1}])

    response = await calls.client.read_entity_state(df.EntityId("Counter", "eu"), "Hub2")

    assert (response.entity_exists, response.entity_state) == (True, {"n": 1})
    assert calls.url == f"{RPC}entities/Counter/eu?taskHub=Hub2"


async def test_reading_an_entity_that_does_not_exist() -> None:
    response = await Calls([404, None]).client.read_entity_state(df.EntityId("Counter", "eu"))

    assert (response.entity_exists, response.entity_state) == (False, None)


def _request(url: str = "http://localhost:7071/api/start") -> func.HttpRequest:
    return func.HttpRequest("GET", url, body=b"")


def test_a_check_status_response_has_the_links_under_the_requests_origin() -> None:
    response = Calls([]).client.create_check_status_response(_request(), "i1")

    links = json.loads(response.get_body())
    expected = "http://localhost:7071/runtime/webhooks/durabletask/instances/i1?taskHub=Shop&connection=Storage&code=K"
    assert response.status_code == 202
    assert links["id"] == "i1"
    assert links["statusQueryGetUri"] == response.headers["Location"] == expected
    assert "{eventName}" in links["sendEventPostUri"]
    assert response.headers["Retry-After"] == "10"
    assert response.headers["Content-Type"] == "application/json"


def test_a_management_payload_keeps_the_apps_origin() -> None:
    links = Calls([]).client.create_http_management_payload("i1")

    assert links["statusQueryGetUri"].startswith("https://shop.example/")


async def _wait(*answers: list[Any], timeout: int = 1000, interval: int = 10) -> func.HttpResponse:
    client = Calls(*answers).client
    return await client.wait_for_completion_or_create_check_status_response(_request(), "i1", timeout, interval)


async def test_waiting_returns_the_output_when_the_instance_completes() -> None:
    response = await _wait([202, {**STATUS, "runtimeStatus": "Running"}], [200, {**STATUS, "runtimeStatus": "Completed"}])

    assert (response.status_code, response.get_body()) == (200, b"done")


@pytest.mark.parametrize(("status", "code"), [("Failed", 500), ("Terminated", 200), ("Canceled", 200)])
async def test_waiting_returns_the_status_of_an_instance_that_ended_otherwise(status: str, code: int) -> None:
    response = await _wait([200, {**STATUS, "runtimeStatus": status}])

    assert response.status_code == code
    assert json.loads(response.get_body())["runtimeStatus"] == status


async def test_waiting_in_vain_returns_the_links() -> None:
    response = await _wait([202, {**STATUS, "runtimeStatus": "Running"}], timeout=20, interval=10)

    assert response.status_code == 202
    assert json.loads(response.get_body())["id"] == "i1"


async def test_waiting_refuses_an_interval_over_the_timeout() -> None:
    with pytest.raises(ClientError) as refused:
        await _wait([200, STATUS], timeout=5, interval=10)

    assert str(refused.value) == "Total timeout 5 (ms) should be bigger than retry timeout 10 (ms)"


def test_a_binding_without_its_members_is_refused() -> None:
    with pytest.raises(TypeError, match="creationUrls"):
        df.DurableOrchestrationClient('{"taskHubName": "x"}')


def test_a_binding_that_is_not_json_is_refused() -> None:
    with pytest.raises(json.JSONDecodeError):
        df.DurableOrchestrationClient("nope")


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda client: client.start_new("plain", {"a": 1}), "instance_id"),
        (lambda client: client.start_new("plain", 5), "instance_id"),
        (lambda client: client.start_new("plain", version=5), "version"),
        (lambda client: client.signal_entity("Acc", "add"), "entityId"),
        (lambda client: client.read_entity_state("Acc"), "entityId"),
    ],
)
async def test_a_value_of_a_wrong_type_is_refused_before_anything_is_sent(call: Any, argument: str) -> None:
    calls = Calls([202, {"id": "i1"}])

    with pytest.raises(ArgumentTypeError) as refused:
        await call(calls.client)

    assert refused.value.argument == argument
    assert calls.asked == []
