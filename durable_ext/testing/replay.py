"""The replay check: a recorded history played against today's code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any, Final, Literal

from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.entities.ids import is_entity_instance
from durable_ext.core.entities.messages import RELEASE_EVENT
from durable_ext.core.episode import Episode
from durable_ext.core.events import (
    EventSent,
    ExecutionCompleted,
    ExecutionStarted,
    HistoryEvent,
    OrchestrationStatus,
    OrchestratorCompleted,
    OrchestratorStarted,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TimerCreated,
)
from durable_ext.core.live import LiveOrchestration
from durable_ext.core.messages import ExecutionId, ReceivedMessage, TaskMessage
from durable_ext.core.orchestrators import ReplayOptions, function_name, no_result_type
from durable_ext.core.payloads import PayloadConverter
from durable_ext.core.timestamps import ticks_to_datetime
from durable_ext.errors import FunctionNotFoundError, NonDeterminismError
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.sdk.discovery import AppLike, collect_durable_functions, indexed_functions, result_type
from durable_ext.sdk.function_names import resolve_function_name
from durable_ext.testing.history import RecordedHistory

_DECISIONS: Final = (TaskScheduled, SubOrchestrationInstanceCreated, TimerCreated, EventSent, ExecutionCompleted)
_OPTIONS: Final = {
    "embedded": ReplayOptions(deliver_in_order=True),
    "azure": ReplayOptions(max_timer=timedelta(days=6), long_timer_step=timedelta(days=3)),
}

DecisionKind = Literal["activity", "sub-orchestration", "timer", "event", "end", "continue-as-new"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One thing that an orchestrator decided.

    Attributes:
        kind: What. `"event"` is one that goes out: to an entity or another instance.
        name: Of the activity or child; the instance that an event is for; the status for `"end"`; else `None`.
        input: What an activity or child gets, decoded; the new input for `"continue-as-new"`; `None` otherwise.
        fire_at: Of a timer, aware UTC; `None` otherwise.
    """

    kind: DecisionKind
    name: str | None = None
    input: Any = None
    fire_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedInstance:
    """Where an instance is after its history.

    Attributes:
        status: Running, Suspended or how it ended.
        output: What it returned, or the text of its failure; `None` while it runs.
        custom_status: What `set_custom_status` was last given in the last episode, decoded.
        decided: What the last episode of the history decided, in order.
    """

    status: OrchestrationStatus
    output: Any
    custom_status: Any
    decided: tuple[Decided, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _RecordedEpisode:
    """The events of one waking, from OrchestratorStarted on."""

    events: tuple[HistoryEvent, ...]

    @property
    def received(self) -> tuple[HistoryEvent, ...]:
        others = (OrchestratorStarted, OrchestratorCompleted, *_DECISIONS)
        return tuple(event for event in self.events if not isinstance(event, others))

    @property
    def decided(self) -> tuple[HistoryEvent, ...]:
        return tuple(event for event in self.events if isinstance(event, _DECISIONS))

    @property
    def is_whole(self) -> bool:
        return isinstance(self.events[-1], OrchestratorCompleted)


def replay_history(
    history: RecordedHistory,
    functions: FunctionRegistry | AppLike,
    *,
    hub: Literal["embedded", "azure"] = "embedded",
    converter: PayloadConverter | None = None,
) -> ReplayedInstance:
    """Play a history against the code of an app, as a worker does that takes the instance over; nothing is stored or called.

    All episodes but the last are replayed silently. The last one is played, and if the history has its end, what the code
    decides has to be what was decided then.

    Args:
        functions: An app object, a module that has one, or a registry.
        hub: Kind of the hub that the history comes from: on Azure Storage long timers are made of shorter ones.
        converter: As the app's host has it.

    Raises:
        NonDeterminismError: The code decides something else than history has: instances that are there would fail.
        FunctionNotFoundError: The app has no such orchestrator.
        ValueError: The history is one of an entity, or not whole.
    """
    started = history.started
    if is_entity_instance(history.instance_id):
        raise ValueError(f"'{history.instance_id}' is an entity, and those are not replayed. Take an orchestration's.")
    converter = converter or DataConverter()
    live = _open(history, functions, _OPTIONS[hub], converter)
    *_, last = _episodes(history)
    now = last.events[0].timestamp
    messages = [
        ReceivedMessage(message_id=str(number), message=TaskMessage(event=event, target=started.instance))
        for number, event in enumerate(last.received)
    ]
    try:
        episode = live.play(messages, lambda: now) if messages else live.play_results((), lambda: now)
        if live.divergence is not None:
            raise live.divergence
        if last.is_whole:
            _compare(history.instance_id, last.decided, episode)
        return _outcome(live, episode, converter)
    finally:
        live.close()


def _open(
    history: RecordedHistory, functions: FunctionRegistry | AppLike, options: ReplayOptions, converter: PayloadConverter
) -> LiveOrchestration:
    is_registry = isinstance(functions, FunctionRegistry)
    if isinstance(functions, FunctionRegistry):
        registry = functions
    else:
        registry = collect_durable_functions(indexed_functions(functions)).to_registry()
    *past, _ = _episodes(history)
    started = history.started
    if registry.orchestrator(started.name) is None:
        raise FunctionNotFoundError("orchestrator", started.name, registry.orchestrator_names)
    return LiveOrchestration(
        instance=started.instance,
        history=tuple(event for episode in past for event in episode.events),
        custom_status=None,
        lookup=registry.orchestrator,
        converter=converter,
        entity_codec=JsonEntityCodec(),
        options=options,
        new_execution_id=lambda: ExecutionId("next"),
        activity_names=lambda: registry.activity_names,
        orchestrator_names=lambda: registry.orchestrator_names,
        entity_names=lambda: registry.entity_names,
        resolve_name=function_name if is_registry else resolve_function_name,
        resolve_type=no_result_type if is_registry else result_type,
    )


def _episodes(history: RecordedHistory) -> Iterator[_RecordedEpisode]:
    """Cut a history at its OrchestratorStarted events."""
    starts = [index for index, event in enumerate(history.events) if isinstance(event, OrchestratorStarted)]
    if not starts or starts[0] != 0:
        raise ValueError(f"The history of '{history.instance_id}' does not begin with OrchestratorStarted: it is not whole.")
    for start, end in zip_longest(starts, starts[1:]):
        yield _RecordedEpisode(events=history.events[start:end])


def _compare(instance_id: str, recorded: Sequence[HistoryEvent], episode: Episode) -> None:
    """Hold what the code decided against what history has of the last episode."""
    if episode.starts_generation:
        decided: list[HistoryEvent] = []
    else:
        decided = [event for event in episode.decisions if isinstance(event, _DECISIONS)]
    for then, now in zip_longest(recorded, _as_recorded(decided, recorded)):
        if _named(then) != _named(now):
            event_id = (then or now).event_id
            raise NonDeterminismError(
                instance_id=instance_id,
                event_id=event_id,
                recorded=_words(then) or "nothing",
                decided="continue-as-new" if now is None and episode.starts_generation else _words(now),
            )


def _as_recorded(decided: Sequence[HistoryEvent], recorded: Sequence[HistoryEvent]) -> Sequence[HistoryEvent]:
    """Leave out the releases of locks at an end that former versions of ours did not send: what nobody had granted."""
    missing = len(decided) - len(recorded)
    if missing <= 0 or not (recorded and _is_end(recorded[-1]) and _is_end(decided[-1])):
        return decided
    *before, end = decided
    if not all(isinstance(event, EventSent) and event.name == RELEASE_EVENT for event in before[-missing:]):
        return decided
    return (*before[:-missing], replace(end, event_id=end.event_id - missing))


def _is_end(event: HistoryEvent) -> bool:
    return isinstance(event, ExecutionCompleted)


def _named(event: HistoryEvent | None) -> tuple[object, ...]:
    """Return what has to be equal: kind, id and name; not inputs, times and outputs."""
    if event is None:
        return ()
    if isinstance(event, ExecutionCompleted):
        return (ExecutionCompleted, event.status)
    if isinstance(event, EventSent):
        return (EventSent, event.event_id, event.instance_id)
    return (type(event), event.event_id, getattr(event, "name", "").casefold())


def _words(event: HistoryEvent | None) -> str | None:
    if event is None:
        return None
    name = event.status.value if isinstance(event, ExecutionCompleted) else getattr(event, "name", None)
    return type(event).__name__ + (f" '{name}'" if name else "")


def _outcome(live: LiveOrchestration, episode: Episode, converter: PayloadConverter) -> ReplayedInstance:
    update = episode.instance
    status, output = live.state.status, live.state.output
    return ReplayedInstance(
        status=status,
        output=_decoded(output, converter) if status is OrchestrationStatus.COMPLETED else output,
        custom_status=None if update is None else _decoded(update.custom_status, converter),
        decided=tuple(_decisions(episode, converter)),
    )


def _decisions(episode: Episode, converter: PayloadConverter) -> Iterator[Decided]:
    if episode.starts_generation:
        started = next(event for event in episode.opening if isinstance(event, ExecutionStarted))
        yield Decided(kind="continue-as-new", input=_decoded(converter.unwrap_input(started.input), converter))
    activities = {message.event.event_id: message.event for message in episode.activities}
    children = {
        outgoing.message.event.parent.task_schedule_id: outgoing.message.event
        for outgoing in episode.messages
        if isinstance(outgoing.message.event, ExecutionStarted) and outgoing.message.event.parent is not None
    }
    for event in episode.decisions:
        if isinstance(event, TaskScheduled):
            sent = activities.get(event.event_id, event)
            text = converter.unwrap_argument(sent.input) if isinstance(sent, TaskScheduled) else None
            yield Decided(kind="activity", name=event.name, input=_decoded(text, converter))
        elif isinstance(event, SubOrchestrationInstanceCreated):
            child = children.get(event.event_id)
            text = None if child is None else converter.unwrap_input(child.input)
            yield Decided(kind="sub-orchestration", name=event.name, input=_decoded(text, converter))
        elif isinstance(event, TimerCreated):
            yield Decided(kind="timer", fire_at=ticks_to_datetime(event.fire_at))
        elif isinstance(event, EventSent):
            yield Decided(kind="event", name=event.instance_id)
        elif isinstance(event, ExecutionCompleted):
            yield Decided(kind="end", name=event.status.value)


def _decoded(text: str | None, converter: PayloadConverter) -> Any:
    return None if text is None else converter.from_text(text)
