"""CallHttpAction: calling HTTP."""

from __future__ import annotations

from typing import Any

from durable_ext import DurableHttpRequest

from .Action import Action
from .ActionType import ActionType


class CallHttpAction(Action):
    """The action of calling HTTP."""

    def __init__(self, http_request: DurableHttpRequest) -> None:
        self.http_request = http_request

    @property
    def action_type(self) -> int:
        """Number of the action."""
        return ActionType.CALL_HTTP

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the action."""
        return {"actionType": self.action_type, "httpRequest": self.http_request.to_json()}


__all__ = ["CallHttpAction"]
