"""SignalEntityAction: signalling an entity."""

from __future__ import annotations

from ._EntityAction import EntityAction
from .ActionType import ActionType


class SignalEntityAction(EntityAction):
    """The action of signalling an entity."""

    kind = ActionType.SIGNAL_ENTITY


__all__ = ["SignalEntityAction"]
