"""Task classes of the old package: constructors, and tasks of the engine as their instances (specs/sdk.md 2.5, 4.9)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import azure.durable_functions as df
import pytest
from azure.durable_functions.models import DurableOrchestrationContext
from azure.durable_functions.models.actions.CallActivityAction import CallActivityAction
from azure.durable_functions.models.actions.CreateTimerAction import CreateTimerAction
from azure.durable_functions.models.actions.NoOpAction import NoOpAction
from azure.durable_functions.models.actions.WhenAllAction import WhenAllAction
from azure.durable_functions.models.ReplaySchema import ReplaySchema
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


def test_a_task_has_the_attributes_of_1x() -> None:
    action = CallActivityAction("A")
    task = TaskBase(3, [action])
    parent = WhenAnyTask([task])

    task.set_is_played(True)
    task._set_is_scheduled(True)

    assert (task.is_played, task._is_scheduled, task._is_scheduled_flag) == (True, True, True)
    assert task._api_name == "CallActivityAction"
    assert task.parent is parent


def test_the_parent_of_a_task_can_be_set() -> None:
    task, parent = TaskBase(1, NoOpAction()), WhenAllTask([TaskBase(2, NoOpAction())])

    task.parent = None
    assert task.parent is None

    task.parent = parent
    assert task.parent is parent


def test_a_failed_task_stands_for_its_exception() -> None:
    cause, task = TaskBase(1, NoOpAction()), TaskBase(2, NoOpAction())
    cause.set_value(True, ValueError("why"))

    task.set_value(True, cause)

    assert (task.state, str(task.result)) == (TaskState.FAILED, "why")


@pytest.mark.parametrize(
    ("schema", "kind"), [(ReplaySchema.V1, list), (ReplaySchema.V2, WhenAllAction), (ReplaySchema.V3, WhenAllAction)]
)
def test_a_compound_stands_for_the_actions_of_its_new_children(schema: ReplaySchema, kind: type) -> None:
    new, old = TaskBase(None, CallActivityAction("New")), TaskBase(0, CallActivityAction("Old"))
    old._set_is_scheduled(True)

    compound = WhenAllTask([new, old], schema)

    assert isinstance(compound.action_repr, kind)
    actions = compound.action_repr if kind is list else compound.action_repr.compound_tasks
    assert [action.function_name for action in actions] == ["New"]


def test_a_retried_task_is_made_of_an_attempt(context: DurableOrchestrationContext) -> None:
    attempt = context.call_activity("A")

    task = RetryAbleTask(attempt, df.RetryOptions(1, 2), context)

    assert (task.num_attempts, task.retry_options.max_number_of_attempts) == (1, 2)
