"""CallSubOrchestratorAction: calling a sub-orchestrator."""

from __future__ import annotations

from typing import Any

from ..utils.df_serialization import df_dumps
from .Action import Action, required
from .ActionType import ActionType


class CallSubOrchestratorAction(Action):
    """The action of calling a sub-orchestrator."""

    def __init__(
        self, function_name: str, _input: Any = None, instance_id: str | None = None, version: str | None = None
    ) -> None:
        self.function_name: str = required(function_name, "function_name")
        self._input, self.instance_id, self.version = df_dumps(_input), instance_id, version

    @property
    def action_type(self) -> int:
        """Number of the action."""
        return ActionType.CALL_SUB_ORCHESTRATOR

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the action."""
        return {
            "actionType": self.action_type,
            "functionName": self.function_name,
            "input": self._input,
            "instanceId": self.instance_id,
            "version": self.version,
        }


__all__ = ["CallSubOrchestratorAction"]
