"""Work that is locked for this process and waits to be fetched, and those who wait for work; no storage."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Generic, TypeVar

T = TypeVar("T")
_LONGEST_BACK_OFF = timedelta(seconds=60)


def back_off(dequeue_count: int) -> timedelta:
    """Return how long abandoned work stays invisible: 1, 2, 4 ... 60 s."""
    return min(timedelta(seconds=2 ** min(dequeue_count - 1, 10)), _LONGEST_BACK_OFF)


class Lane(Generic[T]):
    """One kind of work. `look` is called when somebody waits, nothing is ready and the store may have more.

    `may_have_more` is set by whoever hears of new work; `looking` while a look is under way.
    """

    def __init__(self, look: Callable[[], None]) -> None:
        self.may_have_more = False
        self.looking = False
        self._look = look
        self._ready: deque[T] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    def put(self, work: T) -> None:
        self._ready.append(work)
        self._wake_one()

    def clear(self) -> list[T]:
        """Take everything out."""
        found = list(self._ready)
        self._ready.clear()
        return found

    def ready(self) -> list[T]:
        """Return what waits to be fetched."""
        return list(self._ready)

    def discard(self, work: T) -> bool:
        """Take one out if it is there; return whether it was."""
        try:
            self._ready.remove(work)
        except ValueError:
            return False
        return True

    def hint(self) -> None:
        """Note that the store may have work, and look if somebody waits."""
        self.may_have_more = True
        self.look_if_wanted()

    def look_if_wanted(self) -> None:
        if self.may_have_more and not self.looking and self._waiters and not self._ready:
            self.looking = True
            self._look()

    async def take(self, wait: timedelta) -> T | None:
        """Return the next work, or `None` after `wait` (zero: after one look at the store)."""
        if self._ready:
            return self._ready.popleft()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + max(wait.total_seconds(), 0)
        while True:
            waiter = loop.create_future()
            self._waiters.append(waiter)
            self.look_if_wanted()
            if not self.looking and deadline <= loop.time():
                self._forget(waiter)
                return None
            timer = loop.call_at(deadline, self._give_up_waiting, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._forget(waiter)
                if self._ready:
                    self._wake_one()
            if self._ready:
                return self._ready.popleft()
            if loop.time() >= deadline and not self.looking:
                return None

    def look_ended(self) -> None:
        """The look is over: those whose time is up may go."""
        self.looking = False
        self.look_if_wanted()
        if not self.looking:
            for waiter in list(self._waiters):
                if not waiter.done():
                    waiter.set_result(None)

    def _give_up_waiting(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done() and not self.looking:
            waiter.set_result(None)

    def _wake_one(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
                return

    def _forget(self, waiter: asyncio.Future[None]) -> None:
        try:
            self._waiters.remove(waiter)
        except ValueError:
            pass
