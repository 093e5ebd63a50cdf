"""DurableOrchestrationContext: an orchestration as the host's request describes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from durable_ext.sdk.discovery import declared_class
from durable_ext.sdk.function_names import resolve_function_name
from durable_ext.sdk.out_of_proc_context import OutOfProcContext
from durable_ext.sdk.triggers import ActivityTrigger

from .._payloads import current_converter
from ._task_making import engine_task
from .actions.SignalEntityAction import SignalEntityAction
from .actions.WhenAllAction import WhenAllAction
from .history.HistoryEvent import HistoryEvent
from .history.HistoryEventType import HistoryEventType
from .ReplaySchema import ReplaySchema
from .RetryOptions import RetryOptions
from .Task import AtomicTask, RetryAbleTask, as_1x
from .utils.df_serialization import df_dumps

if TYPE_CHECKING:
    from durable_ext.codec.serialization import DataConverter

    from .actions.Action import Action


class DurableOrchestrationContext(OutOfProcContext):
    """The context of 1.x: further attributes may be set on it."""

    @classmethod
    def default_converter(cls) -> DataConverter:
        """Return the converter of the mode that is set now."""
        return current_converter()

    @staticmethod
    def declared_type(function: object, kind: str) -> Any:
        """Return what 1.x takes notice of: classes."""
        return declared_class(function, kind)

    @property
    def _replay_schema(self) -> ReplaySchema:
        return ReplaySchema(self._schema)

    @property
    def _input_expected_type(self) -> Any:
        return self._expected_type

    @_input_expected_type.setter
    def _input_expected_type(self, expected_type: Any) -> None:
        self.expect_input(expected_type)

    # The calls: as in the base class, with tasks that have the attributes of 1.x.

    def call_activity(self, name: Any, input_: Any = None, expected_type: Any = None) -> Any:  # type: ignore[override]
        return as_1x(super().call_activity(name, input_, expected_type), self)

    def call_activity_with_retry(  # type: ignore[override]
        self, name: Any, retry_options: RetryOptions, input_: Any = None, expected_type: Any = None
    ) -> Any:
        return as_1x(super().call_activity_with_retry(name, retry_options, input_, expected_type), self)

    def call_sub_orchestrator(  # type: ignore[override]
        self,
        name: Any,
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
        expected_type: Any = None,
    ) -> Any:
        return as_1x(super().call_sub_orchestrator(name, input_, instance_id, version, expected_type), self)

    def call_sub_orchestrator_with_retry(  # type: ignore[override]
        self,
        name: Any,
        retry_options: RetryOptions,
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
        expected_type: Any = None,
    ) -> Any:
        task = super().call_sub_orchestrator_with_retry(name, retry_options, input_, instance_id, version, expected_type)
        return as_1x(task, self)

    def call_http(self, *args: Any, **kwargs: Any) -> Any:
        return as_1x(super().call_http(*args, **kwargs), self)

    def call_entity(self, entityId: Any, operationName: str, operationInput: Any = None, expected_type: Any = None) -> Any:
        return as_1x(super().call_entity(entityId, operationName, operationInput, expected_type), self)

    def signal_entity(
        self, entityId: Any, operationName: str, operationInput: Any = None, *, signal_time: datetime | None = None
    ) -> Any:
        task = as_1x(super().signal_entity(entityId, operationName, operationInput, signal_time=signal_time), self)
        task.action_repr = self._in_schema(SignalEntityAction(entityId, operationName, operationInput))
        return task

    def create_timer(self, fire_at: Any) -> Any:
        return as_1x(super().create_timer(fire_at), self)

    def wait_for_external_event(self, name: str, expected_type: Any = None) -> Any:  # type: ignore[override]
        return as_1x(super().wait_for_external_event(name, expected_type), self)

    def task_all(self, activities: Any) -> Any:
        return as_1x(super().task_all(activities), self)

    def task_any(self, activities: Any) -> Any:
        return as_1x(super().task_any(activities), self)

    # What 1.x keeps of a replay; tests of apps look at it.

    def _actions_of_task(self, task: Any) -> Any:
        from .actions._reading import read_actions

        actions = read_actions(json.loads(text) for text in self._action_log.texts_of(task))
        return actions if self._replay_schema is ReplaySchema.V1 else actions[0]

    def _in_schema(self, action: Action) -> Any:
        """Return what stands for one action: the action, in schema V1 a list of it."""
        return [action] if self._replay_schema is ReplaySchema.V1 else action

    def _generate_task(
        self,
        action: Action,
        retry_options: RetryOptions | None = None,
        id_: int | str | None = None,
        parent: Any = None,
        task_constructor: Any = AtomicTask,
    ) -> Any:
        """Return the task of an action, tried again with `retry_options`."""
        if task_constructor is not AtomicTask:
            task = task_constructor(id_, action)
        else:
            task = as_1x(engine_task(action, self._replay), self)
            task.action_repr = self._in_schema(action)
            if id_ is not None:
                task.id = id_
        if parent is not None:
            task.parent = parent
        if retry_options is None:
            return task
        retried = RetryAbleTask(task, retry_options, self)
        retried.action_repr = [action] if self._replay_schema is ReplaySchema.V1 else WhenAllAction([action])
        return retried

    def _add_to_open_tasks(self, task: Any) -> None:
        """Give a task its id and let it hear of its result."""
        task.open(self._replay)

    def _add_to_actions(self, action_repr: Any) -> None:
        """Append what one yield decided: a list of actions in schema V1, else one action."""
        if isinstance(action_repr, list) is not (self._replay_schema is ReplaySchema.V1):
            raise TypeError(
                f"DF-internal exception: ActionRepr of signature {type(action_repr)} is not compatible on ReplaySchema "
                f"{self._replay_schema.name}."
            )
        if not self.will_continue_as_new:
            actions = action_repr if isinstance(action_repr, list) else [action_repr]
            self._action_log.added([df_dumps(action.to_json()) for action in actions])

    def _record_fire_and_forget_action(self, action: Any) -> None:
        """Append an action that nobody waits for; it takes a sequence number."""
        self._add_to_actions(self._in_schema(action))
        self._replay.sequence += 1

    @property
    def _actions(self) -> list[list[Action]]:
        """What was decided so far: an inner list for each yield (V1), or one (V2, V3)."""
        from .actions._reading import read_actions

        return [read_actions(group) for group in json.loads(self._action_log.text())]

    @property
    def _action_payload_v1(self) -> list[list[Action]]:
        return self._actions if self._replay_schema is ReplaySchema.V1 else []

    @property
    def _action_payload_v2(self) -> list[Action]:
        return [] if self._replay_schema is ReplaySchema.V1 else self._actions[0]

    @property
    def open_tasks(self) -> dict[Any, Any]:
        """Tasks that have not ended, by id; event waits are lists by name."""
        replay = self._replay
        return {**replay.open_tasks, **replay.entities.waiting, **replay.mailbox.waiting}

    @property
    def decision_started_event(self) -> HistoryEvent:
        """The first OrchestratorStarted."""
        return next(event for event in self.histories if event.event_type == HistoryEventType.ORCHESTRATOR_STARTED)

    @property
    def deferred_tasks(self) -> dict[Any, Any]:
        """Results that came before their task, by its id."""
        return dict(self._replay._deferred)

    @property
    def _maximum_short_timer_duration(self) -> timedelta | None:
        return self._replay.options.max_timer

    @property
    def _long_timer_interval_duration(self) -> timedelta | None:
        return self._replay.options.long_timer_step

    @staticmethod
    def _extract_version_from_history(history_events: Sequence[HistoryEvent]) -> str | None:
        started = (event for event in history_events if event.event_type == HistoryEventType.EXECUTION_STARTED)
        return next((getattr(event, "Version", None) for event in started), None)

    @property
    def _sequence_number(self) -> int:
        return self._replay.sequence + self.will_continue_as_new  # which takes a number too

    @property
    def _new_uuid_counter(self) -> int:
        return self._uuid_counter

    @property
    def _continue_as_new_flag(self) -> bool:
        return self.will_continue_as_new

    @staticmethod
    def _get_function_name(name: Any, trigger_type: type) -> str:
        return resolve_function_name(name, "activity" if issubclass(trigger_type, ActivityTrigger) else "orchestrator")

    def _pretty_print_history(self) -> str:
        return json.dumps(self._raw_history, indent=2)

    def _set_is_replaying(self, is_replaying: bool) -> None:
        self._replay.is_replaying = is_replaying


__all__ = ["DurableOrchestrationContext"]
