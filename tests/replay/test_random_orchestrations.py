"""Random orchestrations and interleavings: an instance decides the same however often it is reloaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.orchestration_bench import OrchestrationBench, kinds

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.events import (
    HistoryEvent,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from durable_ext.core.retry import RetryOptions

Plan = Any
LEAVES: st.SearchStrategy[Plan] = st.sampled_from(
    [("activity",), ("retry",), ("child",), ("timer",), ("long timer",), ("event", "a"), ("event", "b")]
)
PLANS = st.recursive(
    LEAVES,
    lambda inner: st.tuples(st.sampled_from(["all", "any"]), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=5,
)


def task_of(context: OrchestrationContext, plan: Plan) -> Any:
    kind, *arguments = plan
    make: dict[str, Callable[[], Any]] = {
        "activity": lambda: context.call_activity("work", 1),
        "retry": lambda: context.call_activity_with_retry("work", RetryOptions(1000, 2)),
        "child": lambda: context.call_sub_orchestrator("child"),
        "timer": lambda: context.create_timer(timedelta(minutes=1)),
        "long timer": lambda: context.create_timer(timedelta(days=10)),
        "event": lambda: context.wait_for_external_event(arguments[0]),
        "all": lambda: context.task_all([task_of(context, child) for child in arguments[0]]),
        "any": lambda: context.task_any([task_of(context, child) for child in arguments[0]]),
    }
    return make[kind]()


def following(plans: Sequence[Plan]) -> Any:
    def orchestrator(context: OrchestrationContext) -> Any:
        log = []
        for plan in plans:
            try:
                yield task_of(context, plan)
                log.append("ok")
            except Exception as error:
                log.append(str(error))
            log.append(context.new_uuid())
        return log

    return orchestrator


def result_of(bench: OrchestrationBench, event: HistoryEvent, *, fails: bool) -> HistoryEvent | None:
    if isinstance(event, TaskScheduled):
        if fails:
            return TaskFailed(timestamp=bench.time, task_scheduled_id=event.event_id, reason="no", details="d")
        return bench.completed(event.event_id, event.event_id)
    if isinstance(event, TimerCreated):
        return TimerFired(timestamp=bench.time, timer_id=event.event_id, fire_at=event.fire_at)
    if isinstance(event, SubOrchestrationInstanceCreated):
        return SubOrchestrationInstanceCompleted(timestamp=bench.time, task_scheduled_id=event.event_id, result="1")
    return None


def drive(plans: Sequence[Plan], script: Sequence[tuple[int, bool, bool]], *, reload: bool) -> tuple[Any, ...]:
    """Play a script of arrivals: which waiting result, whether it fails, whether an event comes instead."""
    bench = OrchestrationBench(following(plans), others=["child"])
    trace: list[Any] = []
    open_results: list[HistoryEvent] = []
    episode = bench.start()
    for choice, fails, is_event in script:
        trace.append((kinds(episode), [sent.due for sent in episode.messages]))
        found = [result_of(bench, event, fails=fails) for event in episode.decisions]
        open_results.extend(event for event in found if event is not None)
        if episode.is_terminal:
            break
        bench.wait(timedelta(days=1))
        if reload:
            bench.forget()
        if is_event or not open_results:
            episode = bench.raise_event("ab"[choice % 2], choice)
        else:
            episode = bench.deliver(open_results.pop(choice % len(open_results)))
    return (*trace, bench.status, bench.output)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(PLANS, min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.booleans()), min_size=5, max_size=40),
)
def test_reloading_an_instance_before_every_event_changes_nothing(
    plans: list[Plan], script: list[tuple[int, bool, bool]]
) -> None:
    kept = drive(plans, script, reload=False)

    reloaded = drive(plans, script, reload=True)

    assert reloaded == kept
