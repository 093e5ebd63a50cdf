"""Histories as tests have them: recorded from an instance, read from a file, or built event by event; play nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

from durable_ext.client.client import DurableClient
from durable_ext.codec.serialization import DataConverter
from durable_ext.codec.wire import WireFormatError, event_from_wire, event_to_wire, load_json
from durable_ext.core.events import (
    EventRaised,
    ExecutionStarted,
    HistoryEvent,
    OrchestratorCompleted,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from durable_ext.core.messages import ExecutionId, InstanceId, OrchestrationInstance
from durable_ext.core.timestamps import ticks_add, ticks_from_datetime
from durable_ext.errors import InstanceNotFoundError
from durable_ext.failure import failure_from_exception
from durable_ext.runtime.activity_failures import activity_failed

_CONVERTER: Final = DataConverter()
_START: Final = datetime(2024, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedHistory:
    """The history of one generation of one instance.

    Attributes:
        instance_id: Of the instance.
        events: As the store has them, in order; each is a `durable_ext.core.events` value.
    """

    instance_id: str
    events: tuple[HistoryEvent, ...]

    @property
    def started(self) -> ExecutionStarted:
        """The event that began the generation: name, input, version, parent.

        Raises:
            ValueError: There is none, so this is no whole history.
        """
        for event in self.events:
            if isinstance(event, ExecutionStarted):
                return event
        raise ValueError(f"The history of '{self.instance_id}' has no ExecutionStarted event: it is not a whole one.")

    @staticmethod
    async def of(client: DurableClient, instance_id: str) -> RecordedHistory:
        """Read the history that an instance has now, running or ended.

        Raises:
            InstanceNotFoundError: There is no such instance, or it has not run yet.
        """
        events = tuple(await client.get_history(instance_id))
        if not events:
            raise InstanceNotFoundError(instance_id)
        return RecordedHistory(instance_id=instance_id, events=events)

    def save(self, path: Path | str) -> None:
        """Write it to a file: JSON, one event a line, each as it travels in task messages (specs/azure-storage.md 4.5)."""
        lines = ",\n".join(json.dumps(event_to_wire(event), ensure_ascii=False) for event in self.events)
        text = f'{{"instanceId": {json.dumps(self.instance_id, ensure_ascii=False)}, "events": [\n{lines}\n]}}\n'
        Path(path).write_text(text, encoding="utf-8")

    @staticmethod
    def load(path: Path | str) -> RecordedHistory:
        """Read a file that `save` wrote.

        Raises:
            ValueError: It is no such file; the text names it and the event.
            OSError: It cannot be read.
        """
        events: list[HistoryEvent] = []
        try:
            document = load_json(Path(path).read_text(encoding="utf-8"))
            for event in document["events"]:
                events.append(event_from_wire(event))
            return RecordedHistory(instance_id=str(document["instanceId"]), events=tuple(events))
        except (WireFormatError, KeyError, TypeError) as exc:
            raise ValueError(
                f"{path} is no history that RecordedHistory.save wrote (after {len(events)} events: {exc}). Record it again."
            ) from exc


class HistoryBuilder:
    """Builds the history of an instance of which you know what its orchestrator has done so far.

    Call the methods in the order in which things happened: what the orchestrator decided (`activity`, `sub_orchestration`,
    `timer`) and what came in (`completed`, `failed`, `fired`, `event`). The first group returns the id of a task, which the
    second takes. Results and events that come right after one another wake the orchestrator once for all of them.

    Args:
        name: The orchestrator.
        client_input: What `get_input()` returns, `None` = no input.
        instance_id: Of the instance.
        at: Time of the start, aware; `wait` moves on from there.
        version: That of the instance.
    """

    def __init__(
        self,
        name: str,
        client_input: Any = None,
        *,
        instance_id: str = "instance",
        at: datetime = _START,
        version: str | None = None,
    ) -> None:
        self._now = self._began = ticks_from_datetime(at)
        self._instance_id = instance_id
        self._events: list[HistoryEvent] = []
        self._receiving = False
        self._calls: dict[int, tuple[HistoryEvent, str]] = {}
        text = None if client_input is None else _CONVERTER.wrap_text(_CONVERTER.to_text(client_input))
        instance = OrchestrationInstance(instance_id=InstanceId(instance_id), execution_id=ExecutionId("built"))
        self._receive(ExecutionStarted(timestamp=self._now, instance=instance, name=name, input=text, version=version))

    def activity(self, name: str) -> int:
        """Record that the orchestrator called an activity."""
        return self._decide(TaskScheduled(timestamp=self._began, event_id=len(self._calls), name=name), name)

    def sub_orchestration(self, name: str, instance_id: str | None = None) -> int:
        """Record that the orchestrator started a child."""
        task_id = len(self._calls)
        child = instance_id or f"built:{task_id}"
        event = SubOrchestrationInstanceCreated(timestamp=self._began, event_id=task_id, instance_id=child, name=name)
        return self._decide(event, name)

    def timer(self, due_in: timedelta) -> int:
        """Record that the orchestrator made a timer."""
        fire_at = ticks_add(self._began, due_in)
        return self._decide(TimerCreated(timestamp=self._began, event_id=len(self._calls), fire_at=fire_at), "timer")

    def completed(self, task_id: int, result: Any = None) -> None:
        """Record what an activity or a child returned.

        Raises:
            ValueError: `task_id` is not one of an activity or child.
        """
        call, _ = self._call(task_id, TaskScheduled, SubOrchestrationInstanceCreated)
        text = _CONVERTER.output_text(result)
        if isinstance(call, TaskScheduled):
            self._receive(TaskCompleted(timestamp=self._now, task_scheduled_id=task_id, result=text))
        else:
            self._receive(SubOrchestrationInstanceCompleted(timestamp=self._now, task_scheduled_id=task_id, result=text))

    def failed(self, task_id: int, error: Exception) -> None:
        """Record what an activity or a child raised; errors as `completed`."""
        call, name = self._call(task_id, TaskScheduled, SubOrchestrationInstanceCreated)
        if isinstance(call, TaskScheduled):
            self._receive(activity_failed(name, task_id, error, self._now))
            return
        reason = f"Orchestrator function '{name}' failed: {error}"
        failure = failure_from_exception(error)
        self._receive(
            SubOrchestrationInstanceFailed(
                timestamp=self._now, task_scheduled_id=task_id, reason=reason, details=reason, failure=failure
            )
        )

    def fired(self, task_id: int) -> None:
        """Record that a timer came due; moves the time on to then.

        Raises:
            ValueError: `task_id` is not one of a timer.
        """
        made, _ = self._call(task_id, TimerCreated)
        assert isinstance(made, TimerCreated)
        self._now = max(self._now, made.fire_at)
        self._receive(TimerFired(timestamp=self._now, timer_id=task_id, fire_at=made.fire_at))

    def event(self, name: str, value: Any = None) -> None:
        """Record that somebody raised an event."""
        self._receive(EventRaised(timestamp=self._now, name=name, input=_CONVERTER.output_text(value)))

    def wait(self, span: timedelta) -> None:
        """Let time pass before what comes in next."""
        self._now = ticks_add(self._now, span)

    def build(self) -> RecordedHistory:
        """Return what was recorded so far. If something came in last, `replay_history` lets the orchestrator react to it."""
        end = () if self._receiving else (OrchestratorCompleted(timestamp=self._began),)
        return RecordedHistory(instance_id=self._instance_id, events=(*self._events, *end))

    def _receive(self, event: HistoryEvent) -> None:
        if not self._receiving or self._began != self._now:
            if self._events:
                self._events.append(OrchestratorCompleted(timestamp=self._began))
            self._events.append(OrchestratorStarted(timestamp=self._now))
            self._receiving, self._began = True, self._now
        self._events.append(event)

    def _decide(self, event: HistoryEvent, name: str) -> int:
        self._receiving = False
        self._events.append(event)
        self._calls[event.event_id] = (event, name)
        return event.event_id

    def _call(self, task_id: int, *kinds: type[HistoryEvent]) -> tuple[HistoryEvent, str]:
        found = self._calls.get(task_id)
        if found is None or not isinstance(found[0], kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise ValueError(f"Task {task_id} is no {names} of this history. Pass what activity(), timer() ... returned.")
        return found
