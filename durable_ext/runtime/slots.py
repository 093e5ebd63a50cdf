"""A number of slots that users of one kind share; fair, and free of cost while there are enough."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress


class Slots:
    """Counts what may run at once. Used from one event loop only."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def free(self) -> int:
        """How many could be taken now without waiting."""
        return 0 if self._waiting else max(0, self.limit - self._taken)

    @property
    def taken(self) -> int:
        """How many are in use."""
        return self._taken

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a slot."""
        return bool(self._waiting)

    def try_take(self) -> bool:
        """Take a slot if one is free and nobody waits."""
        if self._taken < self.limit and not self._waiting:
            self._taken += 1
            return True
        return False

    async def take(self) -> None:
        """Take a slot, waiting for one in order of arrival."""
        if self.try_take():
            return
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled():
                self.give_back()
            else:
                with suppress(ValueError):  # a slot that came free since the cancellation has passed it over
                    self._waiting.remove(ticket)
            raise

    def give_back(self) -> None:
        """Return a slot; who waits longest gets it."""
        while self._waiting:
            ticket = self._waiting.popleft()
            if not ticket.done():
                ticket.set_result(None)
                return
        self._taken -= 1
