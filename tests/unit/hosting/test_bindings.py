"""What functions are called with, and what their returns become."""

from __future__ import annotations

import json
from typing import Any

import azure.functions as func
import pytest

from durable_ext.hosting.app_loader import IndexedFunction
from durable_ext.hosting.bindings import (
    BindingError,
    InvocationContext,
    http_output,
    http_trigger_value,
    plan_call,
    timer_trigger_value,
    warmup_trigger_value,
)
from durable_ext.http.messages import HttpRequestValue

HTTP = {"type": "httpTrigger", "name": "req", "direction": "IN"}
RETURN = {"type": "http", "name": "$return", "direction": "OUT"}


def _function(call: Any, *others: dict[str, Any], trigger: dict[str, Any] = HTTP) -> IndexedFunction:
    return IndexedFunction(name="f", trigger=trigger, bindings=(trigger, *others), call=call)


def test_a_request_is_decoded_as_under_the_python_worker() -> None:
    request = HttpRequestValue(
        method="POST",
        url="http://h/api/x?a=1",
        path="/api/x",
        headers={"content-type": "application/json"},
        body=b'{"n": 1}',
    )

    decoded = http_trigger_value(request, {"a": "1"}, {"name": "Ada"})

    assert isinstance(decoded, func.HttpRequest)
    assert (decoded.method, decoded.url, decoded.params["a"], decoded.route_params["name"]) == (
        "POST",
        "http://h/api/x?a=1",
        "1",
        "Ada",
    )
    assert decoded.headers["Content-Type"] == "application/json"
    assert decoded.get_json() == {"n": 1}


def test_a_request_without_a_body_has_an_empty_one() -> None:
    assert http_trigger_value(HttpRequestValue(method="GET", url="http://h/", path="/"), {}, {}).get_body() == b""


@pytest.mark.parametrize(
    ("returned", "status", "content_type", "body"),
    [
        ("hi é", 200, "text/plain; charset=utf-8", "hi é".encode()),
        (b"\x00\x01", 200, "application/octet-stream", b"\x00\x01"),
        ({"a": [1]}, 200, "application/json; charset=utf-8", b'{"a": [1]}'),
        (func.HttpResponse("x", status_code=201), 201, "text/plain; charset=utf-8", b"x"),
        (func.HttpResponse("{}", mimetype="application/json"), 200, "application/json", b"{}"),
        (func.HttpResponse("x", headers={"Content-Type": "text/html"}), 200, "text/html", b"x"),
    ],
)
def test_a_return_value_becomes_a_response(returned: Any, status: int, content_type: str, body: bytes) -> None:
    response = http_output("f", returned)

    assert (response.status, response.body) == (status, body)
    assert {name.lower(): text for name, text in response.headers}["content-type"] == content_type


def test_returning_nothing_is_no_content() -> None:
    assert http_output("f", None).status == 204


def test_repeated_headers_of_a_response_are_kept() -> None:
    response = func.HttpResponse("x")
    response.headers.add("Set-Cookie", "a=1")
    response.headers.add("Set-Cookie", "b=2")

    assert [text for name, text in http_output("f", response).headers if name == "Set-Cookie"] == ["a=1", "b=2"]


def test_returning_something_else_is_an_error_that_names_function_and_class() -> None:
    with pytest.raises(BindingError, match=r"'f'.*object"):
        http_output("f", object())


def test_a_timer_tick_is_decoded() -> None:
    tick = timer_trigger_value({"IsPastDue": True, "ScheduleStatus": {"Next": "x"}, "Schedule": {"AdjustForDST": True}})

    assert (tick.past_due, tick.schedule_status, tick.schedule) == (True, {"Next": "x"}, {"AdjustForDST": True})


def test_a_warm_up_has_a_value() -> None:
    assert warmup_trigger_value() is not None


def test_a_function_may_ask_for_its_invocation() -> None:
    def f(req: func.HttpRequest, context: func.Context) -> str:
        return ""

    assert plan_call(_function(f, RETURN)).takes_context


def test_a_client_binding_is_found_and_its_wrapper_taken_off() -> None:
    def user(req: func.HttpRequest, client: Any) -> str:
        return ""

    async def wrapper(req: func.HttpRequest, client: Any) -> str:
        return ""

    wrapper.client_function = user  # type: ignore[attr-defined]

    plan = plan_call(_function(wrapper, RETURN, {"type": "durableClient", "name": "client"}))

    assert plan.client == {"type": "durableClient", "name": "client"}
    assert (plan.call, plan.is_async) == (user, False)


def test_a_binding_of_another_kind_is_refused_with_function_and_parameter() -> None:
    def f(req: func.HttpRequest, msg: func.Out[str]) -> None: ...

    with pytest.raises(BindingError, match=r"Function 'f'.*'queue' \(parameter 'msg'\)"):
        plan_call(_function(f, {"type": "queue", "name": "msg"}))


def test_a_trigger_of_another_kind_is_refused() -> None:
    def f(msg: Any) -> None: ...

    with pytest.raises(BindingError, match="'queueTrigger'"):
        plan_call(_function(f, trigger={"type": "queueTrigger", "name": "msg"}))


def test_a_binding_without_a_parameter_is_refused_by_name() -> None:
    def f() -> None: ...

    with pytest.raises(BindingError, match=r"bindings for 'req'"):
        plan_call(_function(f))


def test_a_parameter_without_a_binding_is_refused_by_name() -> None:
    def f(req: func.HttpRequest, other: int) -> None: ...

    with pytest.raises(BindingError, match=r"parameters 'other'"):
        plan_call(_function(f))


def test_an_http_output_parameter_is_a_func_out() -> None:
    def f(req: func.HttpRequest, res: func.Out[func.HttpResponse]) -> None: ...

    assert plan_call(_function(f, {"type": "http", "name": "res"})).out_names == ("res",)


def test_an_invocation_knows_its_id_function_and_trace() -> None:
    context = InvocationContext("f", "/app", {"traceparent": "00-1"})

    assert (context.function_name, context.function_directory, context.trace_context.trace_parent) == ("f", "/app", "00-1")
    assert len(context.invocation_id) == 36
    assert json.dumps(context.trace_context.attributes) == "{}"
