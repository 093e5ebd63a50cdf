"""WhenAnyAction: several actions of which one must end."""

from .ActionType import ActionType
from .CompoundAction import CompoundAction


class WhenAnyAction(CompoundAction):
    """The action of `task_any`."""

    @property
    def action_type(self) -> int:
        """Number of the action."""
        return ActionType.WHEN_ANY


__all__ = ["WhenAnyAction"]
