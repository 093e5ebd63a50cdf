"""Which events a rewind takes out."""

from __future__ import annotations

import pytest
from support.orchestration_bench import ME, START

from durable_ext.core.events import (
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionStarted,
    ExecutionTerminated,
    GenericEvent,
    HistoryEvent,
    OrchestrationStatus,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from durable_ext.core.messages import InstanceId, OrchestrationInstance, ParentInstance
from durable_ext.core.rewind import ChildCall, ChildVerdict, end_of, judge_child, plan_rewind, rewound

STARTED = ExecutionStarted(timestamp=START, instance=ME, name="o")
FAILED = ExecutionCompleted(timestamp=START, event_id=2, status=OrchestrationStatus.FAILED)


def test_failures_their_starts_and_the_end_stop_counting() -> None:
    history: list[HistoryEvent] = [
        STARTED,
        TaskScheduled(timestamp=START, event_id=0, name="good"),
        TaskScheduled(timestamp=START, event_id=1, name="bad"),
        TaskCompleted(timestamp=START, task_scheduled_id=0),
        TaskFailed(timestamp=START, task_scheduled_id=1),
        FAILED,
    ]

    plan = plan_rewind(history)

    assert (plan.neutralized, plan.calls) == ((2, 4, 5), ())
    after = rewound(history, plan.neutralized)
    assert [type(event).__name__ for event in after] == [
        "ExecutionStarted",
        "TaskScheduled",
        "GenericEvent",
        "TaskCompleted",
        "GenericEvent",
        "GenericEvent",
    ]
    assert after[2] == GenericEvent(timestamp=START, event_id=1)


def test_a_failed_child_stays_started_and_is_rewound_itself() -> None:
    history: list[HistoryEvent] = [
        STARTED,
        SubOrchestrationInstanceCreated(timestamp=START, event_id=0, instance_id="child-1", name="c"),
        SubOrchestrationInstanceFailed(timestamp=START, task_scheduled_id=0),
        FAILED,
    ]

    plan = plan_rewind(history)

    assert plan.neutralized == (2, 3)
    assert plan.calls == (ChildCall(created=1, task_id=0, child=InstanceId("child-1"), has_failed=True),)


def test_what_was_open_at_the_end_is_asked_for_again() -> None:
    history: list[HistoryEvent] = [
        STARTED,
        TaskScheduled(timestamp=START, event_id=0, name="answered"),
        TaskScheduled(timestamp=START, event_id=1, name="open"),
        TimerCreated(timestamp=START, event_id=2, fire_at=START),
        TimerCreated(timestamp=START, event_id=3, fire_at=START),
        SubOrchestrationInstanceCreated(timestamp=START, event_id=4, instance_id="answered", name="c"),
        SubOrchestrationInstanceCreated(timestamp=START, event_id=5, instance_id="open", name="c"),
        TaskCompleted(timestamp=START, task_scheduled_id=0),
        TimerFired(timestamp=START, timer_id=3, fire_at=START),
        SubOrchestrationInstanceCompleted(timestamp=START, task_scheduled_id=4),
        FAILED,
    ]

    plan = plan_rewind(history)

    assert plan.neutralized == (2, 3, 10)
    assert plan.calls == (ChildCall(created=6, task_id=5, child=InstanceId("open"), has_failed=False),)


ASKED, GRANTED, CALLED = (f"00000000-0000-0000-0000-00000000000{digit}" for digit in "abc")
LOCK_SET = '"lockset":[{"name":"counter","key":"a"}]'


def _sent(number: int, name: str, text: str) -> EventSent:
    return EventSent(timestamp=START, event_id=number, instance_id="@counter@a", name=name, input=text)


def test_a_lock_request_that_was_given_up_at_the_end_is_undone_with_its_releases() -> None:
    history: list[HistoryEvent] = [
        STARTED,
        _sent(0, "op", f'{{"op":null,"id":"{GRANTED}",{LOCK_SET}}}'),
        EventRaised(timestamp=START, name=GRANTED, input="{}"),
        _sent(1, "release", f'{{"parent":"me","id":"{GRANTED}"}}'),
        _sent(2, "op", f'{{"op":"add","signal":true,"input":"\\"lockset\\":[","id":"{CALLED}"}}'),
        _sent(3, "op", f'{{"op":null,"id":"{ASKED}",{LOCK_SET}}}'),
        _sent(4, "release", f'{{"parent":"me","id":"{ASKED}"}}'),
        FAILED,
    ]

    assert plan_rewind(history).neutralized == (5, 6, 7)


def test_a_grant_that_came_after_its_lock_was_given_back_is_undone_with_it() -> None:
    """The code had ended and given up its request; the instance waited for what was still open."""
    history: list[HistoryEvent] = [
        STARTED,
        _sent(0, "op", f'{{"op":null,"id":"{ASKED}",{LOCK_SET}}}'),
        _sent(1, "release", f'{{"parent":"me","id":"{ASKED}"}}'),
        _sent(2, "release", f'{{"parent":"me","id":"{ASKED}"}}'),
        EventRaised(timestamp=START, name=ASKED.upper(), input="{}"),
        FAILED,
    ]

    assert plan_rewind(history).neutralized == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("done", range(5))
def test_a_rewind_that_was_broken_off_takes_out_the_rest_of_what_was_given_up(done: int) -> None:
    history: list[HistoryEvent] = [
        STARTED,
        _sent(0, "op", f'{{"op":null,"id":"{ASKED}",{LOCK_SET}}}'),
        _sent(1, "release", f'{{"parent":"me","id":"{ASKED}"}}'),
        EventRaised(timestamp=START, name=ASKED, input="{}"),
        GenericEvent(timestamp=START, data="again"),
        EventRaised(timestamp=START, name="again"),
        FAILED,
    ]
    planned = plan_rewind(history).neutralized

    assert planned == (1, 2, 3, 6)
    assert plan_rewind(rewound(history, planned[:done])).neutralized == planned[done:]


def test_a_call_of_an_entity_without_an_answer_is_undone_and_keeps_its_id() -> None:
    history: list[HistoryEvent] = [
        STARTED,
        _sent(0, "op", f'{{"op":"get","id":"{GRANTED}"}}'),
        _sent(1, "op", f'{{"op":"get","id":"{CALLED.upper()}"}}'),
        _sent(2, "op", f'{{"op":"add","signal":true,"id":"{ASKED}"}}'),
        EventRaised(timestamp=START, name=GRANTED, input="{}"),
        EventSent(timestamp=START, event_id=3, instance_id="other", name="told", input=f'{{"id":"{ASKED}"}}'),
        FAILED,
    ]

    plan = plan_rewind(history)

    assert plan.neutralized == (2, 6)
    assert rewound(history, plan.neutralized)[2] == GenericEvent(timestamp=START, event_id=1, data=CALLED)


def test_a_call_that_was_answered_after_an_earlier_rewind_is_left() -> None:
    history: list[HistoryEvent] = [
        STARTED,
        SubOrchestrationInstanceCreated(timestamp=START, event_id=0, instance_id="child-1", name="c"),
        GenericEvent(timestamp=START),
        SubOrchestrationInstanceCompleted(timestamp=START, task_scheduled_id=0),
        FAILED,
    ]

    assert (plan_rewind(history).neutralized, plan_rewind(history).calls) == ((4,), ())


def test_a_termination_stops_counting_as_a_failure_does() -> None:
    terminated = ExecutionCompleted(timestamp=START, status=OrchestrationStatus.TERMINATED)
    history: list[HistoryEvent] = [STARTED, ExecutionTerminated(timestamp=START), terminated]

    assert plan_rewind(history).neutralized == (1, 2)


def _child(*events: HistoryEvent, parent: str = "p", task_id: int = 3) -> list[HistoryEvent]:
    caller = OrchestrationInstance(instance_id=InstanceId(parent))
    started_by = ParentInstance(name="parent", instance=caller, task_schedule_id=task_id, version="")
    return [ExecutionStarted(timestamp=START, instance=ME, name="o", parent=started_by), *events]


@pytest.mark.parametrize(
    ("history", "verdict"),
    [
        (_child(), ChildVerdict.WAIT),
        (_child(FAILED), ChildVerdict.REWIND),
        (_child(ExecutionCompleted(timestamp=START, status=OrchestrationStatus.TERMINATED)), ChildVerdict.REWIND),
        (_child(ExecutionCompleted(timestamp=START, status=OrchestrationStatus.COMPLETED)), ChildVerdict.ANSWER),
        ([], ChildVerdict.CALL_AGAIN),
        ([STARTED, FAILED], ChildVerdict.CALL_AGAIN),
        (_child(FAILED, parent="other"), ChildVerdict.CALL_AGAIN),
        (_child(FAILED, task_id=2), ChildVerdict.CALL_AGAIN),
    ],
)
def test_what_becomes_of_a_child_follows_from_its_own_history(history: list[HistoryEvent], verdict: ChildVerdict) -> None:
    assert judge_child(history, parent=InstanceId("p"), task_id=3) is verdict


def test_failures_without_a_start_are_taken_out_alone() -> None:
    history: list[HistoryEvent] = [
        TaskFailed(timestamp=START, task_scheduled_id=8),
        SubOrchestrationInstanceFailed(timestamp=START, task_scheduled_id=9),
        ExecutionCompleted(timestamp=START, status=OrchestrationStatus.COMPLETED),
    ]

    assert plan_rewind(history).neutralized == (0, 1)


def test_a_rewound_history_has_no_end_until_it_ends_again() -> None:
    failed: list[HistoryEvent] = [STARTED, FAILED]
    after = rewound(failed, plan_rewind(failed).neutralized)
    ended = ExecutionCompleted(timestamp=START, status=OrchestrationStatus.COMPLETED)

    assert end_of(failed) is OrchestrationStatus.FAILED
    assert end_of(after) is None
    assert end_of([*after, ended]) is OrchestrationStatus.COMPLETED
