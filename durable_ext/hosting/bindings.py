"""What a function is called with and what its return means: trigger data ↔ Python values, as under the Python worker.

Requests and timers are decoded by the converters of `azure.functions` itself. Source: specs/functions-hosting.md 2, 6.
"""

from __future__ import annotations

import inspect
import json
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import azure.functions as func
from azure.functions.meta import Datum, get_binding_registry

from durable_ext.errors import RegistrationError
from durable_ext.hosting.app_loader import IndexedFunction
from durable_ext.http.messages import HttpRequestValue, HttpResponseValue
from durable_ext.sdk.orchestration_client import DurableOrchestrationClient

RETURN: Final = "$return"
_DURABLE_TRIGGERS: Final = frozenset({"orchestrationTrigger", "activityTrigger", "entityTrigger"})
_SERVED_TRIGGERS: Final = frozenset({"httpTrigger", "timerTrigger", "warmupTrigger"}) | _DURABLE_TRIGGERS
_SERVED_BINDINGS: Final = frozenset({"http", "durableClient"})


class BindingError(RegistrationError):
    """A function has a binding that this host cannot serve, or its parameters do not match its bindings."""

    def __init__(self, function: str, why: str) -> None:
        self.function = function
        super().__init__(f"Function '{function}': {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPlan:
    """How to call one function that is not durable.

    Attributes:
        call: The function to run; `client_function` behind the durable client's wrapper.
        trigger_name: Parameter that takes the trigger's value.
        client: Its durable client binding, `None` if it has none.
        client_is_text: It wants the binding's JSON text and makes a client of it, as v1 functions do.
        client_class: What the client has to be, an engine's client of it.
        out_names: Parameters that take a `func.Out` for an HTTP response.
        takes_context: Whether it has a parameter `context` for the invocation.
    """

    name: str
    call: Callable[..., Any]
    is_async: bool
    trigger_name: str
    client: Mapping[str, Any] | None = None
    client_is_text: bool = False
    client_class: type[DurableOrchestrationClient] = DurableOrchestrationClient
    out_names: tuple[str, ...] = ()
    takes_context: bool = False


def plan_call(function: IndexedFunction) -> CallPlan:
    """Return how to call a function.

    Raises:
        BindingError: A binding of another kind, or parameters that are not bound; one line with function and binding.
    """
    others = [binding for binding in function.bindings if binding is not function.trigger]
    for binding in (function.trigger, *others):
        kind = binding["type"]
        if kind not in (_SERVED_TRIGGERS if binding is function.trigger else _SERVED_BINDINGS):
            raise BindingError(
                function.name,
                f"the binding type '{kind}' (parameter '{binding['name']}') is not served by this host. It serves HTTP, "
                f"timer, warm-up and durable functions; run this function in the Azure Functions host.",
            )
    client = next((binding for binding in others if binding["type"] == "durableClient"), None)
    outs = tuple(b["name"] for b in others if b["type"] == "http" and b["name"] != RETURN)
    call = getattr(function.call, "client_function", function.call)
    parameters = _parameters(call)
    bound = {str(function.trigger["name"]), *outs} | ({str(client["name"])} if client is not None else set())
    takes_context = "context" in parameters - bound
    _check_parameters(function, parameters, bound, takes_context)
    return CallPlan(
        name=function.name,
        call=call,
        is_async=inspect.iscoroutinefunction(call),
        trigger_name=str(function.trigger["name"]),
        client=client,
        client_is_text=not hasattr(function.call, "client_function"),
        client_class=getattr(function.call, "client_class", DurableOrchestrationClient),
        out_names=outs,
        takes_context=takes_context,
    )


def _parameters(call: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(call).parameters)


def _check_parameters(function: IndexedFunction, parameters: set[str], bound: set[str], takes_context: bool) -> None:
    unbound = parameters - bound - ({"context"} if takes_context else set())
    missing = bound - parameters
    if missing:
        names = ", ".join(f"'{name}'" for name in sorted(missing))
        raise BindingError(function.name, f"it has bindings for {names} but no parameters of these names. Add them.")
    if unbound:
        names = ", ".join(f"'{name}'" for name in sorted(unbound))
        raise BindingError(function.name, f"its parameters {names} have no bindings. Remove them or add bindings.")


class InvocationContext(func.Context):
    """`context: func.Context` of one call."""

    def __init__(self, name: str, directory: str, trace: Mapping[str, str] | None = None) -> None:
        self._invocation_id, self._name, self._directory = str(uuid.uuid4()), name, directory
        self._trace = _InvocationTrace(trace or {})

    @property
    def invocation_id(self) -> str:
        return self._invocation_id

    @property
    def thread_local_storage(self) -> Any:
        return _THREAD_STORAGE

    @property
    def function_name(self) -> str:
        return self._name

    @property
    def function_directory(self) -> str:
        return self._directory

    @property
    def trace_context(self) -> Any:
        return self._trace

    @property
    def retry_context(self) -> Any:
        return _InvocationRetry()


_THREAD_STORAGE: Final = threading.local()


class _InvocationTrace:
    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    @property
    def trace_state(self) -> str:
        return self._headers.get("tracestate", "")

    @property
    def trace_parent(self) -> str:
        return self._headers.get("traceparent", "")

    @property
    def attributes(self) -> dict[str, str]:
        return {}

    Tracestate, Traceparent, Attributes = trace_state, trace_parent, attributes


class _InvocationRetry:
    @property
    def retry_count(self) -> int:
        return 0

    @property
    def max_retry_count(self) -> int:
        return 0

    @property
    def exception(self) -> Any:
        return None


@dataclass(slots=True)
class OutValue(func.Out[Any]):
    """The `func.Out` that a function sets; `value` is what it set last."""

    value: Any = field(default=None)

    def set(self, val: Any) -> None:
        self.value = val

    def get(self) -> Any:
        return self.value


def _converter(kind: str) -> Any:
    return get_binding_registry().get(kind)  # type: ignore[no-untyped-call]


def http_trigger_value(request: HttpRequestValue, query: Mapping[str, str], route: Mapping[str, str]) -> Any:
    """Return the `func.HttpRequest` of a request; `query` and `route` are decoded values."""
    datum = Datum(
        {
            "method": Datum(request.method, "string"),
            "url": Datum(request.url, "string"),
            "headers": {name: Datum(value, "string") for name, value in request.headers.items()},
            "query": {name: Datum(value, "string") for name, value in query.items()},
            "params": {name: Datum(value, "string") for name, value in route.items()},
            "body": Datum(request.body or b"", "bytes"),
        },
        "http",
    )
    return _converter("httpTrigger").decode(datum, trigger_metadata=None)


def timer_trigger_value(payload: Mapping[str, Any]) -> Any:
    """Return the `func.TimerRequest` of a tick (`Schedule`, `ScheduleStatus`, `IsPastDue`)."""
    return _converter("timerTrigger").decode(Datum(json.dumps(payload), "json"), trigger_metadata=None)


def warmup_trigger_value() -> Any:
    """Return the value of a warm-up call."""
    return _converter("warmupTrigger").decode(Datum("", "string"), trigger_metadata=None)


def http_output(name: str, value: Any) -> HttpResponseValue:
    """Turn what an HTTP function returned into a response: `func.HttpResponse`, text, bytes, `None` (204) or JSON.

    Raises:
        BindingError: The value is none of these.
    """
    if value is None:
        return HttpResponseValue(status=204)
    if isinstance(value, (bytes, bytearray)):
        headers = (("Content-Type", "application/octet-stream"),)
        return HttpResponseValue(status=200, headers=headers, body=bytes(value))
    if isinstance(value, str):
        headers = (("Content-Type", "text/plain; charset=utf-8"),)
        return HttpResponseValue(status=200, headers=headers, body=value.encode())
    if isinstance(value, func.HttpResponse):
        return _response(value)
    try:
        body = json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise BindingError(
            name, f"it returned a {type(value).__name__}. Return a func.HttpResponse, a string, bytes or JSON values."
        ) from exc
    return HttpResponseValue(status=200, headers=(("Content-Type", "application/json; charset=utf-8"),), body=body)


def _response(value: Any) -> HttpResponseValue:
    headers = [(str(name), str(text)) for name, text in value.headers.items()]
    if not any(name.lower() == "content-type" for name, _ in headers):
        charset = f"; charset={value.charset}" if value.mimetype.startswith("text/") else ""
        headers.append(("Content-Type", f"{value.mimetype}{charset}"))
    return HttpResponseValue(status=int(value.status_code), headers=tuple(headers), body=value.get_body() or b"")
