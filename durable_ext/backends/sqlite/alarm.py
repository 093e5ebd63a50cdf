"""Wakes the dispatch when something stored becomes due; one sleeping task however many timers there are."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.sqlite.effects import Delivery
from durable_ext.core.timestamps import TICKS_PER_SECOND, ticks_from_datetime

_LONGEST_SLEEP: Final = 30.0
"""Wall clocks jump (a laptop wakes up): look again at least so often."""


class Alarm:
    """Keeps deliveries that are not due and the instant of the next look at the store; used on the event loop only."""

    def __init__(self, clock: Clock, deliver: Callable[[Delivery], None], look: Callable[[], None]) -> None:
        self._clock = clock
        self._deliver = deliver
        self._look = look
        self._later: list[tuple[int, int, Delivery]] = []
        self._order = itertools.count()
        self._next_look: int | None = None
        self._earlier = asyncio.Event()
        self._sleeping_until: int | None = None

    def keep(self, delivery: Delivery) -> None:
        """Deliver it when it is due."""
        heapq.heappush(self._later, (delivery.due, next(self._order), delivery))
        self._changed(delivery.due)

    def look_at(self, due: int) -> None:
        """Look at the store at that instant, unless a look is planned before."""
        if self._next_look is None or due < self._next_look:
            self._next_look = due
            self._changed(due)

    async def run(self) -> None:
        """Sleep and wake for ever."""
        while True:
            self._earlier.clear()
            due = self._earliest()
            self._sleeping_until = due
            if due is None:
                await self._earlier.wait()
                continue
            seconds = (due - ticks_from_datetime(self._clock.now())) / TICKS_PER_SECOND
            if seconds > 0:
                await self._sleep(min(seconds, _LONGEST_SLEEP))
            self._ring()

    async def _sleep(self, seconds: float) -> None:
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        earlier = asyncio.ensure_future(self._earlier.wait())
        try:
            await asyncio.wait((sleep, earlier), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            earlier.cancel()

    def _ring(self) -> None:
        now = ticks_from_datetime(self._clock.now())
        while self._later and self._later[0][0] <= now:
            self._deliver(heapq.heappop(self._later)[2])
        if self._next_look is not None and self._next_look <= now:
            self._next_look = None
            self._look()

    def _earliest(self) -> int | None:
        first = self._later[0][0] if self._later else None
        if first is None or self._next_look is None:
            return first if self._next_look is None else self._next_look
        return min(first, self._next_look)

    def _changed(self, due: int) -> None:
        if self._sleeping_until is None or due < self._sleeping_until:
            self._earlier.set()
