"""Activities from orchestrators: generators, `async def` and plain functions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest
from support.orchestration_bench import AZURE_TIMERS, OrchestrationBench, kinds

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.events import ExecutionCompleted, TaskCompleted, TaskScheduled
from durable_ext.core.orchestrators import ReplayOptions, is_registered
from durable_ext.core.tasks import Task
from durable_ext.errors import TaskFailedError


def chain(context: OrchestrationContext) -> Any:
    first = yield context.call_activity("a", "x")
    return [first, (yield context.call_activity("b", first))]


async def awaited_chain(context: OrchestrationContext) -> Any:
    first = await context.call_activity("a", "x")
    return [first, await context.call_activity("b", first)]


@pytest.mark.parametrize("function", [chain, awaited_chain])
def test_results_flow_from_one_activity_to_the_next(function: Any) -> None:
    bench = OrchestrationBench(function)

    first = bench.start()
    second = bench.complete(0, 1)
    bench.complete(1, 2)

    assert kinds(first) == [("TaskScheduled", 0)]
    assert kinds(second) == [("TaskScheduled", 1)]
    assert bench.output == [1, 2]


@pytest.mark.parametrize("function", [chain, awaited_chain])
def test_an_instance_that_was_forgotten_goes_on_where_it_was(function: Any) -> None:
    bench = OrchestrationBench(function)
    bench.start()
    bench.forget()
    bench.complete(0, 1)
    bench.forget()

    bench.complete(1, 2)

    assert bench.output == [1, 2]


def test_the_message_has_the_input_in_an_array_and_history_has_none() -> None:
    bench = OrchestrationBench(chain)

    episode = bench.start()

    message = episode.activities[0]
    assert isinstance(message.event, TaskScheduled)
    assert (message.event.name, message.event.input, message.tags) == ("a", '["\\"x\\""]', {})
    assert message.target == bench.instance
    assert episode.decisions[0] == TaskScheduled(timestamp=bench.time, event_id=0, name="a", version="")


def test_the_message_of_an_activity_has_the_tags_of_its_orchestration() -> None:
    bench = OrchestrationBench(chain)

    message = bench.start(tags={"team": "blue"}).activities[0]

    assert isinstance(message.event, TaskScheduled)
    assert (message.tags, message.event.tags) == ({"team": "blue"}, None)


def test_history_keeps_the_input_if_it_is_told_to() -> None:
    bench = OrchestrationBench(chain, options=ReplayOptions(store_inputs=True))

    episode = bench.start()

    assert episode.decisions[0] == episode.activities[0].event


def test_a_plain_function_completes_at_once() -> None:
    bench = OrchestrationBench(lambda context: {"id": context.instance_id})

    episode = bench.start()

    assert episode.is_terminal
    assert bench.output == {"id": "abc123"}


def test_an_exception_of_a_plain_function_fails_the_instance() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        raise ValueError("no")

    bench = OrchestrationBench(orchestrator)

    bench.start()

    assert (bench.status, bench.output) == ("Failed", "Orchestrator function 'orchestrator' failed: no")


def test_an_exception_without_a_text_is_named_by_its_class() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield context.call_activity("a")
        raise KeyError

    bench = OrchestrationBench(orchestrator)
    bench.start()

    bench.complete(0)

    assert bench.output == "Orchestrator function 'orchestrator' failed: <class 'KeyError'>"


def test_an_exit_of_user_code_fails_the_instance_only() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield context.call_activity("a")
        raise SystemExit("bye")

    bench = OrchestrationBench(orchestrator)
    bench.start()

    bench.complete(0)

    assert (bench.status, bench.output) == (
        "Failed",
        "Orchestrator function 'orchestrator' failed: it raised SystemExit: bye",
    )


@pytest.mark.parametrize("when", ["called", "resumed"])
def test_a_keyboard_interrupt_of_user_code_fails_the_instance(when: str) -> None:
    def called(context: OrchestrationContext) -> Any:
        raise KeyboardInterrupt

    def resumed(context: OrchestrationContext) -> Any:
        raise KeyboardInterrupt
        yield

    bench = OrchestrationBench({"called": called, "resumed": resumed}[when])

    bench.start()

    assert bench.status == "Failed"
    assert "KeyboardInterrupt" in str(bench.output)


def test_an_async_generator_is_refused_with_a_hint() -> None:
    async def orchestrator(context: OrchestrationContext) -> Any:
        yield context.call_activity("a")

    bench = OrchestrationBench(orchestrator)

    bench.start()

    assert bench.status == "Failed"
    assert "is an async generator" in str(bench.output)


def test_a_failed_activity_raises_with_the_text_of_1x_and_its_parts() -> None:
    caught: list[TaskFailedError] = []

    def orchestrator(context: OrchestrationContext) -> Any:
        try:
            yield context.call_activity("a")
        except TaskFailedError as error:
            caught.append(error)
        return "caught"

    bench = OrchestrationBench(orchestrator)
    bench.start()

    bench.fail(0, "Activity function 'a' failed:  ValueError: boom", "{}")

    assert bench.output == "caught"
    assert str(caught[0]) == "Activity function 'a' failed:  ValueError: boom \n {}"
    assert (caught[0].task_name, caught[0].details) == ("a", "{}")


def test_a_failure_without_details_says_none_as_1x_does() -> None:
    bench = OrchestrationBench(chain)
    bench.start()

    bench.fail(0, "reason", None)

    assert bench.output == "Orchestrator function 'orchestrator' failed: reason \n None"


def test_a_result_that_cannot_be_decoded_can_be_caught() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        try:
            yield context.call_activity("a")
        except ValueError:
            return "not JSON"

    bench = OrchestrationBench(orchestrator)
    bench.start()

    bench.deliver(TaskCompleted(timestamp=bench.time, task_scheduled_id=0, result="{"))

    assert bench.output == "not JSON"


@dataclass
class Point:
    x: int


def test_a_result_becomes_the_expected_type() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        point = yield context.call_activity("a", expected_type=Point)
        return point.x

    bench = OrchestrationBench(orchestrator)
    bench.start()

    bench.complete(0, {"x": 3})

    assert bench.output == 3


def test_an_input_is_serialized_when_the_call_is_made() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        basket = ["apple"]
        task = context.call_activity("a", basket)
        basket.append("pear")
        yield task

    bench = OrchestrationBench(orchestrator)

    episode = bench.start()

    assert episode.activities[0].event.input == '["[\\"apple\\"]"]'  # type: ignore[attr-defined]


def test_an_input_that_cannot_be_serialized_raises_in_user_code() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        try:
            yield context.call_activity("a", object())
        except TypeError:
            return "refused"

    bench = OrchestrationBench(orchestrator)

    bench.start()

    assert bench.output == "refused"


def test_a_function_can_be_given_instead_of_a_name() -> None:
    def say_hello(name: str) -> str:
        return name

    bench = OrchestrationBench(lambda context: (yield context.call_activity(say_hello, "x")))

    episode = bench.start()

    assert episode.activities[0].event.name == "say_hello"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["", None])
def test_an_empty_name_is_refused(name: Any) -> None:
    bench = OrchestrationBench(lambda context: (yield context.call_activity(name, "x")))

    bench.start()

    assert "function_name cannot be empty" in str(bench.output)


def test_something_without_a_name_is_refused() -> None:
    bench = OrchestrationBench(lambda context: (yield context.call_activity(7, "x")))

    bench.start()

    assert "7 is not the name of an activity function" in str(bench.output)


@pytest.mark.parametrize("what", [None, 5, "text"])
def test_yielding_something_else_than_a_task_raises_there(what: object) -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        try:
            yield what
        except TypeError as error:
            return str(error)

    bench = OrchestrationBench(orchestrator)

    bench.start()

    assert f"The orchestrator waits for {what!r}, which is no durable task." in bench.output


def test_awaiting_asyncio_raises_there() -> None:
    async def orchestrator(context: OrchestrationContext) -> Any:
        await asyncio.sleep(0)

    bench = OrchestrationBench(orchestrator)

    bench.start()

    assert "which is no durable task" in str(bench.output)


def test_an_orchestrator_that_needs_an_event_loop_fails_with_what_to_use_instead() -> None:
    async def orchestrator(context: OrchestrationContext) -> Any:
        await asyncio.sleep(1)

    bench = OrchestrationBench(orchestrator)

    bench.start()

    assert "no running event loop. An orchestrator has none" in str(bench.output)
    assert "context.create_timer()" in str(bench.output)


def test_another_error_of_an_async_orchestrator_is_told_as_it_is() -> None:
    async def orchestrator(context: OrchestrationContext) -> Any:
        raise RuntimeError("no running event loop here")

    bench = OrchestrationBench(orchestrator)

    bench.start()

    assert str(bench.output).endswith("failed: no running event loop here")


def test_thousands_of_ended_tasks_can_be_yielded_in_a_row() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        task = context.call_activity("a")
        total = 0
        for _ in range(5_000):
            total += yield task
        return total

    bench = OrchestrationBench(orchestrator)
    bench.start()

    bench.complete(0, 1)

    assert bench.output == 5_000


def test_a_task_that_is_never_yielded_is_never_scheduled() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        context.call_activity("never")
        yield context.call_activity("a")

    bench = OrchestrationBench(orchestrator)

    assert [message.event.name for message in bench.start().activities] == ["a"]  # type: ignore[attr-defined]


def test_a_second_copy_of_a_result_changes_nothing() -> None:
    bench = OrchestrationBench(chain)
    bench.start()
    bench.complete(0, 1)

    copy = bench.complete(0, 99)
    bench.complete(1, 2)

    assert kinds(copy) == []
    assert bench.output == [1, 2]


@pytest.mark.parametrize("copy", ["fail", "fire", "child_completed"])
def test_a_result_for_nobody_changes_nothing(copy: str) -> None:
    bench = OrchestrationBench(chain)
    bench.start()

    episode = getattr(bench, copy)(17)

    assert kinds(episode) == []
    assert bench.status == "Running"


def test_an_output_that_cannot_be_serialized_fails_the_instance() -> None:
    bench = OrchestrationBench(lambda context: object())

    bench.start()

    assert bench.status == "Failed"
    assert str(bench.output).startswith("Orchestrator function 'orchestrator' failed: ")


def test_no_output_is_recorded_as_none() -> None:
    bench = OrchestrationBench(lambda context: None)

    episode = bench.start()

    completed = episode.decisions[0]
    assert isinstance(completed, ExecutionCompleted)
    assert completed.result is None


def test_an_activity_that_is_not_registered_fails_the_instance_at_once() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield context.task_all([context.call_activity("known"), context.call_activity("missing")])

    bench = OrchestrationBench(orchestrator, activity_names=["KNOWN"])

    episode = bench.start()

    assert not episode.activities
    assert bench.output == (
        "Orchestrator function 'orchestrator' failed: The function 'missing' doesn't exist, is disabled, or is not an "
        "activity function. Additional info: The following are the known activity functions: 'KNOWN'."
    )


def test_the_text_for_an_unknown_activity_says_so_if_there_is_none_at_all() -> None:
    bench = OrchestrationBench(chain, activity_names=[])

    bench.start()

    assert str(bench.output).endswith("No activity functions are currently registered!")


def test_an_orchestrator_that_is_not_registered_fails_the_instance() -> None:
    bench = OrchestrationBench(chain, others=["other"])
    bench.is_registered = False

    bench.start()

    assert bench.output == (
        "Orchestrator function 'orchestrator' failed: The function 'orchestrator' doesn't exist, is disabled, or is not an "
        "orchestrator function. Additional info: The following are the known orchestrator functions: 'other'."
    )


def test_more_actions_than_allowed_fail_the_instance() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield context.task_all([context.call_activity("a") for _ in range(4)])

    bench = OrchestrationBench(orchestrator, options=ReplayOptions(max_actions=3))

    bench.start()
    for number in range(3):
        bench.complete(number)

    assert bench.status == "Failed"
    assert "Maximum amount of orchestration actions (3) has been reached." in str(bench.output)


def test_only_activities_and_nothing_else_may_run_beside_the_session() -> None:
    bench = OrchestrationBench(chain)

    assert bench.start().can_run_locally
    assert bench.complete(0).can_run_locally
    assert not bench.complete(1).can_run_locally


def test_an_activity_beside_an_open_one_may_not_run_beside_the_session() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        both = [context.call_activity("a"), context.call_activity("b")]
        yield context.task_any(both)
        yield context.call_activity("c")

    bench = OrchestrationBench(orchestrator, options=AZURE_TIMERS)
    assert bench.start().can_run_locally

    assert not bench.complete(0).can_run_locally


def test_results_that_ran_beside_the_session_play_like_messages() -> None:
    bench = OrchestrationBench(chain)
    bench.start()

    bench.live.play_results([bench.completed(0, 1)], lambda: bench.time)
    bench.live.play_results([bench.completed(1, 2)], lambda: bench.time)

    assert bench.output == [1, 2]


def test_a_task_tells_its_state_and_result() -> None:
    seen: list[Task[Any]] = []

    def orchestrator(context: OrchestrationContext) -> Any:
        tasks = [context.call_activity("a"), context.call_activity("b")]
        seen.extend(tasks)
        yield context.task_any(tasks)
        yield tasks[1]

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.complete(0, 7)
    bench.fail(1)

    assert (seen[0].is_completed, seen[0].is_failed, seen[0].get_result()) == (True, False, 7)
    assert seen[1].is_failed
    with pytest.raises(TaskFailedError):
        seen[1].get_result()


def test_a_running_task_has_no_result_yet() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        context.call_activity("a").get_result()
        yield context.call_activity("a")

    bench = OrchestrationBench(orchestrator)

    bench.start()

    assert "The task has not completed." in str(bench.output)


def test_what_a_function_promises_is_the_expected_type() -> None:
    def locate() -> None: ...

    def orchestrator(context: OrchestrationContext) -> Any:
        point = yield context.call_activity(locate)
        number = yield context.call_activity(locate, expected_type=dict)
        return [point.x, number]

    bench = OrchestrationBench(orchestrator, resolve_type=lambda function, kind: Point)
    bench.start()
    bench.complete(0, {"x": 3})

    bench.complete(1, {"x": 4})

    assert bench.output == [3, {"x": 4}]


def test_a_definition_can_turn_the_fixes_off() -> None:
    bench = OrchestrationBench(lambda context: (yield context.task_all([])), fixes=False)

    bench.start()

    assert (bench.status, bench.output) == ("Completed", None)


def test_names_are_compared_without_case() -> None:
    assert is_registered("SayHello", ["sayhello"])
    assert is_registered("SayHello", ["SayHello"])
    assert not is_registered("SayHello", ["other"])


def test_a_name_may_be_a_member_of_a_text_enum() -> None:
    class Names(str, Enum):
        HELLO = "SayHello"

    bench = OrchestrationBench(lambda context: (yield context.call_activity(Names.HELLO)))

    (message,) = bench.start().activities

    assert type(message.event.name) is str  # type: ignore[attr-defined]
    assert message.event.name == "SayHello"  # type: ignore[attr-defined]


def test_an_exception_whose_text_cannot_be_made_is_named_by_its_class() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def orchestrator(context: OrchestrationContext) -> Any:
        raise Mute

    bench = OrchestrationBench(orchestrator)

    bench.start()

    assert "Mute" in str(bench.output)


def test_an_input_too_large_to_be_written_raises_in_user_code() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        try:
            yield context.call_activity("a", 10**5000)
        except TypeError:
            return "refused"

    bench = OrchestrationBench(orchestrator)

    bench.start()

    assert bench.output == "refused"
