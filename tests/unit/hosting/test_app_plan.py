"""What of an app is served, and why the rest is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import azure.functions as func

from durable_ext.hosting.app_loader import IndexedFunction
from durable_ext.hosting.local.app_plan import AppPlan, plan_app
from durable_ext.hosting.settings import load_settings


def answer(req: func.HttpRequest) -> str:
    return ""


def take(msg: Any) -> None: ...


def _http(name: str, route: str | None = None, *methods: str) -> IndexedFunction:
    trigger = {"type": "httpTrigger", "name": "req", "route": route, "methods": list(methods)}
    return IndexedFunction(name=name, trigger=trigger, bindings=(trigger, {"type": "http", "name": "$return"}), call=answer)


def _other(name: str, kind: str, call: Any = take) -> IndexedFunction:
    trigger = {"type": kind, "name": "msg"}
    return IndexedFunction(name=name, trigger=trigger, bindings=(trigger,), call=call)


def _plan(root: Path, *functions: IndexedFunction, off: tuple[str, ...] = ()) -> AppPlan:
    return plan_app(
        load_settings(root, {}), functions, resolve=lambda text: text, disabled=lambda function: function.name in off
    )


def test_routes_get_the_prefix_and_default_to_the_name(write_app: Callable[..., Path]) -> None:
    plan = _plan(write_app(), _http("b"), _http("a", "x/{y}"))

    assert [(route.plan.name, route.template.text) for route in plan.routes] == [("a", "api/x/{y}"), ("b", "api/b")]


def test_an_empty_prefix_leaves_the_route_alone(write_app: Callable[..., Path]) -> None:
    plan = _plan(write_app(host={"extensions": {"http": {"routePrefix": ""}}}), _http("a", "x"))

    assert plan.routes[0].template.match("/x") == {}


def test_a_reserved_route_is_an_error_of_its_function(write_app: Callable[..., Path]) -> None:
    plan = _plan(write_app(), _http("a", "runtime/x"), _http("b", "Admin"), _http("c"))

    assert set(plan.errors) == {"a", "b"}
    assert len(plan.routes) == 1


def test_two_functions_on_one_route_and_method_conflict(write_app: Callable[..., Path]) -> None:
    plan = _plan(write_app(), _http("a", "x", "GET"), _http("b", "X", "GET", "POST"), _http("c", "x", "DELETE"))

    assert set(plan.errors) == {"b"}
    assert "'a'" in plan.errors["b"]


def test_a_trigger_that_is_not_served_does_not_stop_the_others(write_app: Callable[..., Path]) -> None:
    plan = _plan(write_app(), _other("q", "queueTrigger"), _http("a"))

    assert "queueTrigger" in plan.errors["q"]
    assert len(plan.routes) == 1


def test_durable_functions_are_listed_without_a_url(write_app: Callable[..., Path]) -> None:
    plan = _plan(write_app(), _other("o", "orchestrationTrigger"), _other("A", "activityTrigger"))

    assert [each.name for each in plan.not_http] == ["A", "o"]


def test_a_disabled_function_is_neither_served_nor_an_error(write_app: Callable[..., Path]) -> None:
    plan = _plan(write_app(), _http("a"), _http("b"), off=("a",))

    assert plan.disabled == ("a",)
    assert [route.plan.name for route in plan.routes] == ["b"]
