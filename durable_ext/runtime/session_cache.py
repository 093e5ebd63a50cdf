"""Sessions that wait for messages with their generator in memory; least recently used ones go first."""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from datetime import timedelta
from typing import Any, Final, Protocol

from durable_ext.backends.protocol import MessageBatch, OrchestrationSession

_AT_ONCE: Final = timedelta(0)


class ParkedSession(Protocol):
    """A session that waits and can be told to stop waiting."""

    def evict(self) -> None: ...


class SessionCache:
    """At most `limit` parked sessions. Used from one event loop only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parked: OrderedDict[ParkedSession, None] = OrderedDict()
        self._closed = False

    def __len__(self) -> int:
        return len(self._parked)

    def park(self, session: ParkedSession) -> bool:
        """Keep a session that begins to wait; the one that waits longest leaves if there are too many.

        Returns:
            False if nothing is kept any more (the worker drains): the session should end instead of waiting.
        """
        if self._closed or self._limit < 1:
            return False
        self._parked[session] = None
        if len(self._parked) > self._limit:
            oldest, _ = self._parked.popitem(last=False)
            oldest.evict()
        return True

    def unpark(self, session: ParkedSession) -> None:
        """Forget a session that stopped waiting."""
        self._parked.pop(session, None)

    def close(self) -> None:
        """Evict all, keep none from now on."""
        self._closed = True
        while self._parked:
            session, _ = self._parked.popitem(last=False)
            session.evict()


class ParkingPlace:
    """Where one session waits for messages without a slot. Used from the task that owns the session."""

    def __init__(self, cache: SessionCache) -> None:
        self._cache = cache
        self._waiting: asyncio.Task[Any] | None = None
        self.is_evicted = False

    def evict(self) -> None:
        """Stop waiting; the session should go."""
        self.is_evicted = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def wait(self, session: OrchestrationSession, idle: timedelta) -> MessageBatch | None:
        """Return the next messages, `None` if the session should end.

        Nothing has come within `idle` then, the session is lost or wanted elsewhere, or others need its place. A cache that
        keeps nothing any more makes it a look at what is there.
        """
        self._waiting = asyncio.current_task()
        is_kept = self._cache.park(self)
        try:
            found = await session.next_messages(idle if is_kept else _AT_ONCE)
        except asyncio.CancelledError:
            if not self.is_evicted:
                raise
            if sys.version_info >= (3, 11) and self._waiting is not None:
                self._waiting.uncancel()
            return None
        finally:
            self._cache.unpark(self)
        return found if isinstance(found, MessageBatch) else None
