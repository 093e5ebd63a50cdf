"""How long a request waits for its answer: not while its own process stands still (stopped, frozen, asleep, a blocked loop).

A timer that comes late says nothing about the service: its answer may lie there unread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from durable_ext.backends.azure_storage.transport.wire import StoodStillError

_LOOK_SECONDS: Final = 5.0
_LATE_SECONDS: Final = 3.0  # a busy loop is late too
_AFTER_A_NAP_SECONDS: Final = 5.0  # to read what has come; a connection that died meanwhile stays silent


class Patience:
    """Of one wait: looks every few seconds whether the process ran all the time.

    The monotonic clock goes on while a process is stopped, but not, on most systems, while the machine sleeps: then the
    wall clock has leapt.
    """

    __slots__ = ("_left", "_looked", "_monotonic", "_stood_still", "_waiting", "_wall", "_wall_looked")

    def __init__(
        self, seconds: float, *, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._monotonic, self._wall = monotonic, wall
        self._left, self._waiting, self._stood_still = seconds, 0.0, 0.0
        self._looked, self._wall_looked = monotonic(), wall()

    def next_wait(self) -> float:
        """Return how many seconds to wait before this is called again, 0 when the time is over."""
        now, wall = self._monotonic(), self._wall()
        passed = now - self._looked
        late = max(passed, wall - self._wall_looked) - self._waiting
        self._looked, self._wall_looked = now, wall
        if late > _LATE_SECONDS:
            self._stood_still += late
            self._left = min(max(self._left - self._waiting, 1.0), _AFTER_A_NAP_SECONDS)
        else:
            self._left -= passed
        self._waiting = max(0.0, min(self._left, _LOOK_SECONDS))
        return self._waiting

    def timeout(self, what: str, seconds: float) -> TimeoutError:
        """Return the error for what did not come within so many seconds."""
        if self._stood_still:
            return StoodStillError(f"{what}: this process stood still for at least {self._stood_still:.0f} s")
        return TimeoutError(f"{what} within {seconds:g} s")
