"""Puts plain functions into a registry, as the decorators of the SDK would."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from durable_ext.core.entities.definitions import EntityDefinition
from durable_ext.core.orchestrators import OrchestratorDefinition
from durable_ext.runtime.registry import ActivityDefinition, FunctionRegistry


def registry_of(
    *,
    orchestrators: Sequence[Callable[..., Any]] = (),
    activities: Sequence[Callable[..., Any]] = (),
    entities: Sequence[Callable[..., Any]] = (),
    processes: Sequence[Callable[..., Any]] = (),
) -> FunctionRegistry:
    """Return a registry with these functions under their own names; `processes` are activities for a process."""
    registry = FunctionRegistry()
    for function in orchestrators:
        registry.add_orchestrator(OrchestratorDefinition(name=function.__name__, function=function))
    for function in activities:
        registry.add_activity(
            ActivityDefinition(name=function.__name__, call=function, is_async=inspect.iscoroutinefunction(function))
        )
    for function in processes:
        registry.add_activity(ActivityDefinition(name=function.__name__, call=function, is_async=False, executor="process"))
    for function in entities:
        registry.add_entity(EntityDefinition(name=function.__name__, function=function))
    return registry
