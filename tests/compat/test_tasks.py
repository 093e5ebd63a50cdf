"""Task classes of the old package: constructors, and tasks of the engine as their instances (specs/sdk.md 2.5, 4.9)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import azure.durable_functions as df
import pytest
from azure.durable_functions.models import DurableOrchestrationContext
from azure.durable_functions.models.actions.CreateTimerAction import CreateTimerAction
from azure.durable_functions.models.actions.NoOpAction import NoOpAction
from azure.durable_functions.models.Task import (
    AtomicTask,
    CompoundTask,
    LongTimerTask,
    RetryAbleTask,
    TaskBase,
    TaskState,
    TimerTask,
    WhenAllTask,
    WhenAnyTask,
)
from support.request_builder import RequestBuilder

DURATIONS = {"maximumShortTimerDuration": "0.16:00:00", "longRunningTimerIntervalDuration": "0.08:00:00"}


@pytest.fixture
def context() -> DurableOrchestrationContext:
    return DurableOrchestrationContext.from_json(RequestBuilder(**DURATIONS).text())


def test_tasks_of_the_engine_are_instances_of_the_old_classes(context: DurableOrchestrationContext) -> None:
    now = context.current_utc_datetime
    activity = context.call_activity("A")
    retried = context.call_activity_with_retry("A", df.RetryOptions(1, 2))
    timer, long_timer = context.create_timer(now + timedelta(hours=1)), context.create_timer(now + timedelta(days=9))
    everything: list[Any] = [activity, retried, timer, long_timer, context.task_all([activity]), context.task_any([timer])]

    def instances(kind: type) -> list[int]:
        return [index for index, task in enumerate(everything) if isinstance(task, kind)]

    assert instances(TaskBase) == [0, 1, 2, 3, 4, 5]
    assert instances(AtomicTask) == [0, 2]
    assert instances(CompoundTask) == [1, 3, 4, 5]
    assert instances(RetryAbleTask) == [1]
    assert instances(TimerTask) == [2]
    assert instances(LongTimerTask) == [3]
    assert instances(WhenAllTask) == [4]
    assert instances(WhenAnyTask) == [5]


def test_a_long_timer_hops_until_its_time(context: DurableOrchestrationContext) -> None:
    started = context.current_utc_datetime
    action = CreateTimerAction(started + timedelta(hours=20))
    timer = LongTimerTask(None, action, context)

    hop = timer.pending_tasks.pop()
    assert timer.action is action
    assert hop.action_repr.fire_at == started + timedelta(hours=8)

    context.current_utc_datetime = started + timedelta(hours=8)
    hop.state = TaskState.SUCCEEDED
    timer.try_set_value(hop)
    last = timer.pending_tasks.pop()
    assert timer.state is TaskState.RUNNING
    assert last.action_repr.fire_at == started + timedelta(hours=20)

    context.current_utc_datetime = started + timedelta(hours=20)
    last.state = TaskState.SUCCEEDED
    timer.try_set_value(last)
    assert timer.state is TaskState.SUCCEEDED


def test_a_timer_that_is_cancelled_flags_its_action(context: DurableOrchestrationContext) -> None:
    timer = TimerTask(0, CreateTimerAction(context.current_utc_datetime))

    timer.cancel()

    assert timer.is_cancelled
    assert timer.action_repr.is_cancelled


def test_a_long_timer_needs_a_host_that_has_them() -> None:
    context = DurableOrchestrationContext.from_json(RequestBuilder().text())

    with pytest.raises(ValueError, match="no longest timer"):
        LongTimerTask(None, CreateTimerAction(context.current_utc_datetime), context)


def test_compounds_end_with_their_children() -> None:
    first, second = TaskBase(0, NoOpAction()), TaskBase(1, NoOpAction())
    both, either = WhenAllTask([first, second]), WhenAnyTask([])

    first.set_value(False, "a")
    second.set_value(False, "b")

    assert (both.state, both.result) == (TaskState.SUCCEEDED, ["a", "b"])
    assert either.state is TaskState.SUCCEEDED


def test_a_task_does_not_go_back() -> None:
    task = TaskBase(0, NoOpAction())

    with pytest.raises(Exception, match=r"Cannot change Task to the RUNNING state\."):
        task.change_state(TaskState.RUNNING)


def test_an_error_must_be_an_exception() -> None:
    with pytest.raises(Exception, match="Task ID 7 failed but it's value was not an Exception"):
        TaskBase(7, NoOpAction()).set_value(True, "text")
