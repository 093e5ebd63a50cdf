"""What histories and episodes mean for a session: questions with an answer, no effects."""

from __future__ import annotations

from collections.abc import Sequence

from durable_ext.core.episode import Episode
from durable_ext.core.events import (
    ContinueAsNew,
    ExecutionCompleted,
    HistoryEvent,
    OrchestratorCompleted,
    TaskScheduled,
)


def is_unfinished(history: Sequence[HistoryEvent]) -> bool:
    """Whether a worker has left this history in the middle of an episode."""
    return bool(history) and not isinstance(history[-1], (OrchestratorCompleted, ExecutionCompleted, ContinueAsNew))


def ends_generation(episode: Episode) -> bool:
    """Whether the generation that the wave belongs to has ended."""
    return episode.is_terminal or episode.starts_generation


def decides_activities_only(episode: Episode) -> bool:
    """Whether an episode that was caused by a part of a wave decided nothing but activities."""
    return not (episode.messages or episode.custom_status_changed or episode.is_terminal or episode.starts_generation)


def scheduled_events(episode: Episode) -> dict[int, HistoryEvent]:
    """Return the TaskScheduled events that an episode decided, by task id."""
    return {event.event_id: event for event in episode.decisions if isinstance(event, TaskScheduled)}


def take_events(scheduled: dict[int, HistoryEvent], task_ids: list[int]) -> list[HistoryEvent]:
    """Remove the events of these tasks and return them in the order of their ids."""
    return [scheduled.pop(task_id) for task_id in sorted(task_ids)]
