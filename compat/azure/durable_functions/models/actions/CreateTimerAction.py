"""CreateTimerAction: creating a timer."""

from __future__ import annotations

from datetime import date
from typing import Any

from ...constants import DATETIME_STRING_FORMAT
from .Action import Action
from .ActionType import ActionType


class CreateTimerAction(Action):
    """The action of creating a timer."""

    def __init__(self, fire_at: date, is_cancelled: bool = False) -> None:
        if not isinstance(fire_at, date):
            raise ValueError("fireAt: Expected valid datetime object but got ", fire_at)
        self.fire_at, self.is_cancelled = fire_at, is_cancelled

    @property
    def action_type(self) -> int:
        """Number of the action."""
        return ActionType.CREATE_TIMER

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the action."""
        return {
            "actionType": self.action_type,
            "fireAt": self.fire_at.strftime(DATETIME_STRING_FORMAT),
            "isCanceled": self.is_cancelled,
        }


__all__ = ["CreateTimerAction"]
