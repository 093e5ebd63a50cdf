"""Sessions that wait for messages with their generator in memory; least recently used ones go first."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol


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
