"""Divergence of code and history."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from support.orchestration_bench import OrchestrationBench

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.matching import source_location
from durable_ext.core.tasks import Task

ENTITY = EntityId("counter", "a")
STEPS: dict[str, Any] = {
    "activity": lambda context: context.call_activity("a"),
    "other activity": lambda context: context.call_activity("b"),
    "child": lambda context: context.call_sub_orchestrator("child"),
    "other child": lambda context: context.call_sub_orchestrator("other"),
    "timer": lambda context: context.create_timer(timedelta(hours=1)),
    "signal": lambda context: context.signal_entity(ENTITY, "add"),
    "event": lambda context: context.wait_for_external_event("go"),
}


def doing(step: str) -> Any:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield STEPS[step](context)
        yield context.wait_for_external_event("end")

    return orchestrator


def changed(before: str, after: str) -> OrchestrationBench:
    bench = OrchestrationBench(doing(before), others=["child", "other"])
    bench.start()
    bench.function = doing(after)
    bench.forget()
    bench.raise_event("end")
    return bench


@pytest.mark.parametrize(
    ("before", "after", "recorded", "decided"),
    [
        ("activity", "other activity", "TaskScheduled 'a'", "activity 'b'"),
        ("activity", "timer", "TaskScheduled 'a'", "a timer"),
        ("activity", "event", "TaskScheduled 'a'", "nothing"),
        ("activity", "signal", "TaskScheduled 'a'", "event 'op' to '@counter@a'"),
        ("child", "other child", "SubOrchestrationInstanceCreated 'child'", "sub-orchestration 'other'"),
        ("timer", "activity", "TimerCreated", "activity 'a'"),
        ("signal", "child", "EventSent 'op'", "sub-orchestration 'child'"),
    ],
)
def test_a_changed_step_fails_with_event_recorded_and_decided(before: str, after: str, recorded: str, decided: str) -> None:
    bench = changed(before, after)

    text = str(bench.output)
    assert bench.status == "Failed"
    assert text.startswith("Non-Deterministic workflow detected: replay of instance 'abc123' diverged at event 0: ")
    assert f"history has {recorded}, the code now decides {decided}" in text


@pytest.mark.parametrize("step", sorted(STEPS))
def test_unchanged_code_does_not_diverge(step: str) -> None:
    bench = changed(step, step)

    assert bench.status != "Failed"


def test_the_failure_has_no_stack_of_the_engine() -> None:
    failure = changed("activity", "timer").episodes[-1].failure

    assert failure is not None
    assert failure.error_type == "NonDeterminismError"
    assert failure.stack_trace is None


def test_the_error_names_the_line_where_the_code_waits() -> None:
    bench = changed("activity", "timer")

    assert f"{__file__}:" in str(bench.output)


def test_the_case_of_a_name_may_change() -> None:
    bench = OrchestrationBench(lambda context: (yield context.call_activity("SayHello")))
    bench.start()
    bench.function = lambda context: (yield context.call_activity("sayhello"))
    bench.forget()

    bench.complete(0, "same")

    assert bench.output == "same"


def test_inputs_and_times_may_change() -> None:
    def orchestrator(value: int) -> Any:
        def run(context: OrchestrationContext) -> Any:
            timer = context.create_timer(timedelta(hours=value))
            yield context.task_any([timer, context.call_activity("a", value)])
            return "fine"

        return run

    bench = OrchestrationBench(orchestrator(1))
    bench.start()
    bench.function = orchestrator(2)
    bench.forget()
    bench.complete(1)
    bench.fire(0)

    assert bench.output == "fine"


def test_code_that_returns_earlier_than_before_diverges() -> None:
    bench = OrchestrationBench(doing("activity"))
    bench.start()
    bench.function = lambda context: "at once"
    bench.forget()

    bench.complete(0)

    assert "the code now decides nothing. Was a change" in str(bench.output)


def test_a_diverged_instance_ends_without_waiting_for_anything() -> None:
    bench = changed("activity", "timer")

    assert bench.episodes[-1].is_terminal
    assert bench.episodes[-1].messages == ()


def test_the_location_is_the_innermost_generator_that_waits() -> None:
    def inner() -> Any:
        yield Task()

    def outer() -> Any:
        yield from inner()

    routine = outer()
    next(routine)

    location = source_location(routine)

    assert location == f"{__file__}:{inner.__code__.co_firstlineno + 1}"
    routine.close()


def test_the_location_of_an_await_is_the_users_line() -> None:
    async def orchestrator(task: Task[Any]) -> Any:
        await task

    routine = orchestrator(Task())
    routine.send(None)

    location = source_location(routine)

    assert location == f"{__file__}:{orchestrator.__code__.co_firstlineno + 1}"
    routine.close()


def test_code_that_is_over_has_no_location() -> None:
    assert source_location(None) is None
