"""WhenAllAction: several actions of which all must end."""

from .ActionType import ActionType
from .CompoundAction import CompoundAction


class WhenAllAction(CompoundAction):
    """The action of `task_all`."""

    @property
    def action_type(self) -> int:
        """Number of the action."""
        return ActionType.WHEN_ALL


__all__ = ["WhenAllAction"]
