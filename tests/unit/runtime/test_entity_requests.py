"""What may be stored before an episode sends requests to entities."""

from __future__ import annotations

from durable_ext.core.events import (
    EventRaised,
    HistoryEvent,
    OrchestratorCompleted,
    OrchestratorStarted,
    TaskCompleted,
    TaskScheduled,
    TimerCreated,
)
from durable_ext.core.timestamps import Ticks
from durable_ext.runtime.entity_requests import going_first

AT = Ticks(1)
BEGAN = OrchestratorStarted(timestamp=AT)
ENDED = OrchestratorCompleted(timestamp=AT)
EVENT = EventRaised(timestamp=AT, name="go")
ASKED = TaskScheduled(timestamp=AT, event_id=0, name="step")
ANSWERED = TaskCompleted(timestamp=AT, task_scheduled_id=0)


def test_the_beginning_of_an_episode_goes_first() -> None:
    assert going_first((BEGAN, EVENT)) == (BEGAN, EVENT)


def test_an_activity_that_was_not_sent_stays_behind() -> None:
    assert going_first((ASKED, ENDED, BEGAN, EVENT)) == (ENDED, BEGAN, EVENT)


def test_an_activity_goes_along_with_its_result() -> None:
    pending = (ASKED, ENDED, BEGAN, ANSWERED)

    assert going_first(pending) == pending


def test_results_go_first_whose_episode_began_with_one_that_is_stored() -> None:
    pending = (ASKED, ANSWERED, TaskScheduled(timestamp=AT, event_id=1, name="step"))

    assert going_first(pending) == (ASKED, ANSWERED)


def test_nothing_goes_first_if_the_time_is_stored_or_something_else_was_decided() -> None:
    others: tuple[HistoryEvent, ...] = (TimerCreated(timestamp=AT, event_id=1, fire_at=AT), BEGAN)

    assert going_first((ASKED,)) == ()
    assert going_first(others) == ()
