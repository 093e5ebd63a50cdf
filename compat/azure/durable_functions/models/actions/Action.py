"""Action: the base of all actions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class Action(ABC):
    """Something that an orchestrator decided."""

    @property
    @abstractmethod
    def action_type(self) -> int:
        """Number of the action."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the action, keys in order (specs/sdk.md 5.4)."""


def required(value: Any, name: str) -> Any:
    """Return a value that must not be empty.

    Raises:
        ValueError: It is.
    """
    if not value:
        raise ValueError(f"{name} cannot be empty")
    return value


__all__ = ["Action"]
