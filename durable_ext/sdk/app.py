"""DFApp and Blueprint: `azure.functions` apps with the durable decorators; know no engine.

The decorators return what `azure.functions` needs, a `FunctionBuilder`; for type checkers the decorated function keeps its
type, so that `context.call_activity(say_hello, "x")` knows its result. Source: specs/sdk.md 3.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, get_args

from azure.functions import AuthLevel, BindingApi, FunctionRegister, SettingsApi, TriggerApi
from azure.functions.decorators.function_app import FunctionBuilder

from durable_ext.errors import RegistrationError
from durable_ext.sdk.class_entities import entity_function
from durable_ext.sdk.client_input import with_client
from durable_ext.sdk.handles import entity_handle, orchestrator_handle
from durable_ext.sdk.orchestration_client import DurableOrchestrationClient
from durable_ext.sdk.out_of_proc import Entity, Orchestrator
from durable_ext.sdk.triggers import (
    ActivityExecutor,
    ActivityTrigger,
    DurableClientInput,
    EntityTrigger,
    OrchestrationTrigger,
)

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Blueprint(TriggerApi, BindingApi, SettingsApi):
    """Functions that are registered into a `DFApp` later: `app.register_functions(blueprint)`.

    All decorators of `azure.functions.Blueprint` are there too, and may be stacked in any order.
    """

    _legacy: ClassVar[bool] = False
    _orchestrator_class: ClassVar[type[Orchestrator]] = Orchestrator
    _entity_class: ClassVar[type[Entity]] = Entity
    _client_class: ClassVar[type[DurableOrchestrationClient]] = DurableOrchestrationClient

    def __init__(self, http_auth_level: AuthLevel | str = AuthLevel.FUNCTION) -> None:
        """Args: http_auth_level: Ignored by a plain blueprint; a text is the name of an `AuthLevel`."""
        super().__init__(auth_level=http_auth_level)  # type: ignore[no-untyped-call]
        self._is_durable_openai_agent_setup = False

    def orchestration_trigger(
        self, context_name: str, orchestration: str | None = None, input_type: Any = None
    ) -> Callable[[_Function], _Function]:
        """Register an orchestrator: a generator function or an `async def`, called with the orchestration context.

        Args:
            context_name: Name of the function's parameter.
            orchestration: Name it is started by; default is that of `@function_name`, else the function's.
            input_type: What `context.get_input()` decodes into when it names no type.
        """

        def decorate(target: Any) -> Any:
            builder, user_function = self._opened(target)
            handle = orchestrator_handle(
                user_function,
                context_name=context_name,
                input_type=input_type,
                protocol=self._orchestrator_class,
                legacy=self._legacy,
            )
            return self._closed(builder, handle).add_trigger(
                OrchestrationTrigger(name=context_name, orchestration=orchestration)
            )

        return decorate

    def activity_trigger(
        self, input_name: str, activity: str | None = None, *, executor: ActivityExecutor = "auto"
    ) -> Callable[[_Function], _Function]:
        """Register an activity: a plain function or an `async def`, called with one value.

        Args:
            input_name: Name of the function's parameter.
            activity: Name it is called by; default is that of `@function_name`, else the function's.
            executor: Where our hosts run it: `"auto"` = the event loop for `async def`, a thread otherwise; `"process"` =
                a worker process, for CPU work (the function must be importable by name). Not seen by the Functions host.

        Raises:
            RegistrationError: There is no such executor.
        """
        if executor not in get_args(ActivityExecutor):
            known = "'auto', 'thread' or 'process'"
            raise RegistrationError(f"activity_trigger(executor={executor!r}): there is no such executor; write {known}.")

        def decorate(target: Any) -> Any:
            builder, user_function = self._opened(target)
            trigger = ActivityTrigger(name=input_name, activity=activity)
            trigger.executor, trigger.legacy = executor, self._legacy
            return self._closed(builder, user_function).add_trigger(trigger)

        return decorate

    def entity_trigger(self, context_name: str, entity_name: str | None = None) -> Callable[[_Function], _Function]:
        """Register an entity: a function called with the entity context per operation, or a subclass of `EntityBase`.

        Args:
            context_name: Name of the function's parameter; any name for a class.
            entity_name: Name in the entity's ids; default is that of `@function_name`, else the function's or class's.
        """

        def decorate(target: Any) -> Any:
            builder, user_function = self._opened(target)
            # no code of 1.x has an entity class: under the old names too it works as `EntityBase` says
            is_class = inspect.isclass(user_function)
            handle = entity_handle(
                entity_function(user_function),
                context_name=context_name,
                protocol=Entity if is_class else self._entity_class,
                legacy=self._legacy and not is_class,
            )
            return self._closed(builder, handle).add_trigger(EntityTrigger(name=context_name, entity_name=entity_name))

        return decorate

    def durable_client_input(
        self, client_name: str, task_hub: str | None = None, connection_name: str | None = None
    ) -> Callable[[_Function], _Function]:
        """Give a function, sync or async, a `DurableOrchestrationClient` as its parameter `client_name`.

        Args:
            task_hub: Another hub than that of host.json.
            connection_name: Name of the setting with another storage connection.
        """

        def decorate(target: Any) -> Any:
            builder, user_function = self._opened(target)
            return self._closed(builder, with_client(user_function, client_name, self._client_class)).add_binding(
                DurableClientInput(name=client_name, task_hub=task_hub, connection_name=connection_name)
            )

        return decorate

    def _opened(self, target: Any) -> tuple[FunctionBuilder | None, Any]:
        """Return the builder that earlier decorators made, if any, and the function in it."""
        if isinstance(target, FunctionBuilder):
            return target, target._function._func
        return None, target

    def _closed(self, builder: FunctionBuilder | None, function: Callable[..., Any]) -> FunctionBuilder:
        """Put the function into the builder that stands at the end of this blueprint's list; make one if needed."""
        if builder is None:
            made = FunctionBuilder(function, self._app_script_file)  # type: ignore[no-untyped-call]
            self._function_builders.append(made)
            return made
        builder._function._func = function
        return builder


class DFApp(Blueprint, FunctionRegister):
    """The app object of `function_app.py`: what a host indexes."""

    def __init__(self, http_auth_level: AuthLevel | str = AuthLevel.FUNCTION) -> None:
        """Args: http_auth_level: For HTTP triggers that name none; a text is the name of an `AuthLevel`."""
        super().__init__(http_auth_level)
