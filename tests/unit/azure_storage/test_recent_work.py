"""A worker that had something to do lately looks at its queues every second; one that rests looks as seldom as it may."""

from __future__ import annotations

from datetime import timedelta

from durable_ext.backends.azure_storage.recent_work import RecentWork
from durable_ext.testing.clock import ManualClock


async def test_pauses_are_short_for_a_while_after_work() -> None:
    clock = ManualClock()
    work = RecentWork(clock, lambda: None)
    assert work.longest_pause() is None

    work.note()

    assert work.longest_pause() == 1.0
    await clock.advance(timedelta(seconds=14))
    assert work.longest_pause() == 1.0
    work.note()
    await clock.advance(timedelta(seconds=14))
    assert work.longest_pause() == 1.0
    await clock.advance(timedelta(seconds=1))
    assert work.longest_pause() is None


async def test_pollers_are_woken_once_when_a_rest_ends() -> None:
    clock, woken = ManualClock(), list[float]()
    work = RecentWork(clock, lambda: woken.append(clock.monotonic()))

    for _ in range(3):
        work.note()
    await clock.advance(timedelta(seconds=20))
    work.note()

    assert len(woken) == 2
