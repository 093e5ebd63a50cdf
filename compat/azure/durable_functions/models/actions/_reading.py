"""Action JSON → actions, for contexts that show what they have decided."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from ...constants import DATETIME_STRING_FORMAT
from ..DurableHttpRequest import DurableHttpRequest
from ..RetryOptions import RetryOptions
from ..TokenSource import ManagedIdentityTokenSource
from ..utils.entity_utils import EntityId
from .Action import Action
from .ActionType import ActionType
from .CallActivityAction import CallActivityAction
from .CallActivityWithRetryAction import CallActivityWithRetryAction
from .CallEntityAction import CallEntityAction
from .CallHttpAction import CallHttpAction
from .CallSubOrchestratorAction import CallSubOrchestratorAction
from .CallSubOrchestratorWithRetryAction import CallSubOrchestratorWithRetryAction
from .ContinueAsNewAction import ContinueAsNewAction
from .CreateTimerAction import CreateTimerAction
from .SignalEntityAction import SignalEntityAction
from .WaitForExternalEventAction import WaitForExternalEventAction
from .WhenAllAction import WhenAllAction
from .WhenAnyAction import WhenAnyAction

_Members = Mapping[str, Any]


def read_actions(actions: Iterable[_Members]) -> list[Action]:
    """Return the actions of parsed JSON."""
    return [_READERS[ActionType(members["actionType"])](members) for members in actions]


def _retry(members: _Members) -> RetryOptions:
    options = members["retryOptions"]
    return RetryOptions(options["firstRetryIntervalInMilliseconds"], options["maxNumberOfAttempts"])


def _timer(members: _Members) -> Action:
    fire_at = datetime.strptime(members["fireAt"], DATETIME_STRING_FORMAT).replace(tzinfo=timezone.utc)
    return CreateTimerAction(fire_at, members["isCanceled"])


def _http(members: _Members) -> Action:
    request = members["httpRequest"]
    source = request.get("tokenSource")
    token_source = None if source is None else ManagedIdentityTokenSource(source["resource"])
    return CallHttpAction(
        DurableHttpRequest(request["method"], request["uri"], request["content"], request["headers"], token_source)
    )


_READERS: dict[ActionType, Callable[[_Members], Action]] = {
    ActionType.CALL_ACTIVITY: lambda it: CallActivityAction(it["functionName"], json.loads(it["input"])),
    ActionType.CALL_ACTIVITY_WITH_RETRY: lambda it: CallActivityWithRetryAction(
        it["functionName"], _retry(it), json.loads(it["input"])
    ),
    ActionType.CALL_SUB_ORCHESTRATOR: lambda it: CallSubOrchestratorAction(
        it["functionName"], json.loads(it["input"]), it["instanceId"], it["version"]
    ),
    ActionType.CALL_SUB_ORCHESTRATOR_WITH_RETRY: lambda it: CallSubOrchestratorWithRetryAction(
        it["functionName"], _retry(it), json.loads(it["input"]), it["instanceId"], it["version"]
    ),
    ActionType.CONTINUE_AS_NEW: lambda it: ContinueAsNewAction(json.loads(it["input"])),
    ActionType.CREATE_TIMER: _timer,
    ActionType.WAIT_FOR_EXTERNAL_EVENT: lambda it: WaitForExternalEventAction(it["externalEventName"]),
    ActionType.CALL_ENTITY: lambda it: CallEntityAction(
        EntityId.get_entity_id(it["instanceId"]), it["operation"], json.loads(it["input"])
    ),
    ActionType.CALL_HTTP: _http,
    ActionType.SIGNAL_ENTITY: lambda it: SignalEntityAction(
        EntityId.get_entity_id(it["instanceId"]), it["operation"], json.loads(it["input"])
    ),
    ActionType.WHEN_ANY: lambda it: WhenAnyAction(read_actions(it["compoundActions"])),
    ActionType.WHEN_ALL: lambda it: WhenAllAction(read_actions(it["compoundActions"])),
}


__all__ = ["read_actions"]
