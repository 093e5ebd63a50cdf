"""CallActivityWithRetryAction: calling an activity with retries."""

from __future__ import annotations

from typing import Any

from durable_ext import RetryOptions

from ..utils.df_serialization import df_dumps
from .Action import Action, required
from .ActionType import ActionType


class CallActivityWithRetryAction(Action):
    """The action of calling an activity with retries."""

    def __init__(self, function_name: str, retry_options: RetryOptions, input_: Any = None) -> None:
        self.function_name: str = required(function_name, "function_name")
        self.retry_options, self.input_ = retry_options, df_dumps(input_)

    @property
    def action_type(self) -> int:
        """Number of the action."""
        return ActionType.CALL_ACTIVITY_WITH_RETRY

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the action."""
        return {
            "actionType": self.action_type,
            "functionName": self.function_name,
            "input": self.input_,
            "retryOptions": self.retry_options.to_json(),
        }


__all__ = ["CallActivityWithRetryAction"]
