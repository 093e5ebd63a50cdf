"""Handles: what function indexing registers for orchestrators and entities, callable with the host's JSON.

Under the Durable extension the host calls a handle with the request JSON; in our own hosts the engine runs the function
behind it (`orchestrator_function`, `entity_function`) directly. Source: specs/sdk.md 2.2, 2.3, 3.2, BUG-28.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from azure.functions import OrchestrationContext

from durable_ext.sdk.out_of_proc import Entity, Orchestrator


def orchestrator_handle(
    function: Callable[..., Any],
    *,
    context_name: str = "context",
    input_type: Any = None,
    protocol: type[Orchestrator] = Orchestrator,
    legacy: bool = False,
) -> Callable[..., Any]:
    """Return the handle of an orchestrator: request JSON → state JSON.

    `legacy`: registered under the old import names, so that no fix changes the replay of its histories.
    """
    replay: Any = protocol.create(function)

    def handle(*args: Any, **kwargs: Any) -> str:
        replay._df_input_type = handle._df_input_type  # type: ignore[attr-defined]
        return str(replay(args[0] if args else kwargs[context_name]))

    handle.orchestrator_function = function  # type: ignore[attr-defined]
    handle._df_input_type = input_type  # type: ignore[attr-defined]
    handle.legacy = legacy  # type: ignore[attr-defined]
    return _as_one_parameter(handle, function, context_name, OrchestrationContext)


def entity_handle(
    function: Callable[..., Any],
    *,
    context_name: str = "context",
    protocol: type[Entity] = Entity,
    legacy: bool = False,
) -> Callable[..., Any]:
    """Return the handle of an entity: batch JSON → result JSON; `legacy` as for orchestrators."""
    run = protocol.create(function)

    def handle(*args: Any, **kwargs: Any) -> str:
        return run(args[0] if args else kwargs[context_name])

    handle.entity_function = function  # type: ignore[attr-defined]
    handle.legacy = legacy  # type: ignore[attr-defined]
    return _as_one_parameter(handle, function, context_name, inspect.Parameter.empty)


def _as_one_parameter(
    handle: Callable[..., str], function: Callable[..., Any], context_name: str, annotation: Any
) -> Callable[..., str]:
    """Give a handle the signature that workers compare with the binding: one parameter of the binding's name."""
    handle.__name__ = handle.__qualname__ = function.__name__
    handle.__module__, handle.__doc__ = function.__module__, function.__doc__
    parameter = inspect.Parameter(context_name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)
    handle.__signature__ = inspect.Signature([parameter], return_annotation=str)  # type: ignore[attr-defined]
    handle.__annotations__ = {"return": str}
    if annotation is not inspect.Parameter.empty:
        handle.__annotations__ = {context_name: annotation, "return": str}
    return handle
