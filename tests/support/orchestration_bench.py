"""OrchestrationBench: drives one LiveOrchestration by hand, with a clock that moves only when told."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Any

from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.episode import Episode
from durable_ext.core.events import (
    EventRaised,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    HistoryEvent,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TimerFired,
)
from durable_ext.core.live import LiveOrchestration
from durable_ext.core.messages import ExecutionId, InstanceId, OrchestrationInstance, ReceivedMessage, TaskMessage
from durable_ext.core.orchestrators import OrchestratorDefinition, ReplayOptions, ResultTypeResolver, no_result_type
from durable_ext.core.timestamps import Ticks, ticks_add, ticks_from_iso

CONVERTER = DataConverter()
CODEC = JsonEntityCodec()
START = ticks_from_iso("2024-01-01T00:00:00Z")
ME = OrchestrationInstance(instance_id=InstanceId("abc123"), execution_id=ExecutionId("first"))
AZURE_TIMERS = ReplayOptions(max_timer=timedelta(days=6), long_timer_step=timedelta(days=3))


class OrchestrationBench:
    """An instance `abc123` of one orchestrator function, and what it has decided so far.

    Each call below plays one episode at the bench's time; `history` is what a store would hold.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        options: ReplayOptions = AZURE_TIMERS,
        others: Sequence[str] = (),
        activity_names: Collection[str] | None = None,
        entity_names: Collection[str] | None = None,
        name: str = "orchestrator",
        instance: OrchestrationInstance = ME,
        resolve_type: ResultTypeResolver = no_result_type,
        fixes: bool | None = None,
        is_left: Callable[[str], bool] | None = None,
        on_opening: Callable[[Sequence[HistoryEvent]], None] | None = None,
    ) -> None:
        self.function, self.options, self.others, self.name, self.instance = function, options, others, name, instance
        self.activity_names, self.entity_names = activity_names, entity_names
        self.resolve_type, self.fixes = resolve_type, fixes
        self.is_left, self.on_opening = is_left, on_opening
        self.is_registered = True
        self.time = START
        self.history: list[HistoryEvent] = []
        self.custom_status: str | None = None
        self.episodes: list[Episode] = []
        self._ids = itertools.count(1)
        self._messages = itertools.count(1)
        self.live = self._open()

    def _open(self) -> LiveOrchestration:
        activities, entities = self.activity_names, self.entity_names
        return LiveOrchestration(
            instance=self.instance,
            history=tuple(self.history),
            custom_status=self.custom_status,
            lookup=self._lookup,
            converter=CONVERTER,
            entity_codec=CODEC,
            options=self.options,
            new_execution_id=lambda: ExecutionId(f"execution-{next(self._ids)}"),
            activity_names=None if activities is None else lambda: activities,
            orchestrator_names=lambda: (self.name, *self.others) if self.is_registered else self.others,
            entity_names=None if entities is None else lambda: entities,
            is_left=self.is_left,
            on_opening=self.on_opening,
            resolve_type=self.resolve_type,
        )

    def _lookup(self, name: str) -> OrchestratorDefinition | None:
        if self.is_registered and (name == self.name or name in self.others):
            return OrchestratorDefinition(name=name, function=self.function, fixes=self.fixes)
        return None

    # Time and memory.

    def wait(self, span: timedelta) -> None:
        """Let time pass."""
        self.time = ticks_add(self.time, span)

    def forget(self) -> None:
        """Drop the instance from memory; the next episode replays its history."""
        self.live.close()
        self.live = self._open()

    # Episodes.

    def start(self, input_: Any = None, **fields: Any) -> Episode:
        """Play the start message; `input_` is encoded as the client does."""
        text = None if input_ is None else CONVERTER.wrap_text(CONVERTER.to_text(input_))
        fields.setdefault("input", text)
        return self.deliver(ExecutionStarted(timestamp=self.time, instance=self.instance, name=self.name, **fields))

    def complete(self, task_id: int, value: Any = None) -> Episode:
        """Let an activity end with a value."""
        return self.deliver(self.completed(task_id, value))

    def completed(self, task_id: int, value: Any = None) -> TaskCompleted:
        """Return an activity's result event."""
        result = None if value is None else CONVERTER.output_text(value)
        return TaskCompleted(timestamp=self.time, task_scheduled_id=task_id, result=result)

    def fail(self, task_id: int, reason: str = "boom", details: str | None = "{}", **fields: Any) -> Episode:
        """Let an activity fail."""
        return self.deliver(
            TaskFailed(timestamp=self.time, task_scheduled_id=task_id, reason=reason, details=details, **fields)
        )

    def child_completed(self, task_id: int, value: Any = None) -> Episode:
        """Let a sub-orchestration end with a value."""
        result = CONVERTER.output_text(value)
        return self.deliver(SubOrchestrationInstanceCompleted(timestamp=self.time, task_scheduled_id=task_id, result=result))

    def child_failed(self, task_id: int, reason: str = "child") -> Episode:
        """Let a sub-orchestration fail."""
        return self.deliver(
            SubOrchestrationInstanceFailed(timestamp=self.time, task_scheduled_id=task_id, reason=reason, details="d")
        )

    def fire(self, timer_id: int) -> Episode:
        """Let a timer fire."""
        return self.deliver(TimerFired(timestamp=self.time, timer_id=timer_id, fire_at=self.time))

    def raise_event(self, name: str, value: Any = None) -> Episode:
        """Let an external event come."""
        return self.deliver(self.raised(name, value))

    def raised(self, name: str, value: Any = None) -> EventRaised:
        """Return an external event."""
        return EventRaised(timestamp=self.time, name=name, input=CONVERTER.output_text(value))

    def suspend(self, reason: str = "pause") -> Episode:
        return self.deliver(ExecutionSuspended(timestamp=self.time, reason=reason))

    def resume(self, reason: str = "go") -> Episode:
        return self.deliver(ExecutionResumed(timestamp=self.time, reason=reason))

    def terminate(self, reason: str | None = "stop") -> Episode:
        return self.deliver(ExecutionTerminated(timestamp=self.time, input=reason))

    def deliver(self, *events: HistoryEvent) -> Episode:
        """Play one episode with these events as its messages."""
        episode = self.live.play([self.message(event) for event in events], lambda: self.time)
        if episode.starts_generation:
            self.history.clear()
        self.history.extend((*episode.opening, *episode.decisions))
        if episode.instance is not None:
            self.custom_status = episode.instance.custom_status
        self.episodes.append(episode)
        return episode

    def message(self, event: HistoryEvent, *, execution_id: str | None = None, dequeue_count: int = 1) -> ReceivedMessage:
        """Return an event as a message to this instance."""
        execution = ExecutionId(execution_id) if execution_id is not None else None
        target = OrchestrationInstance(instance_id=self.instance.instance_id, execution_id=execution)
        return ReceivedMessage(
            message_id=f"m{next(self._messages)}",
            message=TaskMessage(event=event, target=target),
            dequeue_count=dequeue_count,
        )

    # What came of it.

    @property
    def output(self) -> Any:
        """Decoded output of the ended instance; the text itself if it failed."""
        text = self.live.state.output
        if text is None or self.live.state.status.value != "Completed":
            return text
        return CONVERTER.from_text(text)

    @property
    def status(self) -> str:
        """Status as history has it."""
        return self.live.state.status.value


def kinds(episode: Episode) -> list[tuple[str, int]]:
    """Return class name and event id of each decision, the closing OrchestratorCompleted left out."""
    return [(type(event).__name__, event.event_id) for event in episode.decisions[:-1]]


def at(ticks: Ticks, **span: float) -> Ticks:
    """Return an instant some span after another."""
    return ticks_add(ticks, timedelta(**span))
