"""WaitForExternalEventAction: waiting for an external event."""

from __future__ import annotations

from typing import Any

from .Action import Action, required
from .ActionType import ActionType


class WaitForExternalEventAction(Action):
    """The action of waiting for an external event."""

    def __init__(self, external_event_name: str) -> None:
        self.external_event_name: str = required(external_event_name, "external_event_name")
        self.reason = "ExternalEvent"

    @property
    def action_type(self) -> int:
        """Number of the action."""
        return ActionType.WAIT_FOR_EXTERNAL_EVENT

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the action."""
        return {
            "actionType": self.action_type,
            "externalEventName": self.external_event_name,
            "reason": self.reason,
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WaitForExternalEventAction) and self.external_event_name == other.external_event_name

    __hash__ = None  # type: ignore[assignment]


__all__ = ["WaitForExternalEventAction"]
