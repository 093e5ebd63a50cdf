"""AppPlan: what a local host serves of an app, and what it cannot; decided before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from durable_ext.errors import ConfigurationError, RegistrationError
from durable_ext.hosting.app_loader import IndexedFunction
from durable_ext.hosting.bindings import BindingError, CallPlan, plan_call
from durable_ext.hosting.local.http_triggers import HttpRoute, plan_routes
from durable_ext.hosting.local.timer_triggers import TimerPlan, plan_timer
from durable_ext.hosting.settings import HostSettings

DURABLE_TRIGGERS: Final = frozenset({"orchestrationTrigger", "activityTrigger", "entityTrigger"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AppPlan:
    """Attributes:
    functions: All that were indexed, without disabled ones.
    errors: Name of a function that cannot be served → one line that says why.
    disabled: Names.
    """

    settings: HostSettings
    functions: tuple[IndexedFunction, ...]
    routes: tuple[HttpRoute, ...]
    timers: tuple[TimerPlan, ...]
    warmups: tuple[CallPlan, ...]
    errors: Mapping[str, str]
    disabled: tuple[str, ...]

    @property
    def script_root(self) -> Path:
        """The app's folder."""
        return self.settings.script_root

    @property
    def not_http(self) -> tuple[IndexedFunction, ...]:
        """Functions without URL that are served, by name."""
        served = [each for each in self.functions if each.trigger_type != "httpTrigger" and each.name not in self.errors]
        return tuple(sorted(served, key=lambda each: each.name.lower()))


def plan_app(
    settings: HostSettings,
    functions: Sequence[IndexedFunction],
    *,
    resolve: Callable[[str], str],
    disabled: Callable[[IndexedFunction], bool],
) -> AppPlan:
    """Decide how each function is served; a function with a problem does not keep the others from being served.

    Args:
        resolve: Replaces `%SETTING%` in schedules and names.
        disabled: Whether a setting switches a function off.
    """
    off = [each.name for each in functions if each.disabled or disabled(each)]
    served = [each for each in functions if each.name not in off]
    foreign = {each.name: problem for each in served if (problem := _client_problem(each, settings, resolve))}
    routes, errors = plan_routes([each for each in served if each.name not in foreign], settings.route_prefix)
    errors = {**errors, **foreign}
    timers: list[TimerPlan] = []
    warmups: list[CallPlan] = []
    for function in served:
        try:
            if function.trigger_type == "timerTrigger":
                timers.append(plan_timer(function, resolve))
            elif function.trigger_type == "warmupTrigger":
                warmups.append(plan_call(function))
            elif function.trigger_type in DURABLE_TRIGGERS:
                _refuse_other_bindings(function)
            elif function.trigger_type != "httpTrigger":
                plan_call(function)
        except (RegistrationError, ConfigurationError) as exc:
            errors[function.name] = str(exc)
    return AppPlan(
        settings=settings,
        functions=tuple(served),
        routes=routes,
        timers=tuple(timers),
        warmups=tuple(warmups),
        errors=errors,
        disabled=tuple(off),
    )


def _client_problem(function: IndexedFunction, settings: HostSettings, resolve: Callable[[str], str]) -> str | None:
    """Return what is wrong with a durable client that is for another hub or connection than this host has open."""
    own = {"storage", "azurewebjobsstorage", settings.connection_name.lower()}
    for binding in function.bindings:
        if binding["type"] not in ("durableClient", "orchestrationClient"):
            continue
        hub, connection = (resolve(str(binding.get(key) or "")) for key in ("taskHub", "connectionName"))
        if hub and hub.lower() != settings.task_hub.lower():
            return (
                f"Function '{function.name}': its durable client '{binding['name']}' is for the task hub '{hub}', but this "
                f"host has '{settings.task_hub}' open. Start that hub's host, and call it by its URL."
            )
        if connection and connection.lower() not in own:
            return (
                f"Function '{function.name}': its durable client '{binding['name']}' is for the connection '{connection}', "
                f"but this host works on '{settings.connection_name}'. Set storageProvider.connectionName in host.json, or "
                f"remove it."
            )
    return None


def _refuse_other_bindings(function: IndexedFunction) -> None:
    for binding in function.bindings:
        if binding is not function.trigger and binding["type"] != "durableClient":
            raise BindingError(
                function.name,
                f"the binding type '{binding['type']}' (parameter '{binding['name']}') is not served by this host for "
                f"durable functions. Do its work in the function's code.",
            )
