"""Timers: short, cancelled, and longer than the hub's longest."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from support.orchestration_bench import AZURE_TIMERS, START, OrchestrationBench, at, kinds

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.episode import Episode
from durable_ext.core.events import TimerCreated, TimerFired
from durable_ext.core.orchestrators import ReplayOptions
from durable_ext.core.task_chains import LongTimer


def after(span: timedelta) -> Any:
    def orchestrator(context: OrchestrationContext) -> Any:
        return (yield context.create_timer(context.current_utc_datetime + span))

    return orchestrator


def test_a_timer_is_recorded_and_sent_to_the_instance_itself() -> None:
    bench = OrchestrationBench(after(timedelta(minutes=5)))

    episode = bench.start()

    due = at(START, minutes=5)
    assert episode.decisions[0] == TimerCreated(timestamp=START, event_id=0, fire_at=due)
    (sent,) = episode.messages
    assert (sent.due, sent.message.target) == (due, bench.instance)
    assert sent.message.event == TimerFired(timestamp=START, timer_id=0, fire_at=due)
    assert not episode.can_run_locally


def test_a_timer_ends_with_none() -> None:
    bench = OrchestrationBench(after(timedelta(minutes=5)))
    bench.start()

    bench.fire(0)

    assert (bench.status, bench.output) == ("Completed", None)


def test_a_span_counts_from_now() -> None:
    bench = OrchestrationBench(lambda context: (yield context.create_timer(timedelta(seconds=9))))

    assert bench.start().messages[0].due == at(START, seconds=9)


def test_a_time_in_another_zone_is_converted() -> None:
    noon = datetime(2024, 1, 2, 12, tzinfo=timezone(timedelta(hours=2)))
    bench = OrchestrationBench(lambda context: (yield context.create_timer(noon)))

    assert bench.start().messages[0].due == at(START, days=1, hours=10)


def test_as_in_1x_the_zone_is_ignored() -> None:
    noon = datetime(2024, 1, 2, 12, tzinfo=timezone(timedelta(hours=2)))
    bench = OrchestrationBench(lambda context: (yield context.create_timer(noon)), options=ReplayOptions(fixes=False))

    assert bench.start().messages[0].due == at(START, days=1, hours=12)


def test_a_date_is_its_midnight() -> None:
    bench = OrchestrationBench(lambda context: (yield context.create_timer(date(2024, 1, 3))))

    assert bench.start().messages[0].due == at(START, days=2)


def test_something_else_than_a_time_is_refused() -> None:
    bench = OrchestrationBench(lambda context: (yield context.create_timer("tomorrow")))

    bench.start()

    assert "fireAt: Expected valid datetime object but got " in str(bench.output)


def race(context: OrchestrationContext) -> Any:
    timer = context.create_timer(timedelta(hours=1))
    event = context.wait_for_external_event("go")
    yield context.task_any([timer, event])
    timer.cancel()
    return [timer.is_cancelled, timer.is_canceled()]


def test_an_instance_ends_although_its_cancelled_timer_is_open() -> None:
    bench = OrchestrationBench(race)
    bench.start()

    bench.raise_event("go")

    assert (bench.status, bench.output) == ("Completed", [True, True])


def test_an_instance_does_not_end_while_a_timer_is_open() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        timer = context.create_timer(timedelta(hours=1))
        yield context.task_any([timer, context.wait_for_external_event("go")])
        return "event"

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.raise_event("go")
    assert bench.status == "Running"
    bench.forget()

    bench.fire(0)

    assert (bench.status, bench.output) == ("Completed", "event")


def test_a_timer_made_and_cancelled_in_one_episode_is_recorded_all_the_same() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        timer = context.create_timer(timedelta(hours=1))
        timer.cancel()
        timer.cancel()
        yield context.task_any([timer, context.call_activity("a")])
        return "done"

    bench = OrchestrationBench(orchestrator)

    first = bench.start()
    bench.complete(1)

    assert kinds(first) == [("TimerCreated", 0), ("TaskScheduled", 1)]
    assert bench.output == "done"


def test_a_cancelled_timer_that_fires_still_ends() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        timer = context.create_timer(timedelta(hours=1))
        timer.cancel()
        yield timer
        yield context.call_activity("after")

    bench = OrchestrationBench(orchestrator)
    bench.start()

    episode = bench.fire(0)

    assert kinds(episode) == [("TaskScheduled", 1)]
    assert episode.can_run_locally


def test_a_timer_that_fired_cannot_be_cancelled() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        timer = context.create_timer(timedelta(hours=1))
        yield timer
        timer.cancel()

    bench = OrchestrationBench(orchestrator)
    bench.start()

    bench.fire(0)

    assert str(bench.output).endswith("Cannot cancel a completed task.")


def _hop_spans(bench: OrchestrationBench) -> list[timedelta]:
    spans = []
    episode = bench.start()
    while episode.messages:
        due = episode.messages[0].due
        assert due is not None
        spans.append(timedelta(microseconds=(due - START) // 10))
        bench.time = due
        event = episode.messages[0].message.event
        assert isinstance(event, TimerFired)
        episode = bench.fire(event.timer_id)
    return spans


def test_a_long_timer_hops_until_its_time() -> None:
    bench = OrchestrationBench(after(timedelta(days=20)))

    spans = _hop_spans(bench)

    assert spans == [timedelta(days=days) for days in (3, 6, 9, 12, 15, 20)]
    assert (bench.status, bench.output) == ("Completed", None)


def test_a_long_timer_ends_as_in_1x_with_a_list() -> None:
    options = ReplayOptions(max_timer=timedelta(days=6), long_timer_step=timedelta(days=3), fixes=False)
    bench = OrchestrationBench(after(timedelta(days=7)), options=options)

    _hop_spans(bench)

    assert bench.output == [None]


def test_without_a_step_hops_are_as_long_as_they_can_be() -> None:
    bench = OrchestrationBench(after(timedelta(days=7)), options=ReplayOptions(max_timer=timedelta(days=5)))

    assert _hop_spans(bench) == [timedelta(days=5), timedelta(days=7)]


def test_without_a_longest_timer_there_are_no_hops() -> None:
    bench = OrchestrationBench(after(timedelta(days=700)), options=ReplayOptions())

    assert _hop_spans(bench) == [timedelta(days=700)]


def long_race(context: OrchestrationContext) -> Any:
    timer = context.create_timer(timedelta(days=20))
    yield context.task_any([timer, context.wait_for_external_event("go")])
    timer.cancel()
    return [timer.is_cancelled, timer.is_canceled()]


def test_an_instance_ends_although_its_cancelled_long_timer_is_open() -> None:
    bench = OrchestrationBench(long_race)
    bench.start()

    bench.raise_event("go")

    assert bench.output == [True, True]


def test_as_in_1x_cancelling_a_long_timer_does_not_reach_its_hops() -> None:
    options = ReplayOptions(max_timer=timedelta(days=6), long_timer_step=timedelta(days=3), fixes=False)
    bench = OrchestrationBench(long_race, options=options)
    bench.start()

    bench.raise_event("go")

    assert bench.status == "Running"


def test_a_cancelled_long_timer_that_is_waited_for_hops_on() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        timer = context.create_timer(timedelta(days=20))
        timer.cancel()
        yield timer

    bench = OrchestrationBench(orchestrator)

    assert len(_hop_spans(bench)) == 6


def test_a_long_timer_that_fired_cannot_be_cancelled() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        timer = context.create_timer(timedelta(days=7))
        yield timer
        timer.cancel()

    bench = OrchestrationBench(orchestrator)

    _hop_spans(bench)

    assert str(bench.output).endswith("Cannot cancel a completed task.")


def test_a_hop_that_comes_early_is_followed_by_another() -> None:
    bench = OrchestrationBench(after(timedelta(days=7)))
    bench.start()
    bench.time = at(START, days=3)
    bench.fire(0)
    bench.time = at(START, days=6, hours=23)

    episode = bench.fire(1)

    assert kinds(episode) == [("TimerCreated", 2)]
    assert episode.messages[0].due == at(START, days=7)


@pytest.mark.parametrize("timer", [timedelta(hours=1), timedelta(days=20)])
def test_a_timer_can_be_yielded_twice(timer: timedelta) -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        task = context.create_timer(timer)
        yield context.task_any([task, context.call_activity("a")])
        yield task

    bench = OrchestrationBench(orchestrator, options=AZURE_TIMERS)
    episodes: list[Episode] = [bench.start()]

    episodes.append(bench.complete(1))

    assert [len(episode.messages) for episode in episodes] == [1, 0]


def test_a_cancelled_timer_over_the_budget_is_not_counted() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        timer = context.create_timer(timedelta(hours=1))
        timer.cancel()
        yield timer

    bench = OrchestrationBench(orchestrator, options=ReplayOptions(max_actions=0))

    bench.start()

    assert bench.status == "Failed"


def test_a_long_timer_shows_its_current_hop() -> None:
    timers: list[LongTimer] = []

    def orchestrator(context: OrchestrationContext) -> Any:
        timer = context.create_timer(timedelta(days=20))
        assert isinstance(timer, LongTimer)
        timers.append(timer)
        yield timer

    OrchestrationBench(orchestrator).start()

    assert timers[0].first_hop.fire_at == at(START, days=3)


@pytest.mark.parametrize("options", [AZURE_TIMERS, ReplayOptions()])
def test_a_time_after_the_year_9999_is_refused(options: ReplayOptions) -> None:
    bench = OrchestrationBench(lambda context: (yield context.create_timer(timedelta.max)), options=options)

    bench.start()

    assert "lies after the year 9999" in str(bench.output)


def test_a_time_before_all_times_fires_as_soon_as_it_can() -> None:
    bench = OrchestrationBench(lambda context: (yield context.create_timer(timedelta.min)))

    assert bench.start().messages[0].due == 0


def test_the_timer_by_which_the_provider_cuts_a_large_checkpoint_is_nothing_to_the_code() -> None:
    # Its MaxCheckpointBatchSize: the rest of the decisions follows when the timer fires (specs/azure-storage.md 8.9).
    bench = OrchestrationBench(
        lambda context: (yield context.task_all([context.call_activity("A", number) for number in range(2)]))
    )
    bench.start()
    cut = TimerCreated(timestamp=START, event_id=-100, fire_at=START)
    bench.history[3:4] = [cut]
    bench.forget()

    episode = bench.deliver(TimerFired(timestamp=START, timer_id=-100, fire_at=START))
    bench.complete(0, "a")
    bench.complete(1, "b")

    assert kinds(episode) == [("TaskScheduled", 1)]
    assert (bench.status, bench.output) == ("Completed", ["a", "b"])
