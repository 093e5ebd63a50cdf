"""DurableOrchestrationContext: an orchestration as the host's request describes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from durable_ext.sdk.discovery import declared_class
from durable_ext.sdk.function_names import resolve_function_name
from durable_ext.sdk.out_of_proc_context import OutOfProcContext
from durable_ext.sdk.triggers import ActivityTrigger

from .._payloads import current_converter
from .history.HistoryEvent import HistoryEvent
from .history.HistoryEventType import HistoryEventType
from .ReplaySchema import ReplaySchema

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

    # What 1.x keeps of a replay; tests of apps look at it.

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
    def _sequence_number(self) -> int:
        return self._replay.sequence

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
