"""Actions: what an orchestrator decided, as the host reads it."""

from . import (
    CallEntityAction,
    CallSubOrchestratorWithRetryAction,
    CompoundAction,
    ContinueAsNewAction,
    NoOpAction,
    SignalEntityAction,
)
from .Action import Action
from .ActionType import ActionType
from .CallActivityAction import CallActivityAction
from .CallActivityWithRetryAction import CallActivityWithRetryAction
from .CallHttpAction import CallHttpAction
from .CallSubOrchestratorAction import CallSubOrchestratorAction
from .CreateTimerAction import CreateTimerAction
from .WaitForExternalEventAction import WaitForExternalEventAction
from .WhenAllAction import WhenAllAction
from .WhenAnyAction import WhenAnyAction

__all__ = [
    "Action",
    "ActionType",
    "CallActivityAction",
    "CallActivityWithRetryAction",
    "CallHttpAction",
    "CallSubOrchestratorAction",
    "CreateTimerAction",
    "WaitForExternalEventAction",
    "WhenAllAction",
    "WhenAnyAction",
]
