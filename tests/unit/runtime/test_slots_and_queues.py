from __future__ import annotations

import asyncio

import pytest

from durable_ext.aio.slots import Slots
from durable_ext.aio.supervisor import Supervisor
from durable_ext.runtime.call_queue import CallQueue
from durable_ext.runtime.session_cache import SessionCache
from durable_ext.runtime.sweeper import Sweeper
from durable_ext.testing.eventually import eventually


async def test_slots_are_given_in_order_of_arrival() -> None:
    slots, order = Slots(1), []
    await slots.take()

    async def wait(name: str) -> None:
        await slots.take()
        order.append(name)
        slots.give_back()

    waiting = [asyncio.ensure_future(wait(name)) for name in "abc"]
    await asyncio.sleep(0)
    slots.give_back()
    await asyncio.gather(*waiting)

    assert order == ["a", "b", "c"]
    assert slots.free == 1


async def test_a_slot_cannot_be_taken_past_somebody_who_waits() -> None:
    slots = Slots(1)
    await slots.take()
    waiting = asyncio.ensure_future(slots.take())
    await asyncio.sleep(0)
    slots.give_back()

    assert not slots.try_take()
    await waiting


async def test_a_cancelled_waiter_takes_no_slot() -> None:
    slots = Slots(1)
    await slots.take()
    waiting = asyncio.ensure_future(slots.take())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    slots.give_back()

    assert slots.try_take()


async def test_a_waiter_that_is_cancelled_with_a_slot_in_hand_gives_it_back() -> None:
    slots = Slots(1)
    await slots.take()
    waiting = asyncio.ensure_future(slots.take())
    await asyncio.sleep(0)
    slots.give_back()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert slots.free == 1


async def test_a_slot_that_comes_free_just_after_a_cancellation_goes_to_the_next() -> None:
    slots = Slots(1)
    await slots.take()
    cancelled, next_one = asyncio.ensure_future(slots.take()), asyncio.ensure_future(slots.take())
    await asyncio.sleep(0)
    cancelled.cancel()
    slots.give_back()
    outcomes = await asyncio.gather(cancelled, next_one, return_exceptions=True)

    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert outcomes[1] is True
    assert slots.taken == 1


async def test_closed_slots_turn_everybody_away() -> None:
    slots = Slots(1)
    await slots.take()
    waiting = asyncio.ensure_future(slots.take())
    await asyncio.sleep(0)
    slots.close()

    assert not await waiting
    slots.give_back()
    assert not slots.try_take()
    assert not await slots.take()
    assert slots.taken == 0


async def test_a_slot_that_is_given_just_before_they_close_is_given_back() -> None:
    slots = Slots(1)
    await slots.take()
    waiting = asyncio.ensure_future(slots.take())
    await asyncio.sleep(0)
    slots.give_back()
    slots.close()

    assert not await waiting
    assert slots.taken == 0


async def test_who_is_turned_away_leaves_the_line() -> None:
    slots = Slots(1)
    await slots.take()
    ticket = slots.stand_in_line()
    next_one = asyncio.ensure_future(slots.take())
    await asyncio.sleep(0)
    slots.turn_away(ticket)
    slots.give_back()

    assert not await slots.redeem(ticket)
    assert await next_one
    slots.turn_away(ticket)  # too late to matter
    assert slots.taken == 1


async def test_a_queue_begins_nothing_after_its_slots_are_closed() -> None:
    began: list[int] = []
    go_on, turned_away = asyncio.Event(), asyncio.Event()

    async def call(item: int) -> None:
        began.append(item)
        await go_on.wait()

    slots = Slots(1)
    queue = CallQueue("call", slots, Supervisor("test"), call, turned_away.set)
    queue.add(range(3))
    await eventually(lambda: began == [0])
    slots.close()
    go_on.set()
    await turned_away.wait()
    await eventually(lambda: slots.taken == 0)

    assert began == [0]
    assert list(queue.waiting) == [1, 2]


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_a_queue_runs_everything_with_at_most_so_many_at_once(limit: int) -> None:
    running = most = 0
    done: list[int] = []

    async def call(item: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done.append(item)

    supervisor, slots = Supervisor("test"), Slots(limit)
    queue = CallQueue("call", slots, supervisor, call)
    queue.add(range(40))
    await eventually(lambda: len(done) == 40)

    assert sorted(done) == list(range(40))
    assert most <= limit
    await eventually(lambda: slots.taken == 0)


async def test_calls_that_never_wait_need_few_tasks() -> None:
    done: list[int] = []
    tasks: set[object] = set()

    async def call(item: int) -> None:
        tasks.add(asyncio.current_task())
        done.append(item)

    queue = CallQueue("call", Slots(1000), Supervisor("test"), call)
    queue.add(range(1000))
    await eventually(lambda: len(done) == 1000)

    assert len(tasks) < 50


async def test_two_queues_share_the_slots_fairly() -> None:
    order: list[str] = []

    async def call(item: str) -> None:
        order.append(item)
        await asyncio.sleep(0)

    supervisor, slots = Supervisor("test"), Slots(1)
    CallQueue("a", slots, supervisor, call).add("a" * 50)
    CallQueue("b", slots, supervisor, call).add("b")
    await eventually(lambda: len(order) == 51)

    assert order.index("b") < 10


async def test_a_cancelled_queue_gives_its_slots_back() -> None:
    async def hang(item: int) -> None:
        await asyncio.Event().wait()

    supervisor, slots = Supervisor("test"), Slots(2)
    CallQueue("hang", slots, supervisor, hang).add(range(10))
    await eventually(lambda: slots.taken == 2)
    await supervisor.stop()

    assert slots.taken == 0


class Parked:
    def __init__(self) -> None:
        self.evicted = False

    def evict(self) -> None:
        self.evicted = True


def test_the_session_that_waits_longest_leaves_a_full_cache() -> None:
    cache, sessions = SessionCache(2), [Parked() for _ in range(3)]
    for session in sessions:
        assert cache.park(session)

    assert [session.evicted for session in sessions] == [True, False, False]
    assert len(cache) == 2


def test_a_session_that_was_used_again_is_not_the_oldest() -> None:
    cache, first, second, third = SessionCache(2), Parked(), Parked(), Parked()
    cache.park(first)
    cache.park(second)
    cache.unpark(first)
    cache.park(first)
    cache.park(third)

    assert [first.evicted, second.evicted] == [False, True]


def test_a_closed_cache_evicts_all_and_keeps_none() -> None:
    cache, parked = SessionCache(5), Parked()
    cache.park(parked)
    cache.close()

    assert parked.evicted
    assert not cache.park(Parked())


async def test_a_sweeper_reports_what_was_watched_too_long() -> None:
    expired: list[str] = []
    sweeper: Sweeper[str] = Sweeper(0.01, expired.append)
    for key in "abc":
        sweeper.watch(key)
    sweeper.forget("b")

    await eventually(lambda: len(expired) == 2)

    assert expired == ["a", "c"]


async def test_a_closed_sweeper_reports_nothing() -> None:
    expired: list[str] = []
    sweeper: Sweeper[str] = Sweeper(0.0, expired.append)
    sweeper.watch("a")
    sweeper.close()
    for _ in range(5):
        await asyncio.sleep(0)

    assert expired == []
