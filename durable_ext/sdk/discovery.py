"""Which orchestrators, activities and entities an indexed app has; knows no files and no host.

Source: specs/sdk.md 3.3 (names), 2.20 (types), BUG-9, BUG-10.
"""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from types import ModuleType
from typing import Any, Union

from azure.functions import FunctionRegister
from azure.functions.decorators.function_app import Function, FunctionBuilder

from durable_ext.core.entities.definitions import EntityDefinition
from durable_ext.core.orchestrators import OrchestratorDefinition
from durable_ext.errors import RegistrationError
from durable_ext.runtime.registry import ActivityDefinition, FunctionRegistry
from durable_ext.sdk.activity_calls import ActivityWithClient, ClientClass, ClientMaker, activity_call
from durable_ext.sdk.class_entities import entity_function
from durable_ext.sdk.function_names import registered_name
from durable_ext.sdk.old_names import foreign_package, is_foreign
from durable_ext.sdk.triggers import (
    ACTIVITY_TRIGGER,
    DURABLE_CLIENT,
    ENTITY_TRIGGER,
    ORCHESTRATION_TRIGGER,
    ActivityExecutor,
)
from durable_ext.sdk.typing_mode import current_converter


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableFunctions:
    """What an app registers with the engine."""

    orchestrators: tuple[OrchestratorDefinition, ...] = ()
    activities: tuple[ActivityDefinition, ...] = ()
    entities: tuple[EntityDefinition, ...] = ()

    def with_clients(self, make_client: ClientMaker) -> DurableFunctions:
        """Return the same with a client for each call of an activity that has a durable client binding."""
        activities = tuple(
            replace(each, call=each.call.bound(make_client)) if isinstance(each.call, ActivityWithClient) else each
            for each in self.activities
        )
        return replace(self, activities=activities)

    def to_registry(self) -> FunctionRegistry:
        """Return a registry of all of them.

        Raises:
            RegistrationError: Two functions of one kind have the same name.
        """
        registry = FunctionRegistry()
        for orchestrator in self.orchestrators:
            registry.add_orchestrator(orchestrator)
        for activity in self.activities:
            registry.add_activity(activity)
        for entity in self.entities:
            registry.add_entity(entity)
        return registry


AppLike = Union[FunctionRegister, ModuleType]
"""An app object (`DFApp`, `azure.functions.FunctionApp`), or a module that has one."""


def app_objects(module: ModuleType) -> dict[str, FunctionRegister]:
    """Return the app objects of a module by name; one with several names counts once, under the first."""
    found: dict[int, tuple[str, FunctionRegister]] = {}
    for name, value in vars(module).items():
        if isinstance(value, FunctionRegister):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def indexed_functions(app: AppLike) -> tuple[Function, ...]:
    """Return the functions that an app has registered, in their order.

    Raises:
        RegistrationError: It is something else, a module with no app object or with several, or an app of
            azure-functions-durable, which this engine cannot run as it is meant.
    """
    if isinstance(app, ModuleType):
        found = app_objects(app)
        if len(found) != 1:
            which = f"{len(found)} app objects ({', '.join(found)})" if found else "no app object"
            raise RegistrationError(
                f"The module '{app.__name__}' has {which}, but one is needed. Pass the app object itself."
            )
        app = next(iter(found.values()))
    if not isinstance(app, FunctionRegister):
        raise RegistrationError(
            f"{type(app).__name__} is no app object. Pass a DFApp; register a blueprint first: app.register_functions(bp)."
        )
    # Indexing an app without HTTP functions would print a warning about their auth level, and a second one would find
    # every name of the first in use.
    app._require_auth_level, app.functions_bindings = True, None
    functions = tuple(app.get_functions())
    if any(is_foreign(type(function.get_trigger())) for function in functions):
        raise RegistrationError(str(foreign_package()))
    return functions


def collect_durable_functions(functions: Iterable[Function]) -> DurableFunctions:
    """Return the durable functions among the indexed ones, i.e. of `app.get_functions()`.

    Raises:
        RegistrationError: An orchestrator's name begins with `@`.
    """
    orchestrators: list[OrchestratorDefinition] = []
    activities: list[ActivityDefinition] = []
    entities: list[EntityDefinition] = []
    for function in functions:
        trigger = function.get_trigger()
        kind = None if trigger is None else trigger.get_binding_name()
        if kind == ORCHESTRATION_TRIGGER:
            orchestrators.append(orchestrator_definition(function))
        elif kind == ACTIVITY_TRIGGER:
            activities.append(activity_definition(function))
        elif kind == ENTITY_TRIGGER:
            entities.append(entity_definition(function))
    return DurableFunctions(orchestrators=tuple(orchestrators), activities=tuple(activities), entities=tuple(entities))


def orchestrator_definition(function: Function) -> OrchestratorDefinition:
    """Return the engine's view of an indexed orchestrator."""
    handle = function.get_user_function()
    name = registered_name(function, getattr(function.get_trigger(), "orchestration", None))
    if name.startswith("@"):
        raise RegistrationError(f"Orchestrator '{name}' begins with '@', which marks entities. Rename it.")
    legacy = keeps_1x_semantics(handle)
    return OrchestratorDefinition(
        name=name,
        function=getattr(handle, "orchestrator_function", handle),
        input_type=getattr(handle, "_df_input_type", None),
        fixes=False if legacy else None,
        converter=current_converter(native=False) if legacy else None,
        resolve_type=declared_class if legacy else None,
    )


def keeps_1x_semantics(handle: object) -> bool:
    """Whether a handle was registered under the old import names."""
    return bool(getattr(handle, "legacy", False))


def activity_definition(function: Function) -> ActivityDefinition:
    """Return the engine's view of an indexed activity."""
    registered = function.get_user_function()
    user_function = getattr(registered, "client_function", registered)
    trigger: Any = function.get_trigger()
    name = registered_name(function, getattr(trigger, "activity", None))
    client = _client_of(function, registered)
    hints = type_hints(user_function)
    legacy = bool(getattr(trigger, "legacy", False))
    executor: ActivityExecutor = getattr(trigger, "executor", "auto")
    if client is not None and executor == "process":
        raise RegistrationError(
            f"Activity '{name}' has a durable client, which cannot be handed to another process. Use another executor."
        )
    call = ImportedFunction(user_function) if executor == "process" else user_function
    return ActivityDefinition(
        name=name,
        call=activity_call(user_function, call, trigger.name, name, client),
        is_async=inspect.iscoroutinefunction(user_function),
        # compat: 1.x hands activities what the JSON holds, whatever they are annotated with
        input_type=None if legacy else hints.get(trigger.name),
        executor=executor,
        keeps_1x=legacy,
        converter=current_converter(native=False) if legacy else None,
    )


def _client_of(function: Function, registered: Callable[..., Any]) -> tuple[str, ClientClass | None] | None:
    """Return parameter and class of a function's durable client; no class if it takes the binding's text."""
    for binding in function.get_bindings():
        if binding.get_binding_name() == DURABLE_CLIENT:
            return str(binding.name), getattr(registered, "client_class", None)
    return None


def entity_definition(function: Function) -> EntityDefinition:
    """Return the engine's view of an indexed entity."""
    handle = function.get_user_function()
    name = registered_name(function, getattr(function.get_trigger(), "entity_name", None))
    legacy = keeps_1x_semantics(handle)
    return EntityDefinition(
        name=name,
        function=getattr(handle, "entity_function", handle),
        rollback=False if legacy else None,
        returns_result=not legacy,
        converter=current_converter(native=False) if legacy else None,
    )


def entity_of(reference: Any) -> tuple[Callable[[Any], Any], bool]:
    """Return an entity's function of the context, and whether it keeps the semantics of 1.x.

    `reference` is what `entity_trigger` returned, or the function or class that it is to decorate.

    Raises:
        RegistrationError: It is no entity.
    """
    is_registered = isinstance(reference, FunctionBuilder)
    handle = reference._function.get_user_function() if is_registered else reference
    function = getattr(handle, "entity_function", None)
    if function is None:
        if is_registered or not callable(handle):
            raise RegistrationError(f"{reference!r} is no entity. Pass what entity_trigger decorates.")
        function = entity_function(handle)
    return function, keeps_1x_semantics(handle)


def result_type(reference: object, kind: str) -> Any:
    """Return the result type that a decorated function declares, `None` for a name or without annotation.

    The `ResultTypeResolver` of `core`; `kind` as there.
    """
    function = reference._function if isinstance(reference, FunctionBuilder) else reference
    if not isinstance(function, Function):
        return None
    user_function = function.get_user_function()
    user_function = getattr(user_function, "orchestrator_function", user_function)
    return _output_of(type_hints(user_function).get("return"))


def declared_class(reference: object, kind: str) -> Any:
    """Return `result_type` if it is a class: 1.x takes no notice of other annotations (specs/sdk.md 2.20)."""
    declared = result_type(reference, kind)
    return declared if isinstance(declared, type) else None


@lru_cache(maxsize=4096)
def _cached_hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError):  # names that only type checkers can see
        raw = getattr(function, "__annotations__", {})
        return {name: hint for name, hint in raw.items() if not isinstance(hint, str)}


def type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the resolved annotations of a function; those that cannot be resolved are left out."""
    try:
        return _cached_hints(function)
    except TypeError:  # an unhashable callable
        return {}


_GENERATORS = frozenset({typing.get_origin(typing.Generator[int, int, int])})
_AWAITABLES = frozenset(
    typing.get_origin(hint)
    for hint in (typing.Coroutine[int, int, int], typing.Awaitable[int], typing.AsyncGenerator[int, int])
)


def _output_of(hint: Any) -> Any:
    """Return what an orchestrator annotated so ends with: the last argument of Generator and Coroutine."""
    origin = typing.get_origin(hint)
    if origin in _GENERATORS or origin in _AWAITABLES:
        arguments = typing.get_args(hint)
        hint = arguments[-1] if arguments else None
    return None if hint is Any else hint


class ImportedFunction:
    """A user function that is pickled as module and name, although its name now stands for the `FunctionBuilder`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _import_function, (self._function.__module__, self._function.__qualname__)


def _import_function(module: str, qualified_name: str) -> Callable[..., Any]:
    found: Any = importlib.import_module(module)
    for part in qualified_name.split("."):
        found = getattr(found, part)
    return found._function.get_user_function() if isinstance(found, FunctionBuilder) else found
