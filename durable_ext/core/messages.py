"""Who a task message is for, and the message itself; knows no queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NewType

from durable_ext.core.timestamps import Ticks

if TYPE_CHECKING:
    from durable_ext.core.events import HistoryEvent

InstanceId = NewType("InstanceId", str)
ExecutionId = NewType("ExecutionId", str)

MAY_COME_AGAIN: Final = timedelta(minutes=10)
"""How long a message is known again that a dead worker took and could not delete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestrationInstance:
    """An instance and, if a particular generation is meant, its execution id (`None` = whichever is current)."""

    instance_id: InstanceId
    execution_id: ExecutionId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentInstance:
    """The parent of a sub-orchestration and the id of the task that waits for it there."""

    name: str
    instance: OrchestrationInstance
    task_schedule_id: int
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """W3C trace context stored with events; texts are kept as they were read (specs/azure-storage.md 5.3)."""

    trace_parent: str
    trace_state: str | None = None
    id: str | None = None
    span_id: str | None = None
    activity_start_time: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMessage:
    """A history event addressed to an instance.

    `tags` are those of `OrchestrationExecutionContext`: of the orchestration that sends an activity message or starts a
    child, often empty; `None` on other messages (specs/azure-storage.md 4.4).
    """

    event: HistoryEvent
    target: OrchestrationInstance
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingMessage:
    """A task message to send; `due` = not to be delivered before (timers, delayed signals), `None` = at once."""

    message: TaskMessage
    due: Ticks | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """A task message taken from a store.

    `message_id` is the store's, opaque, unique in the task hub, and the same at every redelivery;
    `dequeue_count` starts at 1. `is_old`: it may have been delivered before, although the count does not say so.
    """

    message_id: str
    message: TaskMessage
    dequeue_count: int = 1
    is_old: bool = False
