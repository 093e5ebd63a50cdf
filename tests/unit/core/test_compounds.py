"""task_all, task_any and their nesting."""

from __future__ import annotations

from typing import Any

import pytest
from support.orchestration_bench import OrchestrationBench, kinds

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.orchestrators import ReplayOptions
from durable_ext.core.tasks import Task

AS_1X = ReplayOptions(fixes=False)


def calls(context: OrchestrationContext, *names: str) -> list[Any]:
    return [context.call_activity(name) for name in names]


def test_task_all_gives_the_results_in_the_order_of_the_tasks() -> None:
    bench = OrchestrationBench(lambda context: (yield context.task_all(calls(context, "a", "b", "c"))))
    bench.start()

    for number in (2, 0, 1):
        bench.complete(number, number)

    assert bench.output == [0, 1, 2]


def test_task_all_raises_the_first_failure_while_others_run() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        try:
            yield context.task_all(calls(context, "a", "b"))
        except Exception as error:
            return str(error)

    bench = OrchestrationBench(orchestrator)
    bench.start()

    bench.fail(1, "second", "d")
    assert bench.status == "Running"
    bench.complete(0)

    assert bench.output == "second \n d"


def test_a_failed_task_all_stays_failed_when_the_rest_succeeds() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        tasks = calls(context, "a", "b")
        both = context.task_all(tasks)
        yield context.task_any([both])
        yield tasks[0]
        try:
            yield both
        except Exception:
            return "still failed"

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.fail(1)

    bench.complete(0)

    assert bench.output == "still failed"


def test_task_all_of_nothing_ends_at_once() -> None:
    assert _output(lambda context: (yield context.task_all([]))) == []


def test_task_all_of_nothing_is_none_as_in_1x() -> None:
    assert _output(lambda context: (yield context.task_all([])), AS_1X) is None


def test_task_any_of_nothing_is_none() -> None:
    assert _output(lambda context: (yield context.task_any([]))) is None


def _output(function: Any, options: ReplayOptions | None = None) -> Any:
    bench = OrchestrationBench(function, options=options or ReplayOptions())
    bench.start()
    assert bench.status == "Completed"
    return bench.output


def test_task_any_gives_the_task_that_ended_first_even_if_it_failed() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        tasks = calls(context, "a", "b")
        winner = yield context.task_any(tasks)
        return [tasks.index(winner), winner.is_failed]

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.fail(1)

    bench.complete(0)

    assert bench.output == [1, True]


def test_yielding_the_failed_winner_raises_its_error() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        winner = yield context.task_any(calls(context, "a"))
        yield winner

    bench = OrchestrationBench(orchestrator)
    bench.start()

    bench.fail(0, "why", "d")

    assert bench.output == "Orchestrator function 'orchestrator' failed: why \n d"


def test_of_tasks_that_have_ended_the_first_listed_wins() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        tasks = calls(context, "a", "b")
        yield context.task_all(tasks)
        winner = yield context.task_any(tasks)
        return tasks.index(winner)

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.complete(1)

    bench.complete(0)

    assert bench.output == 0


def test_a_compound_of_ended_tasks_goes_on_at_once() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        tasks = calls(context, "a", "b")
        yield context.task_all(tasks)
        return (yield context.task_all(tasks))

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.complete(0, 1)

    bench.complete(1, 2)

    assert bench.output == [1, 2]


def test_a_compound_with_a_task_that_has_failed_fails_at_once() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        failed, other = calls(context, "a", "b")
        yield context.task_any([failed])
        try:
            yield context.task_all([other, failed])
        except Exception:
            return "at once"

    bench = OrchestrationBench(orchestrator)
    bench.start()

    episode = bench.fail(0)

    assert kinds(episode) == [("TaskScheduled", 1)]
    bench.complete(1)
    assert bench.output == "at once"


def test_ids_go_depth_first_through_nested_compounds() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        inner = context.task_all(calls(context, "b", "c"))
        yield context.task_all([*calls(context, "a"), inner, *calls(context, "d")])

    bench = OrchestrationBench(orchestrator)

    episode = bench.start()

    assert [message.event.name for message in episode.activities] == ["a", "b", "c", "d"]  # type: ignore[attr-defined]


def test_nested_compounds_give_nested_results() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        return (yield context.task_all([context.task_all(calls(context, "a", "b")), *calls(context, "c")]))

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.complete(0, 0)
    bench.complete(2, 2)

    bench.complete(1, 1)

    assert bench.output == [[0, 1], 2]


def test_a_shrinking_task_any_schedules_nothing_twice() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        tasks = calls(context, "a", "b", "c")
        order = []
        while tasks:
            winner = yield context.task_any(tasks)
            tasks.remove(winner)
            order.append(winner.result)
        return order

    bench = OrchestrationBench(orchestrator)
    episodes = [bench.start(), bench.complete(1, "b"), bench.complete(2, "c"), bench.complete(0, "a")]

    assert [len(episode.activities) for episode in episodes] == [3, 0, 0, 0]
    assert bench.output == ["b", "c", "a"]


def test_a_task_may_be_in_several_compounds() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        shared, other = calls(context, "a", "b")
        first = context.task_any([shared])
        context.task_any([shared, other])
        yield first
        return "resumed"

    bench = OrchestrationBench(orchestrator)
    bench.start()

    bench.complete(0)

    assert bench.output == "resumed"


def test_as_in_1x_the_last_compound_takes_a_task_away() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        shared, other = calls(context, "a", "b")
        first = context.task_any([shared])
        context.task_any([shared, other])
        yield first

    bench = OrchestrationBench(orchestrator, options=AS_1X)
    bench.start()

    bench.complete(0)

    assert bench.status == "Running"


def test_a_task_listed_twice_counts_once() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        (task,) = calls(context, "a")
        return (yield context.task_all([task, task]))

    bench = OrchestrationBench(orchestrator)
    episode = bench.start()

    bench.complete(0, 5)

    assert len(episode.activities) == 1
    assert bench.output == [5, 5]


@pytest.mark.parametrize("compound", ["task_all", "task_any"])
def test_a_compound_of_something_else_is_refused(compound: str) -> None:
    bench = OrchestrationBench(lambda context: (yield getattr(context, compound)([3])))

    bench.start()

    assert "3 is not a durable task" in str(bench.output)


def test_compounds_can_be_awaited() -> None:
    async def orchestrator(context: OrchestrationContext) -> Any:
        winner = await context.task_any(calls(context, "a", "b"))
        return await winner

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.complete(1, "won")

    bench.complete(0)

    assert bench.output == "won"


def test_a_failure_can_be_caught_around_await() -> None:
    async def orchestrator(context: OrchestrationContext) -> Any:
        try:
            await context.task_all(calls(context, "a"))
        except Exception as error:
            return str(error)

    bench = OrchestrationBench(orchestrator)
    bench.start()

    bench.fail(0, "r", "d")

    assert bench.output == "r \n d"


@pytest.mark.parametrize("again", [lambda task: task.succeed(2), lambda task: task.fail(ValueError())])
def test_what_has_ended_stays_as_it_is(again: Any) -> None:
    task: Task[int] = Task()
    task.succeed(1)

    again(task)

    assert task.get_result() == 1


def test_tasks_may_come_from_a_generator() -> None:
    bench = OrchestrationBench(lambda context: (yield context.task_all(context.call_activity(name) for name in "ab")))
    bench.start()
    bench.complete(0, 1)

    bench.complete(1, 2)

    assert bench.output == [1, 2]
