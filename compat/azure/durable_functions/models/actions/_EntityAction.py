"""EntityAction: what calling and signalling an entity have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from durable_ext import EntityId

from ..utils.df_serialization import df_dumps
from .Action import Action, required
from .ActionType import ActionType


class EntityAction(Action):
    """An operation that is sent to an entity; `kind` tells whether somebody waits for it."""

    kind: ClassVar[ActionType]

    def __init__(self, entity_id: EntityId, operation: str, input_: Any = None) -> None:
        self.entity_id: EntityId = required(entity_id, "entity_id")
        self.instance_id = EntityId.get_scheduler_id(entity_id)
        self.operation, self.input_ = operation, df_dumps(input_)

    @property
    def action_type(self) -> int:
        """Number of the action."""
        return self.kind

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the action."""
        return {
            "actionType": self.action_type,
            "instanceId": self.instance_id,
            "operation": self.operation,
            "input": self.input_,
        }


__all__ = ["EntityAction"]
