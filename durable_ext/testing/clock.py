"""A clock that stands still until a test moves it; implements `aio.clock.Clock`."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from datetime import datetime, timedelta, timezone


class ManualClock:
    """Time moves only in `advance()`. Sleepers belong to one event loop; `now()` may be asked from any thread."""

    def __init__(self, start: datetime = datetime(2024, 1, 1, tzinfo=timezone.utc)) -> None:
        self._start = start
        self._elapsed = timedelta(0)
        self._order = itertools.count()
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []
        self._lock = threading.Lock()

    def now(self) -> datetime:
        with self._lock:
            return self._start + self._elapsed

    def monotonic(self) -> float:
        with self._lock:
            return self._elapsed.total_seconds()

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + timedelta(seconds=seconds), next(self._order), wake))
        await wake

    @property
    def sleepers(self) -> int:
        """How many sleeps have not ended."""
        return sum(not wake.done() for _, _, wake in self._sleepers)

    async def advance(self, span: timedelta) -> None:
        """Move time forward, waking sleepers in the order of their deadlines; each runs before time moves on."""
        end = self._elapsed + span
        while self._sleepers and self._sleepers[0][0] <= end:
            deadline, _, wake = heapq.heappop(self._sleepers)
            if wake.done():
                continue
            self._set(max(self._elapsed, deadline))
            wake.set_result(None)
            await _let_others_run()
        self._set(end)
        await _let_others_run()

    async def advance_to_next_sleeper(self) -> None:
        """Jump to the earliest deadline.

        Raises:
            RuntimeError: Nobody sleeps.
        """
        for deadline, _, wake in sorted(self._sleepers, key=lambda entry: entry[:2]):
            if not wake.done():
                await self.advance(deadline - self._elapsed)
                return
        raise RuntimeError("Nobody sleeps on this clock; nothing to jump to.")

    def _set(self, elapsed: timedelta) -> None:
        with self._lock:
            self._elapsed = elapsed


async def _let_others_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
