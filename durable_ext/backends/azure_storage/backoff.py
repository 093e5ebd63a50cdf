"""Polling and redelivery delays (pure).

Source: specs/azure-storage.md 4.8, 8.8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MIN_POLL_SECONDS: Final = 0.05
MAX_REDELIVERY_SECONDS: Final = 600


class PollingBackoff:
    """How long to wait after an empty poll: 50, ~100, ~150, ~250 ms ... up to `maximum` seconds.

    `after_empty` gives the next wait, `reset` is called when something was found or is likely to be there. As long as
    `limit()` is not `None`, waits are no longer than so many seconds and do not grow beyond.
    """

    def __init__(self, maximum: float, limit: Callable[[], float | None] = lambda: None) -> None:
        self._maximum, self._limit = max(maximum, MIN_POLL_SECONDS), limit
        self._interval = MIN_POLL_SECONDS
        self._exponent = 0

    def after_empty(self, jitter: float) -> float:
        """Return the wait that follows; `jitter` in 0..1 spreads the growing part over 80 to 120 %."""
        wait, limit = self._interval, self._limit()
        if limit is not None and wait >= limit:
            return limit
        if self._interval < self._maximum:
            grown = MIN_POLL_SECONDS + MIN_POLL_SECONDS * 2.0**self._exponent * (0.8 + 0.4 * jitter)
            self._exponent += 1
            self._interval = min(grown, self._maximum)
        return wait

    def reset(self) -> None:
        """Start over: after the poll that comes at once, 50 ms."""
        self._interval, self._exponent = MIN_POLL_SECONDS, 0


def redelivery_delay(dequeue_count: int) -> int:
    """Return how many seconds an abandoned message stays hidden: 2, 4, 8 ... at most 600."""
    return MAX_REDELIVERY_SECONDS if dequeue_count > 9 else min(2**dequeue_count, MAX_REDELIVERY_SECONDS)
