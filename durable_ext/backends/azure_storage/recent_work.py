"""Whether this worker had something to do lately: then its queues are looked at more often.

The reference polls each queue by itself (specs/azure-storage.md 8.8): what another process sends to an instance at work
would wait up to 30 s, because activities that run beside their orchestration leave nothing in the queue that wakes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from durable_ext.aio.clock import Clock

_LATELY_SECONDS: Final = 15.0
_PAUSE_SECONDS: Final = 1.0


class RecentWork:
    """Used from one event loop. `begun` is called when there is work again after a rest: pollers sleep for long by then."""

    def __init__(self, clock: Clock, begun: Callable[[], None]) -> None:
        self._clock, self._begun = clock, begun
        self._until = 0.0

    def note(self) -> None:
        """A session is at work, or is about to be."""
        now = self._clock.monotonic()
        has_rested, self._until = now >= self._until, now + _LATELY_SECONDS
        if has_rested:
            self._begun()

    def longest_pause(self) -> float | None:
        """Return for how many seconds a poller may pause at most; `None` = as long as its settings allow."""
        return _PAUSE_SECONDS if self._clock.monotonic() < self._until else None
