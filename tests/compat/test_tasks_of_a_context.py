"""Tasks that a context of the old package makes have the attributes of 1.x, read off 1.7.0 (specs/sdk.md 2.4, 2.5)."""

from __future__ import annotations

import json
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import azure.durable_functions as df
import pytest
from azure.durable_functions.models import DurableOrchestrationContext
from azure.durable_functions.models.actions.Action import Action
from azure.durable_functions.models.actions.CallActivityAction import CallActivityAction
from azure.durable_functions.models.actions.CreateTimerAction import CreateTimerAction
from azure.durable_functions.models.actions.WhenAllAction import WhenAllAction
from azure.durable_functions.models.history.HistoryEvent import HistoryEvent
from azure.durable_functions.models.Task import AtomicTask, RetryAbleTask, TaskState, TimerTask
from azure.durable_functions.models.TaskOrchestrationExecutor import TaskOrchestrationExecutor
from support.request_builder import RequestBuilder

DURATIONS = {"maximumShortTimerDuration": "6.00:00:00", "longRunningTimerIntervalDuration": "3.00:00:00"}
V1, V3 = 0, 2


def context_of(schema: int = V3) -> DurableOrchestrationContext:
    return DurableOrchestrationContext.from_json(RequestBuilder(schema=schema, **DURATIONS).text())


def calls(context: DurableOrchestrationContext) -> dict[str, Any]:
    entity, retry = df.EntityId("Counter", "k"), df.RetryOptions(5, 2)
    now = context.current_utc_datetime
    return {
        "CallActivityAction": context.call_activity("A", {"a": 1}, int),
        "CallSubOrchestratorAction": context.call_sub_orchestrator("S", 1, "child", "v"),
        "CallHttpAction": context.call_http("GET", "http://x", {"a": 1}),
        "CallEntityAction": context.call_entity(entity, "op", 3),
        "WaitForExternalEventAction": context.wait_for_external_event("Go", str),
        "CreateTimerAction": context.create_timer(now + timedelta(hours=1)),
        "SignalEntityAction": context.signal_entity(entity, "op", 3),
        "CallActivityWithRetryAction": context.call_activity_with_retry("A", retry, 1),
        "CallSubOrchestratorWithRetryAction": context.call_sub_orchestrator_with_retry("S", retry, 1),
    }


def flat(action: Any) -> list[Action]:
    if isinstance(action, list):
        return action
    return list(getattr(action, "compound_tasks", [action]))


@pytest.mark.parametrize("schema", [V1, V3])
def test_a_task_shows_its_action_before_it_is_yielded(schema: int) -> None:
    tasks = calls(context_of(schema))

    assert {name: [type(action).__name__ for action in flat(task.action_repr)] for name, task in tasks.items()} == {
        name: [name] for name in tasks
    }


def test_a_retried_call_stands_for_a_compound_action_in_the_newer_schemas() -> None:
    context, old = context_of(V3), context_of(V1)
    retry = df.RetryOptions(5, 2)

    assert isinstance(context.call_activity_with_retry("A", retry).action_repr, WhenAllAction)
    assert isinstance(old.call_activity_with_retry("A", retry).action_repr, list)


def test_a_task_of_a_context_has_the_attributes_of_1x() -> None:
    task = context_of().call_activity("A", None, int)

    assert isinstance(task, AtomicTask)
    assert (task.id, task.state, task.parent, task.result) == (None, TaskState.RUNNING, None, None)
    assert (task.is_played, task._is_scheduled, task._is_scheduled_flag) == (False, False, False)
    assert (task._api_name, task._expected_output_type) == ("CallActivityAction", int)
    assert task._get_action().function_name == "A"


def test_a_compound_knows_its_children() -> None:
    context = context_of()
    first, second = context.call_activity("A"), context.call_activity("B")

    both = context.task_all([first, second])

    assert (both.id, both.children, both.pending_tasks, both.completed_tasks) == (-1, [first, second], {first, second}, [])
    assert first.parent is both
    assert [action.function_name for action in flat(both.action_repr)] == ["A", "B"]
    assert context.task_all([])._is_scheduled


def test_a_compound_takes_notice_of_a_child() -> None:
    context = context_of()
    first, second = context.call_activity("A"), context.call_activity("B")
    either = context.task_any([first, second])

    first.state, first.result = TaskState.FAILED, ValueError("no")
    either.handle_completion(first)

    assert either.result is first
    assert (either.pending_tasks, either.completed_tasks) == ({second}, [first])
    assert str(either._first_error) == "no"
    with pytest.raises(Exception, match="Parent Task -1 does not have pending sub-task with ID None"):
        either.handle_completion(context.call_activity("C"))


def test_a_retried_call_tells_where_it_is() -> None:
    task = context_of().call_activity_with_retry("A", df.RetryOptions(5, 2))

    assert isinstance(task, RetryAbleTask)
    assert (task.id, task.id_, task.num_attempts) == (-1, "[None]_retryable_proxy", 1)
    assert (task.is_waiting_on_timer, task.error, len(task.pending_tasks)) == (False, None, 1)
    assert task.actions.to_json()["functionName"] == "A"


def test_a_long_timer_of_a_context_hops_as_1x() -> None:
    context = context_of()
    started = context.current_utc_datetime
    timer = context.create_timer(started + timedelta(days=20))
    fired = []

    for days in (3, 6, 9, 12, 15, 20):
        hop = timer.pending_tasks.pop()
        fired.append((hop.action_repr.fire_at - started).days)
        context.current_utc_datetime = started + timedelta(days=days)
        hop.state = TaskState.SUCCEEDED
        timer.try_set_value(hop)

    assert fired == [3, 6, 9, 12, 15, 20]
    assert timer.state is TaskState.SUCCEEDED
    assert timer.action.fire_at == started + timedelta(days=20)
    assert len(timer.children) == 6
    assert (timer._max_short_timer_duration, timer._long_timer_interval) == (timedelta(days=6), timedelta(days=3))


def test_hops_can_be_made_and_added_by_hand() -> None:
    context = context_of()
    now = context.current_utc_datetime
    timer = context.create_timer(now + timedelta(days=9))

    hop = timer.get_next_timer_task(now + timedelta(days=9), now)
    last = timer.get_next_timer_task(now + timedelta(days=9), now + timedelta(days=6))
    timer.add_new_child(hop)

    assert (hop.action_repr.fire_at, last.action_repr.fire_at) == (now + timedelta(days=3), now + timedelta(days=9))
    assert hop in timer.pending_tasks
    assert hop.parent is timer


@pytest.mark.parametrize("schema", [V1, V3])
def test_tasks_are_generated_from_actions(schema: int) -> None:
    context = context_of(schema)
    parent = context.task_all([context.call_activity("A")])

    for name, task in calls(context).items():
        action = flat(task.action_repr)[0]
        if name != "SignalEntityAction":
            made = context._generate_task(action)
            assert flat(made.action_repr) == [action]
            assert made.id == ("Go" if name == "WaitForExternalEventAction" else None)
    assert context._generate_task(CallActivityAction("G"), id_=7, parent=parent).parent is parent
    retried = context._generate_task(CallActivityAction("G"), retry_options=df.RetryOptions(5, 2))
    assert isinstance(retried, RetryAbleTask)
    assert [action.function_name for action in flat(retried.action_repr)] == ["G"]
    timer = context._generate_task(CreateTimerAction(context.current_utc_datetime), task_constructor=TimerTask)
    assert isinstance(timer, TimerTask)


def test_no_task_belongs_to_a_signal() -> None:
    context = context_of()
    signal = context.signal_entity(df.EntityId("Counter", "k"), "op").action_repr

    with pytest.raises(ValueError, match="No task belongs to SignalEntityAction"):
        context._generate_task(signal)


def test_a_generated_task_can_be_yielded() -> None:
    def orchestrate(context: DurableOrchestrationContext) -> Generator[Any, Any, Any]:
        yield context._generate_task(CallActivityAction("G", {"a": 1}))

    state = json.loads(df.Orchestrator.create(orchestrate)(RequestBuilder().text()))

    assert state["actions"] == [[{"actionType": 0, "functionName": "G", "input": '{"a": 1}'}]]


def test_tasks_are_opened_by_hand() -> None:
    context = context_of()
    task, wait = context.call_activity("A"), context.wait_for_external_event("Go")

    context._add_to_open_tasks(task)
    context._add_to_open_tasks(wait)

    assert (task.id, context._sequence_number) == (0, 1)
    assert context.open_tasks == {0: task, "Go": [wait]}


def test_actions_are_added_by_hand() -> None:
    context, old = context_of(V3), context_of(V1)

    context._add_to_actions(CallActivityAction("A"))
    context._record_fire_and_forget_action(CallActivityAction("B"))
    old._add_to_actions([CallActivityAction("A"), CallActivityAction("B")])

    assert [action.to_json()["functionName"] for action in context._action_payload_v2] == ["A", "B"]
    assert [action.to_json()["functionName"] for action in old._action_payload_v1[0]] == ["A", "B"]
    assert context._sequence_number == 1
    for wrong in (context, [CallActivityAction("A")]), (old, CallActivityAction("A")):
        with pytest.raises(Exception, match="DF-internal exception: ActionRepr of signature"):
            wrong[0]._add_to_actions(wrong[1])  # type: ignore[arg-type]


def test_no_action_is_added_after_continue_as_new() -> None:
    context = context_of()
    context.continue_as_new(1)

    context._add_to_actions(CallActivityAction("A"))

    assert [action.action_type for action in context._action_payload_v2] == [4]


def test_a_context_keeps_its_events_durations_and_version() -> None:
    context = context_of()

    assert context.histories is context.histories
    assert context._maximum_short_timer_duration == timedelta(days=6)
    assert context._long_timer_interval_duration == timedelta(days=3)
    assert context.deferred_tasks == {}
    assert context._extract_version_from_history(context.histories) == context.version
    assert context._extract_version_from_history([]) is None


def waits_twice(context: DurableOrchestrationContext) -> Generator[Any, Any, Any]:
    first = yield context.call_activity("A")
    second = yield context.call_activity("B")
    return [first, second]


def result(task_id: int, value: str) -> HistoryEvent:
    return HistoryEvent(5, -1, False, "2024-01-01T00:00:00Z", TaskScheduledId=task_id, Result=value)


def test_an_executor_plays_event_by_event() -> None:
    executor, context = TaskOrchestrationExecutor(), context_of()
    executor.context, executor.generator = context, waits_twice(context)

    for event in context.histories:
        executor.process_event(event)
    assert executor.current_task.action_repr.function_name == "A"
    assert not executor.orchestrator_returned
    executor.process_event(result(0, "1"))
    executor.process_event(result(1, '"x"'))

    assert executor.orchestrator_returned
    state = json.loads(executor.get_orchestrator_state_str())
    assert (state["isDone"], state["output"], executor.output) == (True, [1, "x"], [1, "x"])


def test_an_executor_knows_which_events_end_tasks() -> None:
    executor = TaskOrchestrationExecutor()

    assert [number for number in range(22) if executor.is_task_completion_event(number)] == [5, 6, 8, 9, 11, 15]


def test_an_executor_without_a_context_says_so() -> None:
    with pytest.raises(ValueError, match="There is no context to replay"):
        TaskOrchestrationExecutor().get_orchestrator_state_str()


def test_a_compound_of_ended_tasks_resumes_code_as_replayed_as_its_last_child() -> None:
    seen: list[bool] = []

    def orchestrate(context: DurableOrchestrationContext) -> Generator[Any, Any, Any]:
        old = context.call_activity("A")
        yield old
        yield context.call_activity("B")
        seen.append(context.is_replaying)
        yield context.task_all([old])
        seen.append(context.is_replaying)
        yield context.task_all([])
        seen.append(context.is_replaying)

    builder = RequestBuilder()
    builder.episode().event(5, TaskScheduledId=0, Result="1", IsPlayed=True)
    builder.episode().event(5, TaskScheduledId=1, Result="1")
    df.Orchestrator.create(orchestrate)(builder.text())

    assert seen == [False, True, False]
