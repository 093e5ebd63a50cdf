"""External events: who gets which."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from support.orchestration_bench import OrchestrationBench, kinds

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.external_events import EventMailbox
from durable_ext.core.orchestrators import ReplayOptions
from durable_ext.core.tasks import EventTask

AS_1X = ReplayOptions(fixes=False)


def waits(*names: str) -> Any:
    def orchestrator(context: OrchestrationContext) -> Any:
        values = []
        for name in names:
            values.append((yield context.wait_for_external_event(name)))
        return values

    return orchestrator


def late(*names: str) -> Any:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield context.call_activity("first")
        return (yield from waits(*names)(context))

    return orchestrator


def test_a_wait_ends_with_the_payload_and_leaves_no_event() -> None:
    bench = OrchestrationBench(waits("go"))
    first = bench.start()

    bench.raise_event("go", {"a": 1})

    assert kinds(first) == []
    assert bench.output == [{"a": 1}]


def test_an_event_without_payload_is_none() -> None:
    bench = OrchestrationBench(waits("go"))
    bench.start()

    bench.raise_event("go")

    assert bench.output == [None]


def test_early_events_are_kept_in_order_for_each_name() -> None:
    bench = OrchestrationBench(late("a", "b", "a"))
    bench.start()
    for name, value in (("a", 1), ("b", 2), ("a", 3)):
        bench.raise_event(name, value)
    bench.forget()

    bench.complete(0)

    assert bench.output == [1, 2, 3]


def test_an_early_event_serves_one_wait_only() -> None:
    bench = OrchestrationBench(late("a", "a"))
    bench.start()
    bench.raise_event("a", 1)

    bench.complete(0)
    assert bench.status == "Running"
    bench.raise_event("a", 2)

    assert bench.output == [1, 2]


def test_as_in_1x_the_last_early_event_serves_every_later_wait() -> None:
    bench = OrchestrationBench(late("a", "a"), options=AS_1X)
    bench.start()
    bench.raise_event("a", 1)
    bench.raise_event("a", 2)

    bench.complete(0)

    assert bench.output == [2, 2]


def test_case_of_the_name_does_not_matter() -> None:
    bench = OrchestrationBench(waits("Approval"))
    bench.start()

    bench.raise_event("APPROVAL", 1)

    assert bench.output == [1]


def test_as_in_1x_case_of_the_name_matters() -> None:
    bench = OrchestrationBench(waits("Approval"), options=AS_1X)
    bench.start()

    bench.raise_event("APPROVAL", 1)

    assert bench.status == "Running"


def test_the_newest_wait_gets_the_event() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        older, newer = context.wait_for_external_event("go"), context.wait_for_external_event("go")
        winner = yield context.task_any([older, newer])
        return "newer" if winner is newer else "older"

    bench = OrchestrationBench(orchestrator)
    bench.start()

    bench.raise_event("go")

    assert bench.output == "newer"


def test_an_abandoned_wait_swallows_nothing_in_a_loop() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        while True:
            event = context.wait_for_external_event("go")
            timer = context.create_timer(timedelta(minutes=1))
            winner = yield context.task_any([event, timer])
            if winner is event:
                return winner.result

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.fire(0)
    bench.fire(1)

    bench.raise_event("go", "third round")
    bench.fire(2)

    assert bench.output == "third round"


def test_the_same_wait_can_be_yielded_again() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        event = context.wait_for_external_event("go")
        yield context.task_any([event, context.call_activity("a")])
        first = yield event
        return [first, (yield event)]

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.complete(0)

    bench.raise_event("go", 1)

    assert bench.output == [1, 1]


def test_two_events_in_one_batch_serve_two_waits() -> None:
    bench = OrchestrationBench(waits("a", "a"))
    bench.start()

    bench.deliver(bench.raised("a", 1), bench.raised("a", 2))

    assert bench.output == [1, 2]


def test_an_event_before_the_start_is_kept() -> None:
    bench = OrchestrationBench(waits("a"))
    event = bench.raised("a", "early")
    bench.start()

    bench.deliver(event)

    assert bench.output == ["early"]


def test_a_payload_becomes_the_expected_type() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        value = yield context.wait_for_external_event("go", tuple[int, int])
        return isinstance(value, tuple)

    bench = OrchestrationBench(orchestrator)
    bench.start()

    bench.raise_event("go", [1, 2])

    assert bench.output is True


@pytest.mark.parametrize("name", ["", None])
def test_a_wait_needs_a_name(name: Any) -> None:
    bench = OrchestrationBench(waits(name))

    bench.start()

    assert str(bench.output).endswith("external_event_name cannot be empty")


def test_the_waits_of_a_name_are_known_with_the_newest_last() -> None:
    mailbox = EventMailbox(as_extension=True)
    first, second = EventTask[object]("go", object), EventTask[object]("Go", object)

    assert (mailbox.wait(first), mailbox.wait(second)) == (None, None)

    assert mailbox.waiting == {"go": [first, second]}
