"""Result types that functions declare (specs/sdk.md 2.20)."""

from __future__ import annotations

from typing import Any

from durable_ext.sdk.discovery import type_hints


def activity_output_type(activity: Any) -> type | None:
    """Return the class that an activity is annotated to return, `None` for names and other annotations."""
    return _output_type(activity)


def sub_orchestrator_output_type(orchestrator: Any) -> type | None:
    """Return the class that an orchestrator is annotated to return, `None` for names and other annotations."""
    return _output_type(orchestrator)


def _output_type(builder: Any) -> type | None:
    function = getattr(getattr(builder, "_function", None), "_func", None)
    if not callable(function):
        return None
    annotation = type_hints(function).get("return")
    return annotation if isinstance(annotation, type) else None


__all__ = ["activity_output_type", "sub_orchestrator_output_type"]
