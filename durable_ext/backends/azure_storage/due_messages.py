"""Timers and delayed signals that this process has claimed: handed over when they are due, to the millisecond.

The queue delivers them up to two seconds later anyway, to whoever then owns the partition; this only saves the wait.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.aio.wakeups import Wakeup
from durable_ext.backends.azure_storage.held_message import HeldMessage

_MAX_WAITING: Final = 20_000


class DueMessages:
    """Owns a heap of claimed messages by due time. Used from one event loop only."""

    def __init__(self, clock: Clock, hand_over: Callable[[Sequence[HeldMessage]], None]) -> None:
        self._clock, self._hand_over = clock, hand_over
        self._heap: list[tuple[float, int, HeldMessage]] = []
        self._counter = itertools.count()
        self._wakeup = Wakeup()

    def add(self, message: HeldMessage) -> None:
        """Hand a message over when it is due; beyond 20,000 waiting ones the queue alone delivers it."""
        if message.due is None or len(self._heap) >= _MAX_WAITING:
            return
        heapq.heappush(self._heap, (message.due, next(self._counter), message))
        if self._heap[0][2] is message:
            self._wakeup.set()

    async def run(self) -> None:
        """Hand over for ever."""
        while True:
            now = self._clock.monotonic()
            due: list[HeldMessage] = []
            while self._heap and self._heap[0][0] <= now:
                due.append(heapq.heappop(self._heap)[2])
            if due:
                self._hand_over(due)
            await self._wakeup.wait(self._heap[0][0] - now if self._heap else None)
