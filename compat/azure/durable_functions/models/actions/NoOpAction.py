"""NoOpAction: stands for something that the host is not told."""

from __future__ import annotations

from typing import Any, NoReturn

from .Action import Action


class NoOpAction(Action):
    """A placeholder; it has no number and no JSON."""

    def __init__(self, metadata: str | None = None) -> None:
        self.metadata = metadata

    @property
    def action_type(self) -> NoReturn:
        """Refuse: it has none."""
        raise TypeError("Attempted to get action type of an internal NoOp action")

    def to_json(self) -> dict[str, Any]:
        """Refuse: it has none."""
        raise TypeError("Attempted to convert an internal NoOp action to JSON")


__all__ = ["NoOpAction"]
