"""The app's HTTP triggers: which function answers a request, and the request as the function sees it.

Functions are tried in alphabetical order of their names, the first match wins (specs/functions-hosting.md 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus

from durable_ext.errors import BackendUnavailableError, RegistrationError
from durable_ext.hosting.app_loader import IndexedFunction
from durable_ext.hosting.bindings import BindingError, CallPlan, OutValue, http_output, http_trigger_value, plan_call
from durable_ext.hosting.local.invocations import Invoker
from durable_ext.hosting.local.route_templates import RouteTemplate, parse_route
from durable_ext.http.messages import HttpRequestValue, HttpResponseValue
from durable_ext.http.payloads import error_response

_RESERVED: Final = ("admin", "runtime")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRoute:
    """One HTTP function. `methods` are upper case, empty = all."""

    plan: CallPlan
    template: RouteTemplate
    methods: tuple[str, ...]

    def accepts(self, method: str) -> bool:
        """Whether the method is one of the function's."""
        return not self.methods or method in self.methods


def plan_routes(functions: Sequence[IndexedFunction], prefix: str) -> tuple[tuple[HttpRoute, ...], dict[str, str]]:
    """Return the routes in matching order, and for each function that cannot be served its name and one line why.

    Reserved routes and those of another function are such errors.
    """
    routes: list[HttpRoute] = []
    errors: dict[str, str] = {}
    for function in sorted(functions, key=lambda each: each.name.lower()):
        if function.trigger_type != "httpTrigger":
            continue
        try:
            route = _route(function, prefix)
            _refuse_conflict(route, routes)
        except RegistrationError as exc:
            errors[function.name] = str(exc)
        else:
            routes.append(route)
    return tuple(routes), errors


def _route(function: IndexedFunction, prefix: str) -> HttpRoute:
    own = str(function.trigger.get("route") or function.name).strip("/")
    if own.lower().startswith(_RESERVED):
        raise BindingError(function.name, "The specified route conflicts with one or more built in routes.")
    methods = function.trigger.get("methods") or ()
    return HttpRoute(
        plan=plan_call(function),
        template=parse_route(f"{prefix}/{own}"),
        methods=tuple(str(method).upper() for method in methods),
    )


def _refuse_conflict(route: HttpRoute, others: Sequence[HttpRoute]) -> None:
    for other in others:
        same = other.template.text.lower() == route.template.text.lower()
        if same and (not other.methods or not route.methods or set(other.methods) & set(route.methods)):
            raise BindingError(
                route.plan.name,
                f"the route '{route.template.text}' and its methods are already those of function '{other.plan.name}'. "
                f"Change one of the two.",
            )


class HttpTriggers:
    """Answers requests with the app's functions."""

    def __init__(self, routes: Sequence[HttpRoute], invoker: Invoker) -> None:
        self._routes, self._invoker = routes, invoker

    async def handle(self, request: HttpRequestValue) -> HttpResponseValue | None:
        """Return the function's response, `None` if no route matches.

        A function that failed (its exception is logged) is 500; 503 if that was because the task hub cannot be reached.
        """
        for route in self._routes:
            if not route.accepts(request.method):
                continue
            values = route.template.match(request.path)
            if values is not None:
                return await self._answer(route.plan, request, values)
        return None

    async def _answer(self, plan: CallPlan, request: HttpRequestValue, values: dict[str, str]) -> HttpResponseValue:
        outs = {name: OutValue() for name in plan.out_names}
        trigger_value = http_trigger_value(request, _query(request.query), values)
        try:
            result = await self._invoker.call(plan, trigger_value, outs=outs, trace=request.headers)
            if outs and result is None:
                result = next((out.get() for out in outs.values() if out.get() is not None), None)
            return http_output(plan.name, result)
        except BackendUnavailableError:
            return error_response(503, "The task hub cannot be reached. Try again later.")
        except BindingError as exc:
            self._invoker.report(plan.name, str(exc))
        except Exception:  # the app's own; `Invoker.call` has logged it
            pass
        return HttpResponseValue(status=500)


def _query(query: str) -> dict[str, str]:
    """Return parameters as the Functions host hands them on: repeated ones joined by a comma, empty ones dropped."""
    values: dict[str, list[str]] = {}
    for piece in query.split("&"):
        name, _, value = piece.partition("=")
        if name and value:
            values.setdefault(unquote_plus(name), []).append(unquote_plus(value))
    return {name: ",".join(each) for name, each in values.items()}
