"""CallActivityAction: calling an activity."""

from __future__ import annotations

from typing import Any

from ..utils.df_serialization import df_dumps
from .Action import Action, required
from .ActionType import ActionType


class CallActivityAction(Action):
    """The action of calling an activity."""

    def __init__(self, function_name: str, input_: Any = None) -> None:
        self.function_name: str = required(function_name, "function_name")
        self.input_ = df_dumps(input_)

    @property
    def action_type(self) -> int:
        """Number of the action."""
        return ActionType.CALL_ACTIVITY

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the action."""
        return {"actionType": self.action_type, "functionName": self.function_name, "input": self.input_}


__all__ = ["CallActivityAction"]
