"""OutOfProcContext: the context of an orchestrator that the Durable extension runs; made of its request JSON.

The host sends the whole history at every episode; this replays it on `core` and returns the state JSON
(specs/sdk.md 2.4, 4, 5.1-5.5). Decisions are not compared with history: the host does that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Final, NoReturn, TypeVar, cast

from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.json_text import loads, loads_strings, sdk_string
from durable_ext.core.context import OrchestrationContext
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entity_calls import EntityCalls
from durable_ext.core.events import HistoryEvent as CoreEvent
from durable_ext.core.messages import ExecutionId, InstanceId, OrchestrationInstance
from durable_ext.core.orchestrators import OrchestratorDefinition, ReplayOptions
from durable_ext.core.payloads import PayloadConverter
from durable_ext.core.replay import Replay
from durable_ext.core.tasks import Task
from durable_ext.core.timestamps import ticks_from_iso
from durable_ext.errors import LockingRulesError, OrchestrationError
from durable_ext.sdk.action_log import SCHEMA_V1, SCHEMA_V3, ActionLog
from durable_ext.sdk.discovery import result_type
from durable_ext.sdk.function_names import resolve_function_name
from durable_ext.sdk.history_event import HistoryEvent
from durable_ext.sdk.played_tasks import note_compound, note_new_end, was_played
from durable_ext.sdk.protocol_events import ORCHESTRATOR_STARTED, core_events
from durable_ext.sdk.typing_mode import current_converter

R = TypeVar("R")
_SPAN: Final = re.compile(r"^(-)?(?:(\d+)\.)?(\d{2}):(\d{2}):(\d{2})(?:\.(\d{7}))?$")
_UNLIMITED: Final = 1 << 62
_CODEC: Final = JsonEntityCodec()
_plain_text: Callable[[Any], str] = json.JSONEncoder().encode


class OutOfProcError(OrchestrationError):
    """A failed orchestration, in the form that carries its state to the host: `{error}\\n\\n$OutOfProcData$:{state}`."""

    def __init__(self, error: BaseException, state: str) -> None:
        self.state = state
        super().__init__(f"{error}\n\n$OutOfProcData$:{state}")


class OutOfProcContext(OrchestrationContext):
    """An orchestration as the host's request describes it; good for one replay.

    The keyword names are those of the JSON; unknown ones become attributes of `function_context`.

    Raises:
        ValueError: The schema version is unknown, or a duration is no TimeSpan.
        IndexError: The history has no OrchestratorStarted.
    """

    __slots__ = (
        "_action_log",
        "_function",
        "_history_events",
        "_input",
        "_input_text",
        "_parent_instance_id",
        "_raw_history",
        "_schema",
    )

    def __init__(
        self,
        history: Sequence[Mapping[str, Any]],
        instanceId: str,
        isReplaying: bool,
        parentInstanceId: str | None,
        input: Any = None,
        upperSchemaVersion: int = 0,
        maximumShortTimerDuration: str | None = None,
        longRunningTimerIntervalDuration: str | None = None,
        upperSchemaVersionNew: int | None = None,
        *,
        converter: PayloadConverter | None = None,
        **kwargs: Any,
    ) -> None:
        converter = self.default_converter() if converter is None else converter
        self._schema = _negotiated(upperSchemaVersion, upperSchemaVersionNew)
        self._raw_history, self._parent_instance_id = history, parentInstanceId
        self._input_text = input if input is None or isinstance(input, str) else _plain_text(input)
        self._history_events: list[HistoryEvent] | None = None
        self._function: Callable[[Any], Any] = _no_function
        self._action_log = ActionLog(self._schema, converter, self._goes_on_with)
        longest, step = parse_timespan(maximumShortTimerDuration), parse_timespan(longRunningTimerIntervalDuration)
        hops = self._schema >= SCHEMA_V3 and longest is not None and step is not None
        options = ReplayOptions(
            max_timer=longest if hops else None,
            long_timer_step=step if hops else None,
            max_actions=_UNLIMITED,
            fixes=False,
        )
        replay = Replay(
            instance_id=instanceId,
            definition=OrchestratorDefinition(name="", function=self._call),
            converter=converter,
            entities=EntityCalls(codec=_CODEC, converter=converter, options=options),
            options=options,
            observer=self._action_log,
            verify=False,
        )
        replay.now = ticks_from_iso(_first_start(history))
        replay.is_replaying = isReplaying
        super().__init__(
            replay,
            resolve_name=resolve_function_name,
            resolve_type=self.declared_type,
            function_context=SimpleNamespace(**kwargs),
        )

    @classmethod
    def from_json(cls, json_string: str | bytes, *, converter: PayloadConverter | None = None) -> OutOfProcContext:
        """Make a context of the host's request."""
        return cls(**_parsed(json_string), converter=converter)

    @classmethod
    def default_converter(cls) -> PayloadConverter:
        """Return the converter of contexts that are given none."""
        return current_converter()

    @staticmethod
    def declared_type(function: object, kind: str) -> Any:
        """Return the type that calls of a decorated function result in, `None` if it declares none."""
        return result_type(function, kind)

    @property
    def parent_instance_id(self) -> str | None:
        """Id of the parent orchestration, `None` at the top."""
        return self._parent_instance_id

    @property
    def version(self) -> str | None:
        """Version that the instance was started with, `None` if the host named none."""
        started = next((event for event in self._raw_history if event["EventType"] == 0), None)
        return None if started is None else started.get("Version")

    @property
    def histories(self) -> list[Any]:
        """The events of the request as `HistoryEvent`s."""
        if self._history_events is None:
            self._history_events = [HistoryEvent(**event) for event in self._raw_history]
        return self._history_events

    def get_input(self, expected_type: Any = None) -> Any:
        """Return the input, decoded afresh at every call; `None` if there is none.

        Raises:
            json.JSONDecodeError: It was started with a text that is no JSON, as recorded (specs/sdk.md 7, row 12).
        """
        if self._input_text is None:
            return None
        return self._replay.converter.from_text(self._input_text, expected_type or self._expected_type)

    def task_all(self, activities: Sequence[Task[R]]) -> Task[list[R]]:
        """See `OrchestrationContext.task_all`."""
        task = super().task_all(activities)
        note_compound(task, activities)
        self._action_log.compound(task, activities)
        return task

    def task_any(self, activities: Sequence[Task[R]]) -> Task[Task[R]]:
        """See `OrchestrationContext.task_any`."""
        task = super().task_any(activities)
        note_compound(task, activities)
        self._action_log.compound(task, activities)
        return task

    def lock_entities(self, entities: Iterable[EntityId]) -> NoReturn:
        """Refuse: the extension's protocol for scripting languages has no locks."""
        raise LockingRulesError(
            "Entity locks need the durable_ext engine: the Durable extension takes no lock from a Python function. Run the "
            "app natively (DURABLE_EXT_HOSTING=native), or use signals and calls only."
        )

    def expect_input(self, expected_type: Any) -> None:
        """Set the type that `get_input` decodes into when it is given none."""
        self._expected_type = expected_type

    def run(self, function: Callable[[Any], Any]) -> str:
        """Replay the whole history with `function` and return the state JSON.

        Raises:
            OutOfProcError: The orchestration failed; `__cause__` is its exception.
            ValueError: The history is too short to be one.
        """
        self.replay_history(function)
        return self.finish()

    def replay_history(self, function: Callable[[Any], Any]) -> None:
        """Replay the whole history with `function`; `ValueError` as `run`."""
        history = self._raw_history
        if len(history) < 2:
            raise ValueError(
                f"Durable Functions internal error: the history of '{self.instance_id}' has {len(history)} events; a "
                f"request has at least OrchestratorStarted and ExecutionStarted. Report it with the extension's version."
            )
        self._function = function
        replay = self._replay
        last_start = max(index for index, event in enumerate(history) if event["EventType"] == ORCHESTRATOR_STARTED)
        try:
            replay.feed(self._until_ended(history[:last_start], past=True), past=True)
            replay.feed(self._until_ended(history[last_start:], past=False), past=False)
        except KeyError as missing:
            raise _lacking(missing) from missing

    def replay_event(self, event: HistoryEvent, function: Callable[[Any], Any]) -> None:
        """Replay one event as a new one, with `function` if it starts the execution."""
        self._function = function
        self._replay.feed(self._until_ended([event.members()], past=False), past=False)

    def _goes_on_with(self, task: Task[Any]) -> None:
        """A task was yielded: if it has ended already, `is_replaying` follows it."""
        if task.is_completed:
            self._replay.is_replaying = was_played(task)

    def _call(self, context: Any) -> Any:
        return self._function(context)

    def _until_ended(self, history: Iterable[Mapping[str, Any]], *, past: bool) -> Iterator[CoreEvent]:
        replay = self._replay
        instance = OrchestrationInstance(
            instance_id=InstanceId(replay.instance_id), execution_id=_execution_id(self._raw_history)
        )
        for event in core_events(history, instance):
            if replay.ended:
                return
            if not past and not event.is_played:
                note_new_end(event, replay)
            yield event

    def finish(self) -> str:
        """Return the state JSON of what was replayed; nothing more can be. Raises `OutOfProcError` as `run`."""
        replay = self._replay
        error, output = replay.error, None
        if error is None and replay.output is not None:
            try:
                output = self._output_text(replay.output)
            except (TypeError, ValueError, RecursionError) as refused:
                error = refused
        is_done = (replay.ended and replay.error is None) or replay.next_input is not None
        state = self._state_text(is_done, output, error)
        replay.close()
        if error is not None:
            raise OutOfProcError(error, state) from error
        return state

    def _output_text(self, output: Any) -> str:
        try:
            return _plain_text(output)
        except TypeError as refused:
            try:
                return self._replay.converter.to_text(output)
            except TypeError:
                raise refused from None

    def _state_text(self, is_done: bool, output: str | None, error: BaseException | None) -> str:
        parts = [f'"isDone": {"true" if is_done else "false"}']
        if self._schema != SCHEMA_V1:
            parts.append(f'"schemaVersion": {self._schema}')
        parts.append(f'"actions": {self._action_log.text()}')
        if output is not None:
            parts.append(f'"output": {output}')
        if error is not None:
            parts.append(f'"error": {sdk_string(str(error) or str(type(error)))}')
        if self.custom_status:  # compat: a falsy status is left out, which clears it (specs/sdk.md 7, row 14)
            parts.append(f'"customStatus": {self._replay.converter.to_text(self.custom_status)}')
        return "{" + ", ".join(parts) + "}"


def parse_timespan(text: str | None) -> timedelta | None:
    """Parse a duration of the request, `None` if it is absent.

    Raises:
        ValueError: It is no TimeSpan in "c" form.
    """
    if text is None:
        return None
    match = _SPAN.match(text)
    if match is None:
        raise ValueError(f"Format of TimeSpan failed attempted conversion to timedelta: {text}")
    sign, days, hours, minutes, seconds, ticks = match.groups()
    span = timedelta(
        days=int(days or 0),
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds),
        microseconds=int(ticks or 0) // 10,
    )
    return -span if sign else span


def _parsed(document: str | bytes) -> dict[str, Any]:
    text = document.decode("utf-8") if isinstance(document, bytes) else document
    members = loads_strings(text)
    if not isinstance(members, dict):
        raise TypeError(f"The request is a {type(members).__name__}, but a JSON object is expected: {text[:40]}")
    if not isinstance(members.get("input"), (str, type(None))):
        members = loads(text)  # the input may hold integers over 64 bits
    return cast("dict[str, Any]", members)


def _negotiated(upper: int, upper_new: int | None) -> int:
    if not isinstance(upper, int) or not SCHEMA_V1 <= upper <= SCHEMA_V3:
        raise ValueError(f"{upper!r} is not a valid ReplaySchema")
    if upper_new is not None and upper_new > upper:
        return min(upper_new, SCHEMA_V3)
    return upper


def _first_start(history: Sequence[Mapping[str, Any]]) -> str:
    try:
        starts = [event["Timestamp"] for event in history if event["EventType"] == ORCHESTRATOR_STARTED]
    except KeyError as missing:
        raise _lacking(missing) from missing
    return cast("str", starts[0])


def _lacking(missing: KeyError) -> TypeError:
    return TypeError(
        f"A history event has no member {missing}. Every event has EventType, EventId, IsPlayed and Timestamp, and what "
        f"belongs to its type."
    )


def _execution_id(history: Sequence[Mapping[str, Any]]) -> ExecutionId | None:
    for event in history[:2]:
        instance = event.get("OrchestrationInstance")
        if instance:
            return cast("ExecutionId | None", instance.get("ExecutionId"))
    return None


def _no_function(context: Any) -> NoReturn:
    raise RuntimeError("The orchestrator function of this context was not set. Call run().")
