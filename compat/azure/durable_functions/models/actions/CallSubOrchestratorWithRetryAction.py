"""CallSubOrchestratorWithRetryAction: calling a sub-orchestrator with retries."""

from __future__ import annotations

from typing import Any

from durable_ext import RetryOptions

from ..utils.df_serialization import df_dumps
from .Action import Action, required
from .ActionType import ActionType


class CallSubOrchestratorWithRetryAction(Action):
    """The action of calling a sub-orchestrator with retries."""

    def __init__(
        self,
        function_name: str,
        retry_options: RetryOptions,
        _input: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
    ) -> None:
        self.function_name: str = required(function_name, "function_name")
        self.retry_options, self._input = retry_options, df_dumps(_input)
        self.instance_id, self.version = instance_id, version

    @property
    def action_type(self) -> int:
        """Number of the action."""
        return ActionType.CALL_SUB_ORCHESTRATOR_WITH_RETRY

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the action."""
        return {
            "actionType": self.action_type,
            "functionName": self.function_name,
            "input": self._input,
            "retryOptions": self.retry_options.to_json(),
            "instanceId": self.instance_id,
            "version": self.version,
        }


__all__ = ["CallSubOrchestratorWithRetryAction"]
