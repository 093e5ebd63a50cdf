"""The management API on a real hub, request values in and response values out: specs/http-api.md 5 to 7."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from durable_ext.client.client import DurableClient
from durable_ext.client.known_functions import KnownFunctions
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.core.entities.definitions import EntityDefinition
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.orchestrators import OrchestratorDefinition
from durable_ext.errors import ConfigurationError, InvalidArgumentError
from durable_ext.http.management import ManagementApi
from durable_ext.http.messages import HttpRequestValue, HttpResponseValue
from durable_ext.http.urls import WEBHOOK_PATH, ManagementUrls
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import RunningTaskHub, run_task_hub

ORIGIN = "http://localhost:7071"
URLS = ManagementUrls(base_url=ORIGIN + WEBHOOK_PATH, task_hub="TestHub")


def echo(context: Any) -> Any:
    return context.get_input()
    yield


def wait(context: Any) -> Any:
    context.set_custom_status({"waits": True})
    return (yield context.wait_for_external_event("Go"))


def fail(context: Any) -> Any:
    raise ValueError("on purpose")
    yield


def counter(context: Any) -> None:
    state = context.get_state(lambda: 0)
    if context.operation_name == "delete":
        context.destruct_on_exit()
        return
    context.set_state(state + (context.get_input() or 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """Sends requests to the management API of a running hub."""

    management: ManagementApi
    hub: RunningTaskHub

    async def call(
        self,
        method: str,
        route: str,
        body: str | bytes | None = None,
        *,
        content_type: str = "application/json",
        **headers: str,
    ) -> HttpResponseValue:
        path, _, query = f"{WEBHOOK_PATH}/{route}".partition("?")
        request = HttpRequestValue(
            method=method,
            url=f"{ORIGIN}{WEBHOOK_PATH}/{route}",
            path=path,
            query=query,
            headers={"content-type": content_type, **{name.replace("_", "-"): text for name, text in headers.items()}},
            body=body.encode() if isinstance(body, str) else body,
        )
        return await self.management.handle(request, path[len(WEBHOOK_PATH) :])

    async def waiting(self, instance_id: str) -> None:
        """Start an instance that waits for the event `Go`, and wait until it does."""
        await self.call("POST", f"orchestrators/wait/{instance_id}")
        await self.until(instance_id, "Running")

    async def ended(self, instance_id: str, name: str = "echo", body: str | None = None) -> None:
        """Start an instance and wait until it has ended."""
        await self.call("POST", f"orchestrators/{name}/{instance_id}", body)
        await self.hub.client.wait_for_completion(instance_id)

    async def until(self, instance_id: str, status: str) -> None:
        """Wait until an instance has a status."""

        async def reached() -> bool:
            found = await self.hub.client.get_status(instance_id)
            return found is not None and found.runtime_status is OrchestrationStatus(status)

        await eventually(reached, message=f"{instance_id} is not {status}")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    registry = FunctionRegistry()
    functions: tuple[Callable[[Any], Any], ...] = (echo, wait, fail)
    for function in functions:
        registry.add_orchestrator(OrchestratorDefinition(name=function.__name__, function=function))
    registry.add_entity(EntityDefinition(name="Counter", function=counter))
    names = {"orchestrator": ("echo", "wait", "fail"), "entity": ("counter",)}
    async with run_task_hub(tmp_path / "hub.db", registry) as hub:
        client = DurableClient(
            hub.backend.instances,
            converter=hub.converter,
            entity_codec=JsonEntityCodec(),
            known=KnownFunctions(names),
        )
        yield Api(management=ManagementApi(client, URLS), hub=hub)


def _json(response: HttpResponseValue) -> Any:
    return json.loads(response.body)


def _header(response: HttpResponseValue, name: str) -> str | None:
    return next((text for key, text in response.headers if key.lower() == name.lower()), None)


async def test_a_start_answers_202_with_links_and_where_to_look(api: Api) -> None:
    response = await api.call("POST", "orchestrators/echo/a1", '{"x":  1}')

    body = _json(response)
    assert response.status == 202
    assert list(body) == list(URLS.check_status_links("a1"))
    assert _header(response, "Location") == body["statusQueryGetUri"] == URLS.links("a1")["statusQueryGetUri"]
    assert _header(response, "Retry-After") == "10"


async def test_a_start_without_id_makes_one(api: Api) -> None:
    response = await api.call("POST", "Orchestrators/echo/")

    assert len(_json(response)["id"]) == 32


async def test_the_input_is_stored_verbatim_and_shown_as_json(api: Api) -> None:
    await api.ended("a1", body='{"x":  1.50}')

    status = await api.hub.client.get_status("a1")
    shown = await api.call("GET", "instances/a1")

    assert status is not None
    assert status.row.input == '{"x":  1.50}'
    assert b'"input":{"x":1.5},' in shown.body
    assert b'"output":{"x":1.5},' in shown.body


@pytest.mark.parametrize("body", ["nonsense", "{a}", "1 2", "\udcff".encode("utf-8", "surrogateescape")])
async def test_a_start_with_a_body_that_is_not_json_is_400_whatever_its_type(api: Api, body: str | bytes) -> None:
    response = await api.call("POST", "orchestrators/echo/a1", body, content_type="text/plain")

    assert response.status == 400
    assert _json(response)["Message"] == "Invalid JSON content"
    assert "ExceptionMessage" in _json(response)
    assert (await api.call("GET", "instances/a1")).status == 404


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("GET", "instances/a\udcff"),
        ("DELETE", "instances/a\udcff"),
        ("POST", "orchestrators/echo/a\udcff"),
        ("POST", "instances/a\udcff/terminate"),
        ("POST", "instances/a\udcff/raiseEvent/Go"),
        ("GET", "instances?instanceIdPrefix=\udcff"),
        ("GET", "entities/\udcff"),
        ("POST", "entities/counter/\udcff?op=add"),
    ],
)
async def test_bytes_that_are_no_text_in_a_url_are_400_with_the_reason(api: Api, method: str, route: str) -> None:
    response = await api.call(method, route, "1")

    assert response.status == 400
    assert "must not contain lone surrogates" in response.body.decode()


@pytest.mark.parametrize("body", [b"", b" ", b"\r\n\t ", "\ufeff".encode()])
async def test_a_blank_body_is_a_start_without_input(api: Api, body: bytes) -> None:
    started = await api.call("POST", "orchestrators/echo/a1", body)

    await api.hub.client.wait_for_completion("a1")
    shown = _json(await api.call("GET", "instances/a1"))
    assert started.status == 202
    assert (shown["runtimeStatus"], shown["input"], shown["output"]) == ("Completed", None, None)


async def test_a_start_of_an_unknown_function_names_the_known_ones(api: Api) -> None:
    response = await api.call("POST", "orchestrators/nobody")

    assert response.status == 400
    assert _json(response)["Message"] == "One or more of the arguments submitted is incorrect"
    assert _json(response)["ExceptionMessage"] == (
        "The function 'nobody' doesn't exist, is disabled, or is not an orchestrator function. Additional info: The "
        "following are the known orchestrator functions: 'echo', 'wait', 'fail'."
    )


@pytest.mark.parametrize("instance_id", ["@x", "a%23b", "a%5Cb", "x" * 257])
async def test_a_start_with_an_unusable_id_is_400(api: Api, instance_id: str) -> None:
    assert (await api.call("POST", f"orchestrators/echo/{instance_id}")).status == 400


async def test_a_start_of_an_active_id_is_409(api: Api) -> None:
    await api.waiting("a1")

    response = await api.call("POST", "orchestrators/echo/a1")

    assert response.status == 409
    assert _json(response) == {"Message": "An Orchestration instance with the status Running already exists."}


async def test_a_start_may_replace_an_ended_instance(api: Api) -> None:
    await api.ended("a1", body="1")
    await api.ended("a1", body="2")

    assert _json(await api.call("GET", "instances/a1"))["output"] == 2


async def test_a_start_that_waits_answers_with_the_output(api: Api) -> None:
    response = await api.call("POST", "orchestrators/echo?timeout=10&pollingInterval=0.1", '{"a": 1}')

    assert (response.status, response.body) == (200, b'{"a":1}')
    assert _header(response, "Location") is None


async def test_a_start_that_waits_for_a_failure_answers_with_its_status(api: Api) -> None:
    response = await api.call("POST", "orchestrators/fail?timeout=10&pollingInterval=0.1")

    assert response.status == 200
    assert _json(response)["runtimeStatus"] == "Failed"
    assert "on purpose" in _json(response)["output"]


async def test_a_start_that_waits_too_short_answers_with_links(api: Api) -> None:
    response = await api.call("POST", "orchestrators/wait/a1?timeout=0.1&pollingInterval=0.1")

    assert response.status == 202
    assert _json(response)["id"] == "a1"


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("timeout=1&pollingInterval=2", 400, "Total timeout 1 should be bigger than retry timeout 2"),
        ("timeout=NaN", 400, "TimeSpan does not accept floating point Not-a-Number values."),
        ("timeout=1e30", 500, "Something went wrong while processing your request"),
    ],
)
async def test_a_start_whose_wait_cannot_be_starts_nothing(api: Api, query: str, status: int, text: str) -> None:
    response = await api.call("POST", f"orchestrators/echo/a1?{query}")

    assert (response.status, _json(response)["Message"]) == (status, text)
    assert (await api.call("GET", "instances/a1")).status == 404


async def test_a_restart_whose_wait_cannot_be_starts_nothing(api: Api) -> None:
    await api.ended("a1")

    response = await api.call("POST", "instances/a1/restart?timeout=1&pollingInterval=2")

    assert response.status == 400
    assert _json(response)["ExceptionMessage"] == "Total timeout 1 should be bigger than retry timeout 2"
    assert len(_json(await api.call("GET", "instances"))) == 1


async def test_a_running_instance_is_202_with_the_requests_own_location(api: Api) -> None:
    await api.waiting("a1")

    response = await api.call("GET", "instances/a1?showInput=false")

    assert response.status == 202
    assert _header(response, "Location") == f"{ORIGIN}{WEBHOOK_PATH}/instances/a1?showInput=false"
    assert _header(response, "Retry-After") == "5"
    assert _json(response)["customStatus"] == {"waits": True}


async def test_an_ended_instance_is_200_without_history(api: Api) -> None:
    await api.ended("a1", body='"in"')

    response = await api.call("GET", "INSTANCES/a1/")

    assert response.status == 200
    assert "historyEvents" not in _json(response)
    assert list(_json(response))[:3] == ["name", "instanceId", "runtimeStatus"]


async def test_a_failed_instance_is_500_only_on_request(api: Api) -> None:
    await api.ended("a1", "fail")

    assert (await api.call("GET", "instances/a1")).status == 200
    assert (await api.call("GET", "instances/a1?returnInternalServerErrorOnFailure=TRUE")).status == 500


async def test_history_is_shown_on_request(api: Api) -> None:
    await api.ended("a1", body='"in"')

    events = _json(await api.call("GET", "instances/a1?showHistory=true&showHistoryOutput=true"))["historyEvents"]

    assert [event["EventType"] for event in events] == ["ExecutionStarted", "ExecutionCompleted"]
    assert events[1]["Result"] == "in"


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("GET", "instances/nobody"),
        ("DELETE", "instances/nobody"),
        ("POST", "instances/nobody/terminate"),
        ("POST", "instances/nobody/suspend"),
        ("POST", "instances/nobody/resume"),
        ("POST", "instances/nobody/raiseEvent/x"),
        ("GET", "entities/counter/nobody"),
        ("GET", "orchestrators/echo"),
        ("PUT", "instances/nobody"),
        ("POST", "instances"),
        ("POST", "instances/nobody"),
        ("POST", "instances/nobody/nonsense"),
        ("GET", "instances/nobody/terminate"),
        ("POST", "instances/nobody/raiseEvent"),
        ("GET", "instances/nobody/raiseEvent/x"),
        ("PUT", "entities/counter/a"),
        ("GET", "nonsense"),
        ("GET", ""),
    ],
)
async def test_what_is_not_there_is_404_without_a_body(api: Api, method: str, route: str) -> None:
    response = await api.call(method, route)

    assert (response.status, response.body) == (404, b"")


async def test_a_list_has_every_instance_and_can_be_filtered(api: Api) -> None:
    await api.ended("b1")
    await api.ended("b2", "fail")
    await api.waiting("c1")

    everything = _json(await api.call("GET", "instances"))
    failed = _json(await api.call("GET", "instances?runtimeStatus=Failed,Nonsense"))
    prefixed = _json(await api.call("GET", "instances?instanceIdPrefix=b&showInput=false"))

    assert [row["instanceId"] for row in everything] == ["b1", "b2", "c1"]
    assert [row["instanceId"] for row in failed] == ["b2"]
    assert [row["instanceId"] for row in prefixed] == ["b1", "b2"]


async def test_a_list_comes_in_pages(api: Api) -> None:
    for number in range(5):
        await api.ended(f"i{number}")

    first = await api.call("GET", "instances?top=3")
    token = _header(first, "x-ms-continuation-token")
    assert token
    second = await api.call("GET", "instances?top=3", x_ms_continuation_token=token)

    assert [row["instanceId"] for row in _json(first) + _json(second)] == [f"i{number}" for number in range(5)]
    assert _header(second, "x-ms-continuation-token") is None


@pytest.mark.parametrize(
    ("query", "status"), [("runtimeStatus=Unknown", 400), ("runtimeStatus=99", 200), ("createdTimeFrom=x&top=-1", 200)]
)
async def test_filters_that_make_no_sense_have_a_defined_outcome(api: Api, query: str, status: int) -> None:
    assert (await api.call("GET", f"instances?{query}")).status == status


@pytest.mark.parametrize("collection", ["instances", "entities"])
async def test_a_token_of_another_store_is_500_and_no_fault_of_the_host(
    api: Api, collection: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = await api.call("GET", collection, x_ms_continuation_token="nonsense")

    assert response.status == 500
    assert "'nonsense' is not a continuation token" in _json(response)["ExceptionMessage"]
    assert not [record for record in caplog.records if record.exc_info]
    assert _json(response)["Message"] == "Something went wrong while processing your request"


async def test_an_event_wakes_the_instance_with_its_json(api: Api) -> None:
    await api.waiting("a1")

    response = await api.call(
        "POST", "instances/a1/raiseEvent/go", '{"n":  1} ', content_type="application/json; charset=utf-8"
    )
    status = await api.hub.client.wait_for_completion("a1")

    assert (response.status, response.body) == (202, b"")
    assert status.output == {"n": 1}


async def test_an_event_checks_state_before_type_before_json(api: Api) -> None:
    await api.ended("gone")
    await api.waiting("a1")

    gone = await api.call("POST", "instances/gone/raiseEvent/go", "nonsense", content_type="text/plain")
    plain = await api.call("POST", "instances/a1/raiseEvent/go", "nonsense", content_type="text/plain")
    broken = await api.call("POST", "instances/a1/raiseEvent/go", "nonsense")
    empty = await api.call("POST", "instances/a1/raiseEvent/go")

    assert [gone.status, plain.status, broken.status, empty.status] == [410, 400, 400, 400]
    assert _json(plain) == {"Message": "Only application/json request content is supported"}
    assert _json(broken)["Message"] == _json(empty)["Message"] == "Invalid JSON content"
    assert _json(empty)["ExceptionMessage"] == "The body is empty. Send the event's data as JSON, or null if it has none."


async def test_terminate_ends_an_instance_with_its_reason(api: Api) -> None:
    await api.waiting("a1")

    response = await api.call("POST", "instances/a1/Terminate?reason=too+slow%21")
    await api.until("a1", "Terminated")
    again = await api.call("POST", "instances/a1/terminate?reason=x")

    assert (response.status, again.status) == (202, 410)
    assert _json(await api.call("GET", "instances/a1"))["output"] == "too slow!"


async def test_an_instance_can_be_suspended_and_resumed_once_each(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    await api.waiting("a1")

    early = await api.call("POST", "instances/a1/resume")
    suspended = await api.call("POST", "instances/a1/suspend?reason=hold")
    await api.until("a1", "Suspended")
    again = await api.call("POST", "instances/a1/suspend?reason=hold")
    resumed = await api.call("POST", "instances/a1/resume?reason=go")
    await api.until("a1", "Running")

    assert [early.status, suspended.status, again.status, resumed.status] == [500, 202, 500, 202]
    assert _json(early)["ExceptionMessage"] == (
        "Cannot resume the orchestration instance a1 because instance is in the Running state."
    )
    assert _json(again)["ExceptionMessage"] == (
        "Cannot suspend the orchestration instance a1 because instance is in the Suspended state."
    )
    assert [record for record in caplog.records if record.name == "durable_ext.http"] == []


async def test_a_signal_without_an_operation_is_refused_with_the_name_of_the_parameter(api: Api) -> None:
    response = await api.call("POST", "entities/counter/k1", "5")

    assert response.status == 400
    assert _json(response)["Message"] == "The query parameter op is missing: it names the operation, as in ?op=add."


async def test_a_rewind_is_for_failed_instances(api: Api) -> None:
    await api.ended("done")

    missing = await api.call("POST", "instances/nobody/rewind?reason=x")
    done = await api.call("POST", "instances/done/rewind?reason=x")

    assert (missing.status, _json(missing)) == (404, 'No orchestration with instance ID "$nobody" found.')
    assert (done.status, _json(done)) == (
        412,
        'This orchestration has status Completed, but only orchestrations in the "Failed" state can be rewound.',
    )


async def test_a_restart_runs_the_same_function_with_the_same_input_under_a_new_id(api: Api) -> None:
    await api.ended("a1", body='{"a":  1}')

    response = await api.call("POST", "instances/a1/restart?timeout=10&pollingInterval=1")
    rows = _json(await api.call("GET", "instances"))

    assert (response.status, response.body) == (200, b'{"a":1}')
    assert len(rows) == 2


async def test_a_restart_under_the_same_id_needs_an_ended_instance(api: Api) -> None:
    await api.waiting("a1")
    await api.ended("b1", body="5")

    active = await api.call("POST", "instances/a1/restart?restartWithNewInstanceId=false")
    ended = await api.call("POST", "instances/b1/restart?restartWithNewInstanceId=false")

    assert (active.status, ended.status) == (409, 202)
    assert _json(active)["Message"] == "A non-terminal instance with this instance ID already exists."
    assert _json(ended)["id"] == "b1"


async def test_a_restart_of_nobody_is_400(api: Api) -> None:
    response = await api.call("POST", "instances/nobody/restart")

    assert response.status == 400
    assert _json(response)["Message"] == "InstanceId does not match a valid orchestration instance."
    assert _json(response)["ExceptionMessage"] == "An orchestrastion with the instanceId nobody was not found."


async def test_an_ended_instance_can_be_purged_and_a_running_one_not(api: Api) -> None:
    await api.ended("done")
    await api.waiting("busy")

    done = await api.call("DELETE", "instances/done")
    busy = await api.call("DELETE", "instances/busy")

    assert (done.status, _json(done)) == (200, {"instancesDeleted": 1})
    assert (busy.status, _json(busy)) == (
        412,
        "Only orchestrations in a terminal state can be purged, but the orchestration with instance ID busy has status "
        "Running",
    )
    assert (await api.call("GET", "instances/done")).status == 404


async def test_purging_many_needs_a_start_and_leaves_running_instances(api: Api) -> None:
    await api.ended("a1")
    await api.ended("a2", "fail")
    await api.waiting("busy")

    without = await api.call("DELETE", "instances")
    nothing = await api.call("DELETE", "instances?createdTimeFrom=2999-01-01")
    running = await api.call("DELETE", "instances?createdTimeFrom=2000-01-01&runtimeStatus=Running")
    failed = await api.call("DELETE", "instances?createdTimeFrom=2000-01-01&runtimeStatus=Failed")
    rest = await api.call("DELETE", "instances?createdTimeFrom=2000-01-01T00:00:00Z")

    assert (without.status, _json(without)) == (400, "Please provide value for 'createdTimeFrom' parameter.")
    unreadable = await api.call("DELETE", "instances?createdTimeFrom=yesterday")
    assert unreadable.status == 400
    assert _json(unreadable)["ExceptionMessage"].startswith(
        "createdTimeFrom 'yesterday' is not a time; nothing was deleted."
    )
    assert [nothing.status, running.status] == [404, 404]
    assert [_json(failed), _json(rest)] == [{"instancesDeleted": 1}, {"instancesDeleted": 1}]
    assert (await api.call("GET", "instances/busy")).status == 202


@pytest.mark.parametrize(
    ("filters", "value"),
    [("runtimeStatus=Faild", "Faild"), ("runtimeStatus=Failed,completed", "completed"), ("createdTimeTo=soon", "soon")],
)
async def test_a_purge_whose_filter_cannot_be_read_deletes_nothing(api: Api, filters: str, value: str) -> None:
    await api.ended("a1")

    response = await api.call("DELETE", f"instances?createdTimeFrom=2000-01-01&{filters}")

    assert response.status == 400
    assert f"'{value}'" in _json(response)["ExceptionMessage"]
    assert (await api.call("GET", "instances/a1")).status == 200


async def test_a_plus_in_a_path_is_a_plus(api: Api) -> None:
    started = _json(await api.call("POST", "orchestrators/wait/p+q"))

    assert started["id"] == "p+q"
    assert "/instances/p%2Bq?" in started["statusQueryGetUri"]
    assert (await api.call("GET", "instances/p+q")).status == (await api.call("GET", "instances/p%2Bq")).status == 202


@pytest.mark.parametrize(
    ("method", "route", "body"), [("POST", "orchestrators/wait/x", "{nonsense"), ("POST", "instances/w/raiseEvent/E", "{")]
)
async def test_what_the_caller_did_wrong_comes_without_a_stack(api: Api, method: str, route: str, body: str) -> None:
    await api.waiting("w")

    response = await api.call(method, route, body)

    assert response.status == 400
    assert _json(response)["ExceptionMessage"]
    assert _json(response)["StackTrace"] is None


async def test_an_id_with_signs_is_reached_by_its_own_links(api: Api) -> None:
    response = await api.call("POST", "orchestrators/wait/a%20b%2B%40c%27d")
    link = _json(response)["statusQueryGetUri"]

    status = await api.call("GET", link.removeprefix(ORIGIN + WEBHOOK_PATH + "/"))

    assert _json(response)["id"] == _json(status)["instanceId"] == "a b+@c'd"


async def test_an_entity_takes_signals_and_shows_its_state(api: Api) -> None:
    for _ in range(2):
        signalled = await api.call("POST", "entities/Counter/k1?op=add", "5")
        assert (signalled.status, signalled.body) == (202, b"")

    async def counted() -> bool:
        return (await api.call("GET", "entities/counter/k1")).body == b"10"

    await eventually(counted, message="the entity did not count to ten")


async def test_entities_are_listed_with_or_without_state(api: Api) -> None:
    await api.call("POST", "entities/counter/k1?op=add", "5")

    async def there() -> bool:
        return bool(_json(await api.call("GET", "entities")))

    await eventually(there, message="no entity is listed")
    (bare,) = _json(await api.call("GET", "entities/COUNTER"))
    (full,) = _json(await api.call("GET", "entities?fetchState=true"))

    assert bare["entityId"] == {"name": "counter", "key": "k1"}
    assert (bare["state"], full["state"]) == (None, 5)


async def test_deleting_an_entity_signals_delete(api: Api) -> None:
    await api.call("POST", "entities/counter/k1?op=add", "5")

    async def exists() -> bool:
        return (await api.call("GET", "entities/counter/k1")).status == 200

    async def is_gone() -> bool:
        return (await api.call("GET", "entities/counter/k1")).status == 404

    await eventually(exists, message="the entity was not made")
    assert (await api.call("DELETE", "entities/counter/k1?op=add")).status == 202
    await eventually(is_gone, message="the entity was not deleted")


@pytest.mark.parametrize(
    ("route", "body", "text"),
    [
        ("entities", None, "entity name must not be a null or empty string"),
        ("entities/nobody/k", None, "entity functions: 'counter'"),
        ("entities/counter/a%23b", None, "Entity keys must not contain"),
        ("entities/counter/k", "nonsense", "Could not parse JSON content"),
    ],
)
async def test_a_signal_that_cannot_be_sent_is_400_with_a_message(api: Api, route: str, body: str | None, text: str) -> None:
    response = await api.call("POST", route, body)

    assert response.status == 400
    assert text in _json(response)["Message"]


async def test_another_hub_is_acted_on_where_it_can_be_opened(api: Api, tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []
    async with run_task_hub(tmp_path / "other.db", FunctionRegistry(), task_hub="Other") as other:

        async def open_other(task_hub: str, connection: str) -> DurableClient:
            asked.append((task_hub, connection))
            return other.client

        both = Api(management=ManagementApi(api.hub.client, URLS, open_other=open_other), hub=api.hub)
        started = await both.call("POST", "orchestrators/somewhere/o1?taskHub=Other&connection=Elsewhere")
        found = await both.call("GET", "instances/o1?taskhub=Other")
        own = await both.call("GET", "instances/o1?taskHub=testhub")
        listed = await both.call("GET", "instances?taskHub=Other")

    assert (started.status, found.status in (200, 202), own.status) == (202, True, 404)
    assert "?taskHub=Other&connection=Elsewhere" in _json(started)["statusQueryGetUri"]
    assert [row["instanceId"] for row in _json(listed)] == ["o1"]
    assert asked == [("Other", "Elsewhere"), ("Other", "Storage"), ("Other", "Storage")]


@pytest.mark.parametrize("error", [ConfigurationError("no such hub"), InvalidArgumentError("taskHub", "too many")])
async def test_a_hub_that_cannot_be_opened_is_400_with_the_reason(api: Api, error: Exception) -> None:
    async def open_other(task_hub: str, connection: str) -> DurableClient:
        raise error

    refusing = Api(management=ManagementApi(api.hub.client, URLS, open_other=open_other), hub=api.hub)

    response = await refusing.call("GET", "instances/x?taskHub=Other")

    assert response.status == 400
    assert _json(response)["ExceptionMessage"] == str(error)


async def test_another_hub_or_connection_is_refused_by_name_where_none_can_be_opened(api: Api) -> None:
    hub = await api.call("GET", "instances/x?taskHub=Other")
    own = await api.call("GET", "instances/x?TASKHUB=testhub&connection=Storage")
    connection = await api.call("GET", "instances/x?connection=Elsewhere")

    assert (hub.status, own.body, connection.status) == (404, b"", 404)
    assert "'Other'" in _json(hub)["Message"]
    assert "'Elsewhere'" in _json(connection)["Message"]


async def test_links_follow_forwarded_headers_only_if_told_to(api: Api) -> None:
    forwarded = {"x_forwarded_host": "example.org", "x_forwarded_proto": "https"}
    follows = Api(
        management=ManagementApi(api.hub.client, URLS, use_forwarded_host=True),
        hub=api.hub,
    )

    ignored = await api.call("POST", "orchestrators/echo", **forwarded)
    followed = await follows.call("POST", "orchestrators/echo", **forwarded)

    assert _json(ignored)["statusQueryGetUri"].startswith(ORIGIN)
    assert _json(followed)["statusQueryGetUri"].startswith("https://example.org/runtime/webhooks/durabletask/")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
async def test_a_hub_without_app_lease_cannot_be_taken_over(api: Api, method: str) -> None:
    without = Api(management=ManagementApi(api.hub.client, URLS, make_primary=api.hub.backend.hub.make_primary), hub=api.hub)

    response = await without.call(method, "makeprimary")

    assert response.status == 501
    assert "not using the AppLease feature" in _json(response)["Message"]


async def test_a_hub_with_an_app_lease_is_taken_over(api: Api) -> None:
    taken: list[str] = []

    async def take_over() -> bool:
        taken.append("now")
        return True

    response = await Api(management=ManagementApi(api.hub.client, URLS, make_primary=take_over), hub=api.hub).call(
        "POST", "MakePrimary"
    )

    assert (response.status, response.body, taken) == (200, b"", ["now"])
