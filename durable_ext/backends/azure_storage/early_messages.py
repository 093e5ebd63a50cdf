"""Which messages of an instance may be played now, which are too early, and where a generation ends (pure).

Source: specs/azure-storage.md 8.3, 8.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from durable_ext.backends.azure_storage.backoff import redelivery_delay
from durable_ext.backends.azure_storage.transport.queue import MAX_INVISIBLE_SECONDS
from durable_ext.core.entities.messages import sent_to_entity
from durable_ext.core.events import (
    TASK_RESULTS,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionStarted,
    ExecutionTerminated,
    GenericEvent,
    HistoryEvent,
    OrchestrationStatus,
    TimerFired,
)
from durable_ext.core.ids import continues, is_same_execution
from durable_ext.core.instances import InstanceRow
from durable_ext.core.messages import ExecutionId, TaskMessage
from durable_ext.core.runtime_state import started_in
from durable_ext.core.timestamps import MIN_TICKS, Ticks, ticks_from_datetime, ticks_to_datetime

MAX_START_DELIVERIES: Final = 10
_LATE_START: Final = timedelta(minutes=1)  # after its time: look every second for so long
_EARLY_START: Final = timedelta(seconds=1)  # the provider lets a message appear up to a second before its time (4.7)


@dataclass(slots=True)
class KnownTasks:
    """What the stored history of the current generation has asked for. Owned by one session."""

    event_ids: set[int] = field(default_factory=set)
    request_ids: set[str] = field(default_factory=set)
    rewound_ids: set[int] = field(default_factory=set)
    rewound_at: Ticks = MIN_TICKS

    def add(self, events: Iterable[HistoryEvent]) -> None:
        """Learn from events that are stored."""
        for event in events:
            if event.event_id != -1:  # the provider has a timer number -100 (8.9)
                if isinstance(event, GenericEvent):  # a rewind has undone it (9.5)
                    self.rewound_ids.add(event.event_id)
                    self.rewound_at = max(self.rewound_at, event.timestamp)
                    if event.data is not None:
                        self.request_ids.add(event.data)  # its answer may come, and is nobody's
                    continue
                self.event_ids.add(event.event_id)
                sent = sent_to_entity(event.name, event.input) if isinstance(event, EventSent) else None
                if sent is not None:
                    self.request_ids.add(sent.request_id)

    def answers(self, event: HistoryEvent, *, from_entity: bool) -> bool:
        """Whether an event answers something that history holds, or needs no question.

        What a rewind has undone is no question any more, but its answers of before may come and be dropped. A later one is
        of a task that has the number now, and whose decision is not stored yet.
        """
        if isinstance(event, TASK_RESULTS):
            return self._holds(event.task_scheduled_id, event.timestamp)
        if isinstance(event, TimerFired):
            return self._holds(event.timer_id, event.timestamp)
        if from_entity and isinstance(event, EventRaised):
            return event.name.lower() in self.request_ids
        return True

    def _holds(self, event_id: int, answered_at: Ticks) -> bool:
        return event_id in self.event_ids or (event_id in self.rewound_ids and answered_at <= self.rewound_at)


def is_result(message: TaskMessage, sender_id: str) -> bool:
    """Whether a message is one that only makes sense after the event that asked for it."""
    event = message.event
    if isinstance(event, TASK_RESULTS) or event.__class__ is TimerFired:
        return True
    return event.__class__ is EventRaised and sender_id.startswith("@") and not message.target.instance_id.startswith("@")


def is_terminal(events: Sequence[HistoryEvent]) -> bool:
    """Whether a stored generation has ended."""
    return any(isinstance(event, ExecutionCompleted) for event in events[-3:])


def seconds_before_start(start: ExecutionStarted, now: datetime) -> int:
    """Return for how long a start message must go on waiting; 0 if it may be played.

    Its time is more than the seven days away for which a queue can hide it, or it was sent by a clock that is ahead.
    """
    if start.scheduled_start_time is None:
        return 0
    left = ticks_to_datetime(start.scheduled_start_time) - now
    return min(math.ceil(left.total_seconds()), MAX_INVISIBLE_SECONDS) if left > _EARLY_START else 0


def seconds_for_start(row: InstanceRow, dequeue_count: int, now: datetime) -> int:
    """Return for how long to hide a message of an instance that has not started: growing, but not past a start at a time.

    An event or a suspension of an hour before would otherwise come up to ten minutes after the start.
    """
    delay = redelivery_delay(dequeue_count)
    if row.scheduled_start_at is None:
        return delay
    left = ticks_to_datetime(row.scheduled_start_at) - now
    return delay if left < -_LATE_START else min(delay, max(math.ceil(left.total_seconds()), 0) + 1)


def come_before_start(
    messages: Sequence[TaskMessage], row: InstanceRow | None, history: Sequence[HistoryEvent], stored: ExecutionId | None
) -> bool:
    """Whether messages are for a generation whose start message is on its way: its row is there, its history is not.

    The history that is there belongs to `stored`, a former run under the same id that has ended.
    """
    if row is None or row.status.is_terminal:
        return False
    if history and (not is_terminal(history) or row.execution_id in (None, stored) or is_row_of_former_run(row, history)):
        return False
    if not history and any(message.event.__class__ is ExecutionTerminated for message in messages):
        return False  # ends it before it starts (8.6)
    return any(message.target.execution_id in (None, row.execution_id) for message in messages)


def is_foreign_start(message: TaskMessage, execution_id: ExecutionId | None) -> bool:
    """Whether a message starts another generation than the given one."""
    event = message.event
    return event.__class__ is ExecutionStarted and message.target.execution_id != execution_id


def repeats_child_start(message: TaskMessage, history: Sequence[HistoryEvent]) -> bool:
    """Whether a sub-orchestration start was sent again by a parent whose checkpoint failed after sending it.

    The second one carries a fresh execution id; the reference restarts the child over the first one (8.10).
    """
    event = message.event
    if not isinstance(event, ExecutionStarted) or event.parent is None:
        return False
    started = next((known for known in history[:3] if isinstance(known, ExecutionStarted)), None)
    return started is not None and started.parent == event.parent and started.name == event.name


class StartVerdict(Enum):
    """What to do with a start message: 8.3."""

    PROCESS = "process"
    DELETE = "delete"
    DEFER = "defer"


def judge_start(
    start: ExecutionStarted,
    row: InstanceRow | None,
    *,
    dequeue_count: int,
    next_visible: datetime | None,
    visibility: timedelta,
) -> StartVerdict:
    """Decide whether a start message without parent is the one that its instance row stands for."""
    if row is not None and _same_execution(start, row):
        # Terminated while its start message was on its way: it must not start after all (S11c).
        return StartVerdict.DELETE if row.status is OrchestrationStatus.TERMINATED else StartVerdict.PROCESS
    if row is not None and row.generation == start.generation and row.created_at == start.timestamp:
        # Our row, but a checkpoint of the replaced generation has put its own execution id back (6.6).
        return StartVerdict.PROCESS
    if (
        row is not None
        and row.generation == start.generation
        and _later_than_row(start, row, dequeue_count, next_visible, visibility)
    ):
        return StartVerdict.DELETE
    if dequeue_count >= MAX_START_DELIVERIES:
        return StartVerdict.DELETE
    return StartVerdict.DEFER


def is_row_of_former_run(row: InstanceRow, history: Sequence[HistoryEvent]) -> bool:
    """Whether a row is of a run before the one in history, whose worker has died before it wrote the row (8.5).

    It is if it names another run and shows what only a run that has begun can show, whatever anybody's clock says.
    Otherwise it is that of a start which a client has just put and which has not begun: Pending without an end (a rewound
    one has had its end), or Terminated before its start. Ends of that kind look alike, so there the times must tell.
    """
    started = started_in(history)
    ours = started.instance.execution_id if started is not None else None
    if started is None or is_same_execution(row.execution_id, ours, if_unknown=True):
        return False
    if continues(ours, row.execution_id):
        return True
    if row.status is OrchestrationStatus.PENDING:
        return row.was_rewound
    return row.status is not OrchestrationStatus.TERMINATED or row.created_at <= started.timestamp


def _same_execution(start: ExecutionStarted, row: InstanceRow) -> bool:
    return row.execution_id is None or is_same_execution(start.instance.execution_id, row.execution_id, if_unknown=False)


def _later_than_row(
    start: ExecutionStarted,
    row: InstanceRow,
    dequeue_count: int,
    next_visible: datetime | None,
    visibility: timedelta,
) -> bool:
    if row.created_at < start.timestamp and row.status is OrchestrationStatus.PENDING:
        return True
    if dequeue_count <= 1 or next_visible is None:
        return False
    taken: Ticks = ticks_from_datetime(next_visible - visibility)
    return taken > row.created_at
