"""Wakes the dispatch when something stored becomes due; one sleeping task however many timers there are."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Final, Protocol

from durable_ext.aio.clock import Clock
from durable_ext.backends.sqlite.effects import Delivery
from durable_ext.core.messages import ReceivedMessage
from durable_ext.core.timestamps import TICKS_PER_SECOND, ticks_from_datetime

_LONGEST_SLEEP: Final = 30.0
"""Wall clocks jump (a laptop wakes up): look again at least so often."""
_FIRST_TIDY: Final = 1000


class Receiver(Protocol):
    """A session, as far as the alarm sees it."""

    @property
    def is_over(self) -> bool: ...

    def deliver(self, message: ReceivedMessage) -> None: ...


class Alarm:
    """Keeps deliveries that are not due and the instant of the next look at the store; used on the event loop only.

    A delivery belongs to one session: the next session of the instance gets its delayed messages from the store again.
    """

    def __init__(self, clock: Clock, look: Callable[[], None]) -> None:
        self._clock = clock
        self._look = look
        self._later: list[tuple[int, int, Receiver, ReceivedMessage]] = []
        self._tidy_at = _FIRST_TIDY
        self._order = itertools.count()
        self._next_look: int | None = None
        self._earlier = asyncio.Event()
        self._sleeping_until: int | None = None

    def __len__(self) -> int:
        return len(self._later)

    def keep(self, receiver: Receiver, delivery: Delivery) -> None:
        """Deliver it when it is due, if the session still goes on then."""
        heapq.heappush(self._later, (delivery.due, next(self._order), receiver, delivery.message))
        if len(self._later) >= self._tidy_at:
            self._later = [entry for entry in self._later if not entry[2].is_over]
            heapq.heapify(self._later)
            self._tidy_at = max(_FIRST_TIDY, 2 * len(self._later))
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
            _, _, receiver, message = heapq.heappop(self._later)
            if not receiver.is_over:
                receiver.deliver(message)
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
