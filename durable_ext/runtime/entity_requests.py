"""Which episodes store how they began before they send requests to entities (stores without one transaction).

An entity counts a request once, by its id and stamp, and both come from the time at which the episode began. A worker
that dies between sending and storing makes the episode run again: only with the time in history it sends the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from durable_ext.core.entities.ids import is_entity_instance
from durable_ext.core.events import (
    EventRaised,
    ExecutionStarted,
    HistoryEvent,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TimerFired,
)

if TYPE_CHECKING:
    from durable_ext.core.episode import Episode

# What may be in history while its message is still queued: a reader drops the copy (rule R6).
_REPEATABLE: Final = (
    OrchestratorStarted,
    ExecutionStarted,
    TaskCompleted,
    TaskFailed,
    TimerFired,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceFailed,
)
_ANSWER: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def sends_to_entities(episode: Episode) -> bool:
    """Whether an episode of a generation that goes on sends a request or a release to an entity.

    A generation made by continue-as-new is left out: with it in history no message of the old one would wake the instance.
    """
    if episode.starts_generation and not episode.admission.restarts:
        return False
    return any(is_entity_instance(out.message.target.instance_id) for out in episode.messages)


def may_go_first(opening: Sequence[HistoryEvent]) -> bool:
    """Whether these events, stored alone, are a state from which any worker goes on with nothing delivered twice."""
    return all(
        isinstance(event, _REPEATABLE) or (isinstance(event, EventRaised) and _ANSWER.fullmatch(event.name) is not None)
        for event in opening
    )
