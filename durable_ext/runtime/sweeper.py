"""One timer for many deadlines of the same length; knows nothing of what they guard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")


class Sweeper(Generic[K]):
    """Calls `expired(key)` when a key was watched for `after` seconds. Used from one event loop only.

    All keys wait equally long, so they expire in the order they came: watching and forgetting is one dictionary
    operation, and one timer waits for the oldest.
    """

    def __init__(self, after: float, expired: Callable[[K], None]) -> None:
        self._after = after
        self._expired = expired
        self._since: dict[K, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def watch(self, key: K) -> None:
        """Begin to wait for a key."""
        now = self._loop.time()
        self._since[key] = now
        if self._timer is None:
            self._timer = self._loop.call_at(now + self._after, self._sweep)

    def forget(self, key: K) -> None:
        """Stop waiting for a key; does nothing if it expired or was never watched."""
        self._since.pop(key, None)

    def close(self) -> None:
        """Forget everything."""
        self._since.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._timer = None
        due = self._loop.time() - self._after
        while self._since:
            key, since = next(iter(self._since.items()))
            if since > due:
                self._timer = self._loop.call_at(since + self._after, self._sweep)
                return
            del self._since[key]
            self._expired(key)
