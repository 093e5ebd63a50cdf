"""ContinueAsNewAction: continuing as new."""

from __future__ import annotations

from typing import Any

from ..utils.df_serialization import df_dumps
from .Action import Action
from .ActionType import ActionType


class ContinueAsNewAction(Action):
    """The action of continuing as new."""

    def __init__(self, input_: Any = None) -> None:
        self.input_ = df_dumps(input_)

    @property
    def action_type(self) -> int:
        """Number of the action."""
        return ActionType.CONTINUE_AS_NEW

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the action."""
        return {"actionType": self.action_type, "input": self.input_}


__all__ = ["ContinueAsNewAction"]
