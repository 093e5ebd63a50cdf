"""What a worker that stops gives back: it waits for all of it together, and not long if nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from durable_ext.aio.clock import Clock
from durable_ext.aio.supervisor import Supervisor

_LIMIT_SECONDS: Final = 5.0


class Farewell:
    """The last calls of one worker. Without an answer each of them would take minutes, with its retries.

    What is not given back becomes visible, or runs out, by itself.
    """

    def __init__(self, errands: Supervisor, clock: Clock) -> None:
        self._errands, self._clock = errands, clock
        self._left = _LIMIT_SECONDS

    @property
    def is_over(self) -> bool:
        """Whether nothing is waited for any more: the service is frozen, or has too much to do."""
        return self._left <= 0

    async def give(self, giving: Coroutine[Any, Any, None]) -> None:
        """Give something back; what takes too long goes on until the errands are stopped."""
        began = self._clock.monotonic()
        task = self._errands.start("farewell", giving)
        await asyncio.wait([task], timeout=max(self._left, 0.0))
        self._left = self._left - (self._clock.monotonic() - began) if task.done() else 0.0
