"""Waiting for an event with a deadline, without a task per wait."""

from __future__ import annotations

import asyncio


class Wakeup:
    """A flag that one or several coroutines wait for; stays set until a waiter takes it or `clear()`.

    Used from one event loop. `asyncio.wait_for` costs a task per call on older Pythons; this costs a timer.
    """

    __slots__ = ("_set", "_waiters")

    def __init__(self) -> None:
        self._set = False
        self._waiters: set[asyncio.Future[bool]] = set()

    def set(self) -> None:
        """Wake everybody who waits; if nobody does, the next wait returns at once."""
        if not self._waiters:
            self._set = True
            return
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(True)

    def clear(self) -> None:
        """Forget a wake-up that nobody has taken."""
        self._set = False

    async def wait(self, seconds: float | None) -> bool:
        """Wait until `set()`; false if `seconds` passed first. `None` waits for ever."""
        if self._set:
            self._set = False
            return True
        if seconds is not None and seconds <= 0:
            return False
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiters.add(waiter)
        timer = loop.call_later(seconds, _expire, waiter) if seconds is not None else None
        try:
            return await waiter
        finally:
            self._waiters.discard(waiter)
            if timer is not None:
                timer.cancel()


def _expire(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
