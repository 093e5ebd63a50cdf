"""Background tasks end when their owner stops them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from durable_ext.aio.supervisor import LoopFailedError, Supervisor


async def test_a_task_that_lost_its_cancellation_is_cancelled_again() -> None:
    lost = 0

    async def loses_one() -> None:
        nonlocal lost
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # as `asyncio.wait_for` does before Python 3.12, if its inner call has just ended
            lost += 1
        await asyncio.Event().wait()

    supervisor = Supervisor("test", cancel_again=timedelta(milliseconds=10))
    task = supervisor.start("stubborn", loses_one())
    await asyncio.sleep(0)

    await supervisor.stop()

    assert (lost, task.cancelled(), supervisor.running) == (1, True, 0)


async def test_each_task_that_dies_is_reported() -> None:
    reported: list[LoopFailedError] = []

    async def dies_of(text: str) -> None:
        raise ValueError(text)

    supervisor = Supervisor("test", reported.append)
    supervisor.start("first", dies_of("one"))
    supervisor.start("second", dies_of("two"))
    await supervisor.join()
    await asyncio.sleep(0)

    assert [(each.loop_name, str(each.__cause__)) for each in reported] == [("test.first", "one"), ("test.second", "two")]
    assert supervisor.failure is reported[0]
