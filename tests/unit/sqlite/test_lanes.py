"""Work that waits for takers, and takers that wait for work."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from durable_ext.backends.sqlite.lanes import Lane, back_off

SOON = timedelta(milliseconds=20)
LONG = timedelta(seconds=10)


@pytest.fixture
def looks() -> list[str]:
    return []


@pytest.fixture
def lane(looks: list[str]) -> Lane[str]:
    return Lane(lambda: looks.append("look"))


async def test_ready_work_is_taken_in_order(lane: Lane[str]) -> None:
    lane.put("a")
    lane.put("b")

    assert [await lane.take(SOON), await lane.take(SOON)] == ["a", "b"]


async def test_a_taker_that_waits_gets_work_that_comes(lane: Lane[str]) -> None:
    waiting = asyncio.gather(lane.take(LONG), lane.take(LONG))
    await asyncio.sleep(0)

    lane.put("a")
    lane.put("b")

    assert sorted(map(str, await waiting)) == ["a", "b"]


async def test_without_work_a_taker_goes_when_its_time_is_up(lane: Lane[str], looks: list[str]) -> None:
    assert await lane.take(SOON) is None
    assert await lane.take(timedelta(0)) is None
    assert looks == []


async def test_the_store_is_asked_only_if_it_may_have_work_and_somebody_waits(lane: Lane[str], looks: list[str]) -> None:
    lane.hint()
    asked_before = len(looks)
    waiting = asyncio.gather(lane.take(LONG))
    await asyncio.sleep(0)

    lane.may_have_more = False
    lane.put("a")
    lane.look_ended()

    assert (asked_before, looks) == (0, ["look"])
    assert await waiting == ["a"]


async def test_a_taker_without_patience_still_waits_for_a_look_that_is_under_way(lane: Lane[str]) -> None:
    lane.may_have_more = True
    waiting = asyncio.gather(lane.take(timedelta(0)))
    for _ in range(5):  # more turns of the loop than a wait of zero lasts
        await asyncio.sleep(0)

    lane.may_have_more = False
    lane.put("a")
    lane.look_ended()

    assert await waiting == ["a"]


async def test_a_cancelled_taker_leaves_the_work_to_others(lane: Lane[str]) -> None:
    cancelled = asyncio.ensure_future(lane.take(LONG))
    other = asyncio.ensure_future(lane.take(LONG))
    await asyncio.sleep(0)

    lane.put("a")
    cancelled.cancel()

    assert await asyncio.wait_for(other, 5) == "a"


@pytest.mark.parametrize(("count", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (1000, 60)])
def test_abandoned_work_waits_longer_each_time(count: int, seconds: int) -> None:
    assert back_off(count) == timedelta(seconds=seconds)
