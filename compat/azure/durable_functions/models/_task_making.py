"""Tasks for actions: what `context._generate_task` of 1.x makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from durable_ext.core.entity_calls import EntityCallTask
from durable_ext.core.replay import Replay
from durable_ext.core.task_chains import http_activity
from durable_ext.core.tasks import ActivityTask, EventTask, SubOrchestrationTask, Task, TimerTask
from durable_ext.core.timestamps import ticks_from_datetime

from .actions.Action import Action
from .actions.ActionType import ActionType


def engine_task(action: Action, replay: Replay) -> Task[Any]:
    """Return a task of the engine for one action.

    Raises:
        ValueError: No task belongs to an action of that kind.
    """
    make = _MAKERS.get(ActionType(action.action_type))
    if make is None:
        raise ValueError(f"No task belongs to {type(action).__name__}. Pass the action of a call, a timer or a wait.")
    return make(action, replay)


def _activity(action: Any, replay: Replay) -> Task[Any]:
    return ActivityTask(action.function_name, None, action.input_)


def _sub_orchestration(action: Any, replay: Replay) -> Task[Any]:
    return SubOrchestrationTask(
        action.function_name, None, action._input, instance_id=action.instance_id, version=action.version
    )


def _http(action: Any, replay: Replay) -> Task[Any]:
    return http_activity(json.dumps(action.http_request.to_json()))


def _entity_call(action: Any, replay: Replay) -> Task[Any]:
    return EntityCallTask(replay.entities, action.entity_id, action.operation, action.input_, None)


def _timer(action: Any, replay: Replay) -> Task[Any]:
    return TimerTask(ticks_from_datetime(action.fire_at))


def _event(action: Any, replay: Replay) -> Task[Any]:
    return EventTask(action.external_event_name)


_MAKERS: Final[dict[ActionType, Callable[[Any, Replay], Task[Any]]]] = {
    ActionType.CALL_ACTIVITY: _activity,
    ActionType.CALL_ACTIVITY_WITH_RETRY: _activity,
    ActionType.CALL_SUB_ORCHESTRATOR: _sub_orchestration,
    ActionType.CALL_SUB_ORCHESTRATOR_WITH_RETRY: _sub_orchestration,
    ActionType.CALL_HTTP: _http,
    ActionType.CALL_ENTITY: _entity_call,
    ActionType.CREATE_TIMER: _timer,
    ActionType.WAIT_FOR_EXTERNAL_EVENT: _event,
}


__all__ = ["engine_task"]
