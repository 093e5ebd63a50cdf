"""Automatic retries of activities and sub-orchestrations."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.orchestration_bench import AZURE_TIMERS, START, OrchestrationBench, at, kinds

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.episode import Episode
from durable_ext.core.events import TimerCreated
from durable_ext.core.orchestrators import ReplayOptions
from durable_ext.core.retry import RetryOptions, after_failure
from durable_ext.core.timestamps import Ticks
from durable_ext.failure import FailureDetails


def retrying(options: RetryOptions, *, catch: bool = False) -> Any:
    def orchestrator(context: OrchestrationContext) -> Any:
        try:
            return (yield context.call_activity_with_retry("a", options, "x"))
        except Exception as error:
            if not catch:
                raise
            return str(error)

    return orchestrator


def test_success_at_the_first_attempt_sets_no_timer() -> None:
    bench = OrchestrationBench(retrying(RetryOptions(1000, 3)))
    bench.start()

    episode = bench.complete(0, "done")

    assert bench.output == "done"
    assert not episode.messages


def test_a_failure_is_followed_by_a_timer_and_another_attempt() -> None:
    bench = OrchestrationBench(retrying(RetryOptions(1000, 3)))
    bench.start()

    timer = bench.fail(0)
    again = bench.fire(1)
    bench.complete(2, "late")

    assert timer.decisions[0] == TimerCreated(timestamp=START, event_id=1, fire_at=at(START, seconds=1))
    assert kinds(again) == [("TaskScheduled", 2)]
    assert bench.output == "late"


def test_after_the_last_attempt_a_timer_fires_at_once_before_the_failure() -> None:
    bench = OrchestrationBench(retrying(RetryOptions(1000, 2), catch=True))
    bench.start()
    bench.fail(0)
    bench.fire(1)

    last = bench.fail(2, "second", "d")
    assert bench.status == "Running"
    bench.fire(3)

    assert last.decisions[0] == TimerCreated(timestamp=START, event_id=3, fire_at=START)
    assert bench.output == "second \n d"


def test_the_same_happens_after_each_reload() -> None:
    bench = OrchestrationBench(retrying(RetryOptions(1000, 2), catch=True))
    steps: list[Callable[[], Episode]] = [
        bench.start,
        lambda: bench.fail(0),
        lambda: bench.fire(1),
        lambda: bench.fail(2),
        lambda: bench.fire(3),
    ]
    for step in steps:
        step()
        bench.forget()

    assert bench.output == "boom \n {}"


def test_ids_of_two_retries_interleave_in_the_order_of_events() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        options = RetryOptions(1000, 3)
        return (yield context.task_all([context.call_activity_with_retry(name, options) for name in "ab"]))

    bench = OrchestrationBench(orchestrator)
    episodes = [bench.start(), bench.fail(1), bench.fail(0), bench.fire(2), bench.fire(3)]

    assert [kinds(episode) for episode in episodes] == [
        [("TaskScheduled", 0), ("TaskScheduled", 1)],
        [("TimerCreated", 2)],
        [("TimerCreated", 3)],
        [("TaskScheduled", 4)],
        [("TaskScheduled", 5)],
    ]
    assert [episode.activities[0].event.name for episode in episodes[3:]] == ["b", "a"]  # type: ignore[attr-defined]


def test_a_failure_that_must_not_be_retried_is_final() -> None:
    bench = OrchestrationBench(retrying(RetryOptions(1000, 3), catch=True))
    bench.start()

    bench.fail(0, failure=FailureDetails(error_type="E", error_message="m", is_non_retriable=True))

    assert bench.output == "boom \n {}"


def test_delays_grow_by_the_coefficient_up_to_the_maximum() -> None:
    options = RetryOptions(1000, 5, backoff_coefficient=2, max_retry_interval_in_milliseconds=3000)

    delays = [_delay(options, attempt) for attempt in (1, 2, 3, 4)]

    assert delays == [timedelta(seconds=1), timedelta(seconds=2), timedelta(seconds=3), timedelta(seconds=3)]


def test_an_astronomic_delay_is_the_maximum() -> None:
    options = RetryOptions(1000, 10_000, backoff_coefficient=1e10)

    assert _delay(options, 5_000) == timedelta(days=6)


def _delay(options: RetryOptions, attempt: int) -> timedelta:
    step = after_failure(options, attempt=attempt, first_attempt_at=START, now=START, non_retriable=False)
    assert step.fire_at is not None
    return timedelta(microseconds=(step.fire_at - START) // 10)


def test_after_the_timeout_nothing_is_tried_again() -> None:
    bench = OrchestrationBench(retrying(RetryOptions(1000, 10, retry_timeout_in_milliseconds=5000), catch=True))
    bench.start()
    bench.wait(timedelta(seconds=5))

    bench.fail(0)

    assert bench.output == "boom \n {}"


@given(
    st.integers(1, 10**7),
    st.integers(-1, 20),
    st.floats(1, 10),
    st.integers(1, 30),
    st.one_of(st.none(), st.integers(1, 10**7)),
)
def test_a_retry_never_waits_longer_than_its_maximum_nor_goes_on_after_the_last_attempt(
    first: int, attempts: int, coefficient: float, attempt: int, longest: int | None
) -> None:
    options = RetryOptions(first, attempts, backoff_coefficient=coefficient, max_retry_interval_in_milliseconds=longest)

    step = after_failure(options, attempt=attempt, first_attempt_at=Ticks(0), now=START, non_retriable=False)

    assert step.fire_at is not None
    assert START <= step.fire_at <= START + (longest or 6 * 86_400_000) * 10_000
    assert step.try_again == (attempt < attempts)


def test_a_sub_orchestration_is_retried_with_a_fresh_id() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        return (yield context.call_sub_orchestrator_with_retry("child", RetryOptions(1000, 3), [1]))

    bench = OrchestrationBench(orchestrator, others=["child"])
    first = bench.start()
    bench.child_failed(0)

    second = bench.fire(1)
    bench.child_completed(2, "ok")

    ids = [episode.messages[0].message.target.instance_id for episode in (first, second)]
    assert ids == ["first:0", "first:2"]
    assert bench.output == "ok"


def test_a_sub_orchestration_with_an_id_is_retried_under_it() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield context.call_sub_orchestrator_with_retry("child", RetryOptions(1000, 3), instance_id="mine", version="2")

    bench = OrchestrationBench(orchestrator, others=["child"])
    first = bench.start()
    bench.child_failed(0)

    second = bench.fire(1)

    assert [episode.messages[0].message.target.instance_id for episode in (first, second)] == ["mine", "mine"]


def test_retries_go_on_after_the_orchestrator_returned() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield context.task_any([context.call_activity_with_retry("a", RetryOptions(1000, 2)), context.call_activity("b")])
        return "b won"

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.complete(1)
    bench.fail(0)
    bench.fire(2)
    assert bench.status == "Running"

    bench.complete(3)

    assert bench.output == "b won"


def test_an_interval_longer_than_the_longest_timer_is_refused() -> None:
    bench = OrchestrationBench(retrying(RetryOptions(7 * 86_400_000, 2)), options=AZURE_TIMERS)

    bench.start()

    assert "longer than the longest timer of this task hub" in str(bench.output)


def test_without_a_longest_timer_any_interval_is_fine() -> None:
    bench = OrchestrationBench(retrying(RetryOptions(7 * 86_400_000, 2)), options=ReplayOptions())

    bench.start()

    assert bench.status == "Running"


def test_the_first_interval_must_be_positive_with_the_text_of_1x() -> None:
    with pytest.raises(ValueError, match=r"^first_retry_interval_in_milliseconds valuemust be greater than 0\.$"):
        RetryOptions(0, 3)


@pytest.mark.parametrize(
    "options",
    [
        {"backoff_coefficient": 0.5},
        {"max_retry_interval_in_milliseconds": 0},
        {"retry_timeout_in_milliseconds": -1},
    ],
)
def test_other_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        RetryOptions(1, 1, **options)


def test_options_show_what_was_given() -> None:
    options = RetryOptions(
        5, 6, backoff_coefficient=2, max_retry_interval_in_milliseconds=7, retry_timeout_in_milliseconds=8
    )

    assert options.to_json() == {
        "firstRetryIntervalInMilliseconds": 5,
        "maxNumberOfAttempts": 6,
        "backoffCoefficient": 2,
        "maxRetryIntervalInMilliseconds": 7,
        "retryTimeoutInMilliseconds": 8,
    }
    assert repr(options) == "RetryOptions(5, 6, backoff_coefficient=2)"
    assert RetryOptions(5, 6).to_json() == {"firstRetryIntervalInMilliseconds": 5, "maxNumberOfAttempts": 6}
    assert (options.backoff_coefficient, options.max_number_of_attempts) == (2, 6)


def test_a_retried_call_can_be_yielded_twice() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        call = context.call_activity_with_retry("a", RetryOptions(1000, 3))
        yield context.task_any([call, context.call_activity("b")])
        return (yield call)

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.complete(1)

    bench.complete(0, "once")

    assert bench.output == "once"
