"""After a death an entity runs one operation between two commits, and always the one that is stored as the next."""

from __future__ import annotations

import pytest
from support.entity_bench import EntityBench, lock, sent, signal

from durable_ext.core.entities.definitions import EntityOptions
from durable_ext.core.events import EventRaised

CONTINUE = [("@counter@one", "continue", None)]


def ran(bench: EntityBench) -> int:
    assert bench.batch is not None
    return len(bench.batch.operations)


def wake(bench: EntityBench) -> EventRaised:
    return EventRaised(timestamp=bench.now, name="continue")


@pytest.mark.parametrize("in_order", [True, False])
def test_requests_that_came_together_are_stored_before_one_of_them_runs(in_order: bool) -> None:
    bench = EntityBench(options=EntityOptions(deliver_in_order=in_order))

    taken_in = bench.run(signal("add", 1), signal("add", 2), at_most=1)

    assert ran(bench) == 0
    assert sent(taken_in) == CONTINUE
    assert [request.input for request in bench.stored.queue] == ['"1"', '"2"']


def test_then_one_runs_between_two_commits() -> None:
    bench = EntityBench()
    bench.run(signal("add", 1), signal("add", 2), signal("add", 4), at_most=1)
    bench.reload()

    states, messages = [], []
    for _ in range(3):
        episode = bench.run(wake(bench), at_most=1)
        assert ran(bench) == 1
        states.append(bench.state)
        messages.append(sent(episode))

    assert states == ["1", "3", "7"]
    assert messages == [CONTINUE, CONTINUE, []]


def test_what_comes_while_one_is_being_tried_does_not_run_before_it() -> None:
    bench = EntityBench()
    bench.run(signal("add", 1), signal("add", 2), at_most=1)
    bench.reload()

    bench.run(signal("add", 100), wake(bench), at_most=1)

    assert bench.state == "1"
    assert [request.input for request in bench.stored.queue] == ['"2"', '"100"']


def test_a_request_that_is_alone_runs_at_once() -> None:
    bench = EntityBench()

    episode = bench.run(signal("add", 5), at_most=1)

    assert bench.state == "5"
    assert sent(episode) == []


def test_then_several_run_between_two_commits() -> None:
    bench = EntityBench()
    bench.run(*(signal("add", 1) for _ in range(6)), at_most=1)
    bench.reload()

    ran_each = []
    for at_most in (1, 2, 4):
        bench.run(wake(bench), at_most=at_most)
        ran_each.append(ran(bench))

    assert ran_each == [1, 2, 3]
    assert bench.state == "6"


def test_the_limit_of_a_batch_stays_one() -> None:
    bench = EntityBench(options=EntityOptions(max_batch=2))

    bench.run(*(signal("add", 1) for _ in range(6)), at_most=4)

    assert ran(bench) == 2


def test_a_lock_is_granted_one_by_one_too() -> None:
    bench = EntityBench()
    bench.run(lock("holder", "one"), signal("add", 1), at_most=1)
    bench.reload()

    episode = bench.run(wake(bench), at_most=1)

    assert [target for target, _, _ in sent(episode)] == ["holder"]
    assert bench.stored.locked_by == "holder"
    assert ran(bench) == 0
