"""What an episode can decide: one frozen value per kind of decision; knows no store.

`task_id` is the sequence number of specs/execution-semantics.md 2.1 and becomes the `event_id` of the recorded event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union

from durable_ext.core.events import HistoryEvent, OrchestrationStatus
from durable_ext.core.messages import InstanceId
from durable_ext.core.timestamps import Ticks
from durable_ext.failure import FailureDetails


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleActivity:
    """`input` is the text the message carries: a JSON array of one string (execution-semantics.md 3.1)."""

    task_id: int
    name: str
    input: str | None = None
    version: str | None = ""
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSubOrchestration:
    """`instance_id` is `None` for the default `{execution id}:{task id}`, which the checkpoint builder fills in."""

    task_id: int
    name: str
    instance_id: InstanceId | None = None
    input: str | None = None
    version: str | None = ""
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTimer:
    """A timer no longer than the backend's maximum; `canceled` = it was cancelled in the episode that made it."""

    task_id: int
    fire_at: Ticks
    canceled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SendEvent:
    """An event to another instance: entity requests (`op`, `op@{due}`), `release`; `due` delays its delivery."""

    task_id: int
    target: InstanceId
    name: str
    input: str | None = None
    due: Ticks | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartNewGeneration:
    """Continue-as-new with this input text; `carried` are unplayed events that go to the next generation."""

    task_id: int
    input: str | None = None
    carried: tuple[HistoryEvent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteOrchestration:
    task_id: int
    status: OrchestrationStatus
    result: str | None = None
    failure: FailureDetails | None = None


Action = Union[ScheduleActivity, StartSubOrchestration, ScheduleTimer, SendEvent, StartNewGeneration, CompleteOrchestration]
