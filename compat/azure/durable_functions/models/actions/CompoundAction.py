"""CompoundAction: the base of when-all and when-any."""

from __future__ import annotations

from typing import Any

from .Action import Action


class CompoundAction(Action):
    """Several actions that are awaited together."""

    def __init__(self, compound_tasks: list[Action]) -> None:
        self.compound_tasks = compound_tasks

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the action."""
        return {
            "actionType": self.action_type,
            "compoundActions": [action.to_json() for action in self.compound_tasks],
        }


__all__ = ["CompoundAction"]
