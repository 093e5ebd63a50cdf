"""Decorated apps on the engine, through every method of specs/sdk.md 2.11: the client that our hosts inject, and the one
that calls the management API of another process."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import azure.functions as func
import pytest
from support import process_app

import durable_ext as df
from durable_ext.client.remote import close_session
from durable_ext.errors import ArgumentTypeError, InvalidArgumentError
from durable_ext.http.aiohttp_app import make_server
from durable_ext.http.management import ManagementApi
from durable_ext.http.messages import HttpRequestValue, HttpResponseValue
from durable_ext.http.urls import ManagementUrls
from durable_ext.sdk.discovery import collect_durable_functions, result_type
from durable_ext.sdk.engine_client import EngineOrchestrationClient
from durable_ext.sdk.function_names import resolve_function_name
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import RunningTaskHub, run_task_hub

URLS = ManagementUrls(base_url="http://localhost:7071/runtime/webhooks/durabletask", task_hub="TestHub")
STATUS = df.OrchestrationRuntimeStatus


@dataclass
class Order:
    sku: str
    amount: int


def build_app() -> df.DFApp:
    app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)

    @app.activity_trigger(input_name="order")
    def price(order: Order) -> Order:
        return Order(order.sku, order.amount * 2)

    @app.activity_trigger(input_name="text")
    async def shout(text: str) -> str:
        return text.upper()

    @app.activity_trigger(input_name="text")
    def fail(text: str) -> str:
        raise ValueError(text)

    @app.orchestration_trigger(context_name="context")
    async def chain(context: df.DurableOrchestrationContext) -> list[Any]:
        order = await context.call_activity(price, Order("a", 1))
        return [order.amount, await context.call_activity(shout, "done")]

    @app.orchestration_trigger(context_name="context", input_type=Order)
    def echo(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
        yield context.call_activity("shout", "x")
        return context.get_input().sku

    @app.orchestration_trigger(context_name="context")
    def approval(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
        context.set_custom_status("waiting")
        return (yield context.wait_for_external_event("Approval"))

    @app.orchestration_trigger(context_name="context")
    def failing(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
        return (yield context.call_activity(fail, "broken"))

    @app.orchestration_trigger(context_name="context")
    def counting(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
        counter = df.EntityId("Counter", "eu")
        yield context.call_entity(counter, "add", 2)
        return (yield context.call_entity(counter, "add", 3))

    @app.entity_trigger(context_name="context")
    class Counter(df.EntityBase):
        value: int = 0

        def add(self, amount: int) -> int:
            self.value += amount
            return self.value

    return app


class App:
    def __init__(self, hub: RunningTaskHub, app: df.DFApp) -> None:
        self.hub = hub
        self.functions = {str(builder._function.get_function_name()): builder for builder in app._function_builders}
        self.client: df.DurableOrchestrationClient = EngineOrchestrationClient(hub.client, URLS)

    async def status(self, instance_id: str, wanted: df.OrchestrationRuntimeStatus) -> df.DurableOrchestrationStatus:
        async def reached() -> bool:
            return (await self.client.get_status(instance_id)).runtime_status is wanted

        await eventually(reached, message=f"{instance_id} never was {wanted}")
        return await self.client.get_status(instance_id, show_input=True)


@asynccontextmanager
async def _served(hub: RunningTaskHub) -> AsyncIterator[df.DurableOrchestrationClient]:
    """Serve the management API of a hub and give a client that calls it."""
    api = ManagementApi(hub.client, URLS)
    prefix = "/runtime/webhooks/durabletask"

    async def answer(request: HttpRequestValue) -> HttpResponseValue:
        return await api.handle(request, request.path.removeprefix(prefix))

    server = await asyncio.get_running_loop().create_server(make_server(answer), "127.0.0.1", 0)
    async with server:
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{prefix}/"
        yield df.DurableOrchestrationClient(dataclasses.replace(URLS, rpc_base_url=base).client_binding())
        await close_session()


@pytest.fixture(params=["engine", "http"])
async def app(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[App]:
    built = build_app()
    registry = collect_durable_functions(built.get_functions()).to_registry()
    async with run_task_hub(
        tmp_path / "hub.db", registry, resolve_name=resolve_function_name, resolve_type=result_type
    ) as hub:
        app = App(hub, built)
        if request.param == "engine":
            yield app
            return
        async with _served(hub) as client:
            app.client = client
            yield app


async def test_functions_stand_for_names_and_results_have_their_types(app: App) -> None:
    instance_id = await app.client.start_new("chain")

    assert (await app.status(instance_id, STATUS.Completed)).output == [2, "DONE"]


async def test_a_uuid_is_an_instance_id(app: Any) -> None:
    instance_id = UUID("0b8f2f9e-7f5c-4d5e-9d3b-6a4a2f6d1c11")
    assert await app.client.start_new("echo", instance_id, "x") == str(instance_id)


async def test_a_uuid_is_the_id_of_what_it_started(app: Any) -> None:
    instance_id = UUID("0b8f2f9e-7f5c-4d5e-9d3b-6a4a2f6d1c12")
    await app.client.start_new("chain", instance_id)
    await app.status(str(instance_id), STATUS.Completed)

    assert (await app.client.get_status(instance_id)).runtime_status is STATUS.Completed
    assert (await app.client.purge_instance_history(instance_id)).instances_deleted == 1


@pytest.mark.parametrize("app", ["engine"], indirect=True)
async def test_an_id_that_is_no_text_and_an_input_that_is_no_json_are_refused_with_the_name_of_the_call(app: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"^get_status\(\) got 5 \(int\) as instance_id"):
        await app.client.get_status(5)
    with pytest.raises(ArgumentTypeError, match=r"^purge_instance_history\(\) got 5 \(int\) as instance_id"):
        await app.client.purge_instance_history(5)
    with pytest.raises(ArgumentTypeError, match=r"^terminate\(\) got 5 \(int\) as instance_id"):
        await app.client.terminate(5, "why")
    with pytest.raises(ArgumentTypeError, match=r"^start_new\(\) got \{1, 2\} \(set\) as client_input"):
        await app.client.start_new("echo", None, {1, 2})
    with pytest.raises(ArgumentTypeError, match=r"^raise_event\(\) got \{1, 2\} \(set\) as event_data"):
        await app.client.raise_event("x", "Go", {1, 2})


async def test_a_decorated_orchestrator_can_be_started(app: App) -> None:
    instance_id = await app.client.start_new(app.functions["chain"])

    assert (await app.status(instance_id, STATUS.Completed)).name == "chain"


async def test_the_input_has_the_type_of_the_decorator(app: App) -> None:
    instance_id = await app.client.start_new("echo", "i1", Order("b", 1))

    status = await app.status(instance_id, STATUS.Completed)
    assert status.output == "b"
    assert json.loads(status.input_) == {"sku": "b", "amount": 1}


async def test_a_status_has_the_input_without_asking_as_with_the_extension(app: App) -> None:
    await app.client.start_new("echo", "i1", "x")

    assert (await app.client.get_status("i1")).input_ == '"x"'


@pytest.mark.parametrize("data", [{"ok": True}, False, "text", None, 0])
async def test_an_event_arrives_as_the_value_that_was_sent(app: App, data: object) -> None:
    await app.client.start_new("approval", "i1")
    await app.status("i1", STATUS.Running)

    await app.client.raise_event("i1", "Approval", data)

    status = await app.status("i1", STATUS.Completed)
    assert status.output == data
    assert status.custom_status == "waiting"


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [({"task_hub_name": "Elsewhere"}, "task_hub_name"), ({"connection_name": "Other"}, "connection_name")],
)
async def test_the_engine_refuses_calls_for_another_hub(app: App, arguments: dict[str, str], argument: str) -> None:
    client = EngineOrchestrationClient(app.hub.client, URLS)

    with pytest.raises(InvalidArgumentError, match=argument) as refused:
        await client.raise_event("i1", "Approval", 1, **arguments)

    assert refused.value.argument == argument


async def test_calls_that_name_the_own_hub_are_taken(app: App) -> None:
    await app.client.start_new("approval", "i1")
    await app.status("i1", STATUS.Running)

    await app.client.raise_event("i1", "Approval", 1, task_hub_name=URLS.task_hub.upper(), connection_name="Storage")

    assert (await app.status("i1", STATUS.Completed)).output == 1


async def test_an_instance_is_suspended_resumed_and_terminated(app: App) -> None:
    await app.client.start_new("approval", "i1")
    await app.status("i1", STATUS.Running)

    await app.client.suspend("i1", "wait")
    await app.status("i1", STATUS.Suspended)
    await app.client.resume("i1", "go on")
    await app.status("i1", STATUS.Running)
    await app.client.terminate("i1", "enough")

    assert (await app.status("i1", STATUS.Terminated)).output == "enough"


async def test_steering_an_ended_instance_is_silent(app: App) -> None:
    await app.client.start_new("chain", "i1")
    await app.status("i1", STATUS.Completed)

    await app.client.terminate("i1", "late")
    await app.client.suspend("i1", "late")
    await app.client.resume("i1", "late")

    assert (await app.client.get_status("i1")).runtime_status is STATUS.Completed


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (("terminate", "nope", "x"), "No instance with ID 'nope' found."),
        (("suspend", "nope", "x"), "No instance with ID 'nope' found."),
        (("restart", "nope"), "No instance with ID 'nope' found."),
        (("rewind", "nope", "x"), "No instance with ID nope found."),
        (("raise_event", "nope", "x"), "No instance with ID nope found."),
    ],
)
async def test_a_missing_instance_is_an_error_with_the_text_of_1x(app: App, call: tuple[str, ...], text: str) -> None:
    with pytest.raises(df.InstanceNotFoundError) as refused:
        await getattr(app.client, call[0])(*call[1:])

    assert str(refused.value) == text


async def test_an_event_for_an_ended_instance_is_an_error_with_the_text_of_1x(app: App) -> None:
    await app.client.start_new("chain", "i1")
    await app.status("i1", STATUS.Completed)

    with pytest.raises(df.ClientError) as refused:
        await app.client.raise_event("i1", "Approval")

    assert str(refused.value) == "Instance with ID i1 is gone: either completed or failed"


async def test_only_failed_instances_can_be_rewound(app: App) -> None:
    await app.client.start_new("chain", "i1")
    await app.status("i1", STATUS.Completed)

    with pytest.raises(df.InvalidInstanceStateError, match=r"(?i)only .*failed"):
        await app.client.rewind("i1", "again")


async def test_a_failed_instance_shows_its_failure(app: App) -> None:
    await app.client.start_new("failing", "i1")

    status = await app.status("i1", STATUS.Failed)

    assert "broken" in status.output


async def test_a_restart_makes_another_instance(app: App) -> None:
    await app.client.start_new("echo", "i1", Order("b", 1))
    await app.status("i1", STATUS.Completed)

    again = await app.client.restart("i1")

    assert again != "i1"
    assert (await app.status(again, STATUS.Completed)).output == "b"


async def test_a_missing_status_is_false(app: App) -> None:
    assert not await app.client.get_status("nope")


async def test_statuses_are_listed_and_filtered(app: App) -> None:
    await app.client.start_new("chain", "a1")
    await app.client.start_new("approval", "b1")
    await app.status("a1", STATUS.Completed)
    await app.status("b1", STATUS.Running)

    everything = await app.client.get_status_all()
    running = await app.client.get_status_by(
        created_time_from=datetime.now(timezone.utc) - timedelta(minutes=1), runtime_status=[STATUS.Running]
    )
    prefixed = await app.client.get_status_by(instance_id_prefix="a")

    assert [status.instance_id for status in everything] == ["a1", "b1"]
    assert [status.instance_id for status in running] == ["b1"]
    assert [status.instance_id for status in prefixed] == ["a1"]


async def test_ended_instances_are_purged(app: App) -> None:
    for instance_id in ("a1", "a2"):
        await app.client.start_new("chain", instance_id)
        await app.status(instance_id, STATUS.Completed)

    one = await app.client.purge_instance_history("a1")
    none = await app.client.purge_instance_history("a1")
    rest = await app.client.purge_instance_history_by(datetime(2020, 1, 1), runtime_status=[STATUS.Completed])

    assert [one.instances_deleted, none.instances_deleted, rest.instances_deleted] == [1, 0, 1]


async def test_a_class_entity_counts_calls_and_signals(app: App) -> None:
    counter = df.EntityId("Counter", "eu")
    await app.client.start_new("counting", "i1")
    await app.status("i1", STATUS.Completed)

    await app.client.signal_entity(counter, "add", 10)

    async def counted() -> bool:
        return (await app.client.read_entity_state(counter)).entity_state == {"value": 15}

    await eventually(counted, message="the signal was never counted")
    missing = await app.client.read_entity_state(df.EntityId("Counter", "us"))
    assert (missing.entity_exists, missing.entity_state) == (False, None)


def _request() -> func.HttpRequest:
    return func.HttpRequest("POST", "https://public.example/api/start", body=b"")


async def test_waiting_answers_with_the_output(app: App) -> None:
    instance_id = await app.client.start_new("chain")

    response = await app.client.wait_for_completion_or_create_check_status_response(_request(), instance_id)

    assert (response.status_code, json.loads(response.get_body())) == (200, [2, "DONE"])


async def test_waiting_in_vain_answers_with_links_under_the_requests_origin(app: App) -> None:
    await app.client.start_new("approval", "i1")

    response = await app.client.wait_for_completion_or_create_check_status_response(_request(), "i1", 30, 10)

    assert response.status_code == 202
    assert response.headers["Location"] == (
        "https://public.example/runtime/webhooks/durabletask/instances/i1?taskHub=TestHub&connection=Storage"
    )
    assert app.client.create_http_management_payload("i1")["id"] == "i1"


async def test_a_client_works_from_another_event_loop(app: App) -> None:
    def sync_function() -> str:
        return asyncio.run(app.client.start_new("chain", "from-a-thread"))

    assert await asyncio.to_thread(sync_function) == "from-a-thread"
    await app.status("from-a-thread", STATUS.Completed)


async def test_an_activity_may_run_in_a_process_of_its_own(tmp_path: Path) -> None:
    registry = collect_durable_functions(process_app.app.get_functions()).to_registry()

    async with run_task_hub(
        tmp_path / "hub.db", registry, resolve_name=resolve_function_name, resolve_type=result_type
    ) as hub:
        status = await hub.client.wait_for_completion(await hub.client.start("burn"))

    assert status.output[0] == 10
    assert status.output[1] != os.getpid()
