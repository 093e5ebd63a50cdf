"""Which episodes store how they began before they send requests to entities (stores without one transaction).

An entity counts a request once, by its id and stamp, and both come from the time at which the episode began. A worker
that dies between sending and storing makes the episode run again: only with the time in history it sends the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from durable_ext.core.entities.ids import is_entity_instance
from durable_ext.core.events import (
    ACTIVITY_RESULTS,
    TASK_RESULTS,
    EventRaised,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    GenericEvent,
    HistoryEvent,
    OrchestratorCompleted,
    OrchestratorStarted,
    TaskScheduled,
    TimerFired,
)

if TYPE_CHECKING:
    from durable_ext.core.episode import Episode

# What may be in history while its message is still queued: a reader drops the copy (rule R6, `core.inbox.admit`).
_REPEATABLE: Final = (
    OrchestratorStarted,
    OrchestratorCompleted,
    ExecutionStarted,
    *TASK_RESULTS,
    TimerFired,
    EventRaised,
    ExecutionSuspended,
    ExecutionResumed,
    ExecutionTerminated,
    GenericEvent,
)


def sends_to_entities(episode: Episode) -> bool:
    """Whether an episode sends a request or a release to an entity."""
    return any(is_entity_instance(out.message.target.instance_id) for out in episode.messages)


def without_unsent(events: Sequence[HistoryEvent]) -> tuple[HistoryEvent, ...]:
    """Leave out activities that were decided and have no result: if they are in history, somebody has to have sent them."""
    ended = {event.task_scheduled_id for event in events if isinstance(event, ACTIVITY_RESULTS)}
    return tuple([event for event in events if not isinstance(event, TaskScheduled) or event.event_id in ended])


def going_first(pending: Sequence[HistoryEvent]) -> tuple[HistoryEvent, ...]:
    """Return those of the events that may be stored before anything is sent, in order; empty if there is no need to.

    Stored alone they are a state from which any worker goes on with nothing delivered twice. An activity that was decided
    and not sent stays behind: its place among what happened after that does not matter, its id tells what it is.
    """
    first = without_unsent(pending)
    says_something = any(isinstance(event, (OrchestratorStarted, *ACTIVITY_RESULTS)) for event in first)
    return first if says_something and all(isinstance(event, (*_REPEATABLE, TaskScheduled)) for event in first) else ()
