"""Replay as the 1.x SDK does it alone: no comparison with history, and an observer that hears of the user's calls."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from support.orchestration_bench import CODEC, CONVERTER, ME, START, OrchestrationBench, at

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entity_calls import EntityCalls
from durable_ext.core.events import (
    EventRaised,
    ExecutionStarted,
    HistoryEvent,
    OrchestratorStarted,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerFired,
)
from durable_ext.core.orchestrators import OrchestratorDefinition, ReplayOptions
from durable_ext.core.replay import Replay
from durable_ext.core.tasks import Task, TimerTask
from durable_ext.core.timestamps import Ticks

OPTIONS = ReplayOptions(max_timer=timedelta(days=6), long_timer_step=timedelta(days=3), fixes=False)
BEGIN: list[HistoryEvent] = [
    OrchestratorStarted(timestamp=START),
    ExecutionStarted(timestamp=START, instance=ME, name="o"),
]


class Log:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def yielded(self, task: Task[Any]) -> None:
        self.lines.append(f"yielded {type(task).__name__} {task.id}")

    def hopped(self, timer: TimerTask) -> None:
        self.lines.append(f"hopped {timer.id}")

    def signalled(self, target: str, operation: str, text: str, due: Ticks | None) -> None:
        self.lines.append(f"signalled {target} {operation} {text} {due}")

    def continued(self, text: str) -> None:
        self.lines.append(f"continued {text}")


def replay_of(function: Any, log: Log | None = None) -> Replay:
    replay = Replay(
        instance_id=ME.instance_id,
        definition=OrchestratorDefinition(name="o", function=function),
        converter=CONVERTER,
        entities=EntityCalls(codec=CODEC, converter=CONVERTER, options=OPTIONS),
        options=OPTIONS,
        observer=log,
        verify=False,
    )
    OrchestrationContext(replay)
    return replay


def test_a_result_that_comes_before_its_task_waits_for_it() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        first = yield context.call_activity("a")
        try:
            yield context.call_activity("b")
        except Exception:
            yield context.create_timer(timedelta(hours=1))
        return first

    replay = replay_of(orchestrator)
    early: list[HistoryEvent] = [
        TimerFired(timestamp=START, timer_id=2, fire_at=START),
        TaskFailed(timestamp=START, task_scheduled_id=1),
        TaskCompleted(timestamp=START, task_scheduled_id=0, result="5"),
    ]

    replay.feed([*BEGIN, *early], past=True)

    assert (replay.ended, replay.output) == (True, 5)


def test_history_and_code_are_not_compared() -> None:
    replay = replay_of(lambda context: (yield context.call_activity("a")))

    replay.feed([*BEGIN, TaskScheduled(timestamp=START, event_id=0, name="another")], past=True)

    assert replay.divergence is None


def test_an_observer_hears_of_what_is_yielded_sent_and_continued() -> None:
    log = Log()

    def orchestrator(context: OrchestrationContext) -> Any:
        context.signal_entity(EntityId("Counter", "a"), "add", 1)
        task = context.call_activity("a")
        yield task
        yield task
        yield context.create_timer(timedelta(days=7))
        context.continue_as_new([1])
        context.continue_as_new([2])

    replay = replay_of(orchestrator, log)
    replay.feed(
        [
            *BEGIN,
            TaskCompleted(timestamp=START, task_scheduled_id=1),
            OrchestratorStarted(timestamp=START),
            TimerFired(timestamp=START, timer_id=2, fire_at=START),
            OrchestratorStarted(timestamp=at(START, days=8)),
            TimerFired(timestamp=START, timer_id=3, fire_at=START),
        ],
        past=True,
    )

    assert log.lines == [
        "signalled @counter@a add 1 None",
        "yielded ActivityTask None",
        "yielded ActivityTask 1",
        "yielded LongTimer None",
        "hopped 3",
        "continued [1]",
    ]


def test_hops_of_a_long_timer_need_no_observer() -> None:
    bench = OrchestrationBench(lambda context: (yield context.create_timer(timedelta(days=7))))
    bench.start()

    bench.fire(0)

    assert bench.status == "Running"


def test_nothing_is_played_after_a_divergence() -> None:
    bench = OrchestrationBench(lambda context: (yield context.call_activity("a")))
    bench.start()
    bench.function = lambda context: "other"
    bench.forget()
    bench.complete(0)
    ended = list(bench.history)

    bench.live._play((), lambda: bench.time, bench.episodes[-1].admission)

    assert bench.live.state.events[: len(ended)] == ended


def test_code_that_does_not_run_cannot_be_resumed() -> None:
    replay = replay_of(lambda context: (yield context.call_activity("a")))
    replay.feed(BEGIN, past=False)

    replay.close()
    replay.feed([TaskCompleted(timestamp=START, task_scheduled_id=0)], past=False)

    assert not replay.ended


def test_a_second_start_in_history_is_ignored() -> None:
    replay = replay_of(lambda context: (yield context.call_activity("a")))

    replay.feed([*BEGIN, *BEGIN], past=True)

    assert list(replay.pending) == [0]


def test_after_continue_as_new_the_code_goes_on_with_a_result_that_came_early() -> None:
    def function(context: OrchestrationContext) -> Any:
        yield context.call_activity("A")
        context.continue_as_new(1)
        return (yield context.wait_for_external_event("Go"))

    log = Log()
    replay = replay_of(function, log)

    early = EventRaised(timestamp=START, name="Go", input='"early"')
    replay.feed([*BEGIN, early, TaskCompleted(timestamp=START, task_scheduled_id=0)], past=False)

    assert replay.output == "early"
    assert log.lines == ["yielded ActivityTask None", "continued 1"]
