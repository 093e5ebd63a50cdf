"""Which events a rewind takes out."""

from __future__ import annotations

from support.orchestration_bench import ME, START

from durable_ext.core.events import (
    ExecutionCompleted,
    ExecutionStarted,
    GenericEvent,
    HistoryEvent,
    OrchestrationStatus,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
)
from durable_ext.core.rewind import end_of, plan_rewind, rewound

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

    assert (plan.neutralized, plan.marked, plan.children, plan.is_leaf) == ((2, 4, 5), (), (), True)
    after = rewound(history, plan)
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

    assert (plan.neutralized, plan.marked, plan.children, plan.is_leaf) == ((2, 3), (1,), ("child-1",), False)


def test_failures_without_a_start_are_taken_out_alone() -> None:
    history: list[HistoryEvent] = [
        TaskFailed(timestamp=START, task_scheduled_id=8),
        SubOrchestrationInstanceFailed(timestamp=START, task_scheduled_id=9),
        ExecutionCompleted(timestamp=START, status=OrchestrationStatus.COMPLETED),
    ]

    assert plan_rewind(history).neutralized == (0, 1)


def test_a_rewound_history_has_no_end_until_it_ends_again() -> None:
    failed: list[HistoryEvent] = [STARTED, FAILED]
    after = rewound(failed, plan_rewind(failed))
    ended = ExecutionCompleted(timestamp=START, status=OrchestrationStatus.COMPLETED)

    assert end_of(failed) is OrchestrationStatus.FAILED
    assert end_of(after) is None
    assert end_of([*after, ended]) is OrchestrationStatus.COMPLETED
