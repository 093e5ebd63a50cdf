"""Decorators: what function indexing sees of a decorated function (specs/sdk.md 3)."""

from __future__ import annotations

import inspect
import json
from collections.abc import Generator
from typing import Any

import azure.functions as func
import pytest
from azure.functions.decorators.core import BindingDirection

import durable_ext as df
from durable_ext.errors import RegistrationError
from durable_ext.sdk.client_input import rich_client


@pytest.fixture
def app() -> df.DFApp:
    return df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


def _bindings(function: Any) -> list[dict[str, Any]]:
    bindings: list[dict[str, Any]] = json.loads(str(function))["bindings"]
    return bindings


def _only_function(app: df.DFApp) -> Any:
    (function,) = app.get_functions()
    return function


def test_an_orchestrator_has_the_binding_of_the_1x_sdk(app: df.DFApp) -> None:
    @app.orchestration_trigger(context_name="context")
    def plain(context: df.DurableOrchestrationContext) -> str:
        return "done"

    assert _bindings(_only_function(app)) == [{"direction": "IN", "type": "orchestrationTrigger", "name": "context"}]


def test_an_orchestrator_can_be_given_a_name_of_its_own(app: df.DFApp) -> None:
    @app.orchestration_trigger(context_name="context", orchestration="MyOrch")
    def plain(context: df.DurableOrchestrationContext) -> str:
        return "done"

    assert _bindings(_only_function(app))[0]["orchestration"] == "MyOrch"


def test_the_dictionary_of_a_binding_has_the_direction_as_enum(app: df.DFApp) -> None:
    @app.activity_trigger(input_name="x", activity="MyAct")
    def plain(x: str) -> str:
        return x

    trigger = _only_function(app).get_trigger()

    expected = {"direction": BindingDirection.IN, "type": "activityTrigger", "name": "x", "activity": "MyAct"}
    assert trigger.get_dict_repr() == expected


def test_the_executor_of_an_activity_is_not_in_its_binding(app: df.DFApp) -> None:
    @app.activity_trigger(input_name="x", executor="process")
    def plain(x: str) -> str:
        return x

    function = _only_function(app)

    assert _bindings(function) == [{"direction": "IN", "type": "activityTrigger", "name": "x"}]
    assert function.get_trigger().executor == "process"


@pytest.mark.parametrize("executor", ["gpu", "Process", "", None])
def test_an_executor_that_there_is_not_is_refused_with_those_there_are(app: df.DFApp, executor: Any) -> None:
    with pytest.raises(RegistrationError, match=r"executor=.*'auto', 'thread' or 'process'") as refused:

        @app.activity_trigger(input_name="x", executor=executor)
        def plain(x: str) -> str:
            return x

    assert f"executor={executor!r}" in str(refused.value)


def test_an_entity_has_the_binding_of_the_1x_sdk(app: df.DFApp) -> None:
    @app.entity_trigger(context_name="context", entity_name="MyEnt")
    def plain(context: df.DurableEntityContext) -> None: ...

    expected = {"direction": "IN", "type": "entityTrigger", "name": "context", "entityName": "MyEnt"}
    assert _bindings(_only_function(app)) == [expected]


def test_a_client_above_a_route_comes_last_in_the_bindings(app: df.DFApp) -> None:
    @app.durable_client_input(client_name="client", task_hub="hub1", connection_name="C")
    @app.route(route="start")
    async def start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> str:
        return "ok"

    kinds = [binding["type"] for binding in _bindings(_only_function(app))]
    client = _bindings(_only_function_of(app))[-1]

    assert kinds == ["httpTrigger", "http", "durableClient"]
    assert client == {
        "direction": "IN",
        "type": "durableClient",
        "name": "client",
        "taskHub": "hub1",
        "connectionName": "C",
    }


def _only_function_of(app: df.DFApp) -> Any:
    return app._function_builders[0]._function


def test_the_registered_orchestrator_keeps_the_function_for_unit_tests(app: df.DFApp) -> None:
    def plain(context: df.DurableOrchestrationContext) -> str:
        return "done"

    builder: Any = app.orchestration_trigger(context_name="context", input_type=int)(plain)
    handle = builder.build().get_user_function()

    assert handle.orchestrator_function is plain
    assert handle._df_input_type is int
    assert handle.__name__ == "plain"


@pytest.mark.parametrize("context_name", ["context", "ctx"])
def test_the_registered_orchestrator_has_the_parameter_that_its_binding_names(app: df.DFApp, context_name: str) -> None:
    @app.orchestration_trigger(context_name=context_name)
    def plain(anything: df.DurableOrchestrationContext) -> str:
        return "done"

    handle = _only_function(app).get_user_function()

    assert list(inspect.signature(handle).parameters) == [context_name]
    assert handle.__annotations__ == {context_name: func.OrchestrationContext, "return": str}


def test_the_registered_entity_has_no_annotation_on_its_parameter(app: df.DFApp) -> None:
    def plain(context: df.DurableEntityContext) -> None: ...

    builder: Any = app.entity_trigger(context_name="context")(plain)
    handle = builder.build().get_user_function()

    assert handle.entity_function is plain
    assert handle.__annotations__ == {"return": str}


def test_decorators_may_stand_in_any_order(app: df.DFApp) -> None:
    @app.orchestration_trigger(context_name="context")
    @app.function_name("Named")
    def plain(context: df.DurableOrchestrationContext) -> str:
        return "done"

    assert _only_function(app).get_function_name() == "Named"


def test_functions_of_a_blueprint_are_registered_with_the_app(app: df.DFApp) -> None:
    blueprint = df.Blueprint()

    @blueprint.activity_trigger(input_name="x")
    def plain(x: str) -> str:
        return x

    app.register_functions(blueprint)

    assert [function.get_function_name() for function in app.get_functions()] == ["plain"]


def test_an_app_cannot_be_registered_into_an_app(app: df.DFApp) -> None:
    with pytest.raises(TypeError, match="FunctionRegister"):
        app.register_functions(df.DFApp())


def test_the_auth_level_may_be_given_by_name() -> None:
    assert df.DFApp(http_auth_level="ANONYMOUS").auth_level is func.AuthLevel.ANONYMOUS


def test_the_client_parameter_is_annotated_as_text_for_indexing(app: df.DFApp) -> None:
    async def start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> str:
        return "ok"

    app.durable_client_input(client_name="client")(app.route(route="start")(start))
    wrapper = _only_function(app).get_user_function()

    assert wrapper.client_function is start
    assert wrapper.__annotations__["client"] is str
    assert start.__annotations__["client"] is str
    assert wrapper.__annotations__ is not start.__annotations__


_STARTER = json.dumps(
    {
        "taskHubName": "Shop",
        "creationUrls": {},
        "managementUrls": {"id": "INSTANCEID"},
        "rpcBaseUrl": "http://127.0.0.1:17071/durabletask/",
    }
)


async def test_an_async_function_receives_a_client_for_the_binding_json(app: df.DFApp) -> None:
    @app.durable_client_input(client_name="client")
    @app.route(route="start")
    async def start(req: str, client: df.DurableOrchestrationClient) -> tuple[str, Any]:
        return req, client

    received, client = await _only_function(app).get_user_function()(req="r", client=_STARTER)

    assert received == "r"
    assert isinstance(client, df.DurableOrchestrationClient)


async def test_a_sync_function_receives_a_client_too(app: df.DFApp) -> None:
    @app.durable_client_input(client_name="client")
    @app.route(route="start")
    def start(req: str, client: df.DurableOrchestrationClient) -> Any:
        return client

    client = await _only_function(app).get_user_function()(req="r", client=_STARTER)

    assert isinstance(client, df.DurableOrchestrationClient)


async def test_the_invocation_id_of_the_context_goes_to_the_client(app: df.DFApp) -> None:
    class Invocation:
        invocation_id = "inv-1"

    @app.durable_client_input(client_name="client")
    @app.route(route="start")
    async def start(req: str, client: Any, context: Any) -> Any:
        return client._function_invocation_id

    invoked = await _only_function(app).get_user_function()(req="r", client=_STARTER, context=Invocation())

    assert invoked == "inv-1"


def test_a_client_that_is_one_already_is_passed_on() -> None:
    client = df.DurableOrchestrationClient(_STARTER)

    assert rich_client(client) is client


async def test_a_wrapped_function_without_its_client_says_which_argument_is_missing(app: df.DFApp) -> None:
    @app.durable_client_input(client_name="client")
    @app.route(route="start")
    async def start(req: str, client: Any) -> None: ...

    with pytest.raises(KeyError, match="client"):
        await _only_function(app).get_user_function()(req="r")


def test_a_decorated_generator_stays_callable(app: df.DFApp) -> None:
    @app.orchestration_trigger(context_name="context")
    def chain(context: df.DurableOrchestrationContext) -> Generator[Any, Any, int]:
        received: int = yield 1
        return received

    steps = _only_function(app).get_user_function().orchestrator_function(None)

    assert next(steps) == 1
