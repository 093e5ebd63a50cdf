"""Handles: what function indexing registers for orchestrators and entities, callable with the host's JSON.

Under the Durable extension the host calls a handle with the request JSON; in our own hosts the engine runs the function
behind it (`orchestrator_function`, `entity_function`) directly. Source: specs/sdk.md 2.2, 2.3, 3.2, BUG-28.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from azure.functions import OrchestrationContext


def orchestrator_handle(
    function: Callable[..., Any], *, context_name: str = "context", input_type: Any = None, legacy: bool = False
) -> Callable[..., Any]:
    """Return the handle of an orchestrator: request JSON → state JSON.

    `legacy`: registered under the old import names, so that no fix changes the replay of its histories.
    """

    @lru_cache(maxsize=1)
    def replay() -> Callable[[Any], str]:
        from durable_ext.sdk.out_of_proc import Orchestrator  # the wire protocol is loaded only where it is spoken

        created: Callable[[Any], str] = Orchestrator.create(function)
        return created

    def handle(*args: Any, **kwargs: Any) -> str:
        created: Any = replay()
        created._df_input_type = handle._df_input_type  # type: ignore[attr-defined]
        return str(created(args[0] if args else kwargs[context_name]))

    handle.orchestrator_function = function  # type: ignore[attr-defined]
    handle._df_input_type = input_type  # type: ignore[attr-defined]
    handle.legacy = legacy  # type: ignore[attr-defined]
    return _as_one_parameter(handle, function, context_name, OrchestrationContext)


def entity_handle(
    function: Callable[..., Any], *, context_name: str = "context", legacy: bool = False
) -> Callable[..., Any]:
    """Return the handle of an entity: batch JSON → result JSON; `legacy` as for orchestrators."""

    @lru_cache(maxsize=1)
    def run() -> Callable[[Any], str]:
        from durable_ext.sdk.out_of_proc import Entity

        created: Callable[[Any], str] = Entity.create(function)
        return created

    def handle(*args: Any, **kwargs: Any) -> str:
        return str(run()(args[0] if args else kwargs[context_name]))

    handle.entity_function = function  # type: ignore[attr-defined]
    handle.legacy = legacy  # type: ignore[attr-defined]
    return _as_one_parameter(handle, function, context_name, inspect.Parameter.empty)


def keeps_1x_semantics(handle: object) -> bool:
    """Whether a handle was registered under the old import names."""
    return bool(getattr(handle, "legacy", False))


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
