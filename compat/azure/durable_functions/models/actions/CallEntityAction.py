"""CallEntityAction: calling an entity."""

from __future__ import annotations

from ._EntityAction import EntityAction
from .ActionType import ActionType


class CallEntityAction(EntityAction):
    """The action of calling an entity."""

    kind = ActionType.CALL_ENTITY


__all__ = ["CallEntityAction"]
