"""A number of slots that users of one kind share; fair, and free of cost while there are enough."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

Ticket = asyncio.Future[bool]


class Slots:
    """Counts what may run at once. Used from one event loop only.

    Attributes:
        closed: Whether nobody gets a slot any more; those in use may be given back.
        passed_on: How many slots those who waited have got so far.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.closed = False
        self.passed_on = 0
        self._taken = 0
        self._waiting: deque[Ticket] = deque()

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
        if self._taken < self.limit and not self._waiting and not self.closed:
            self._taken += 1
            return True
        return False

    async def take(self) -> bool:
        """Take a slot, waiting for one in order of arrival; return whether there is one: not if they are closed."""
        return self.try_take() or await self.redeem(self.stand_in_line())

    def stand_in_line(self) -> Ticket:
        """Return a ticket that `redeem` waits with, and `turn_away` ends."""
        ticket: Ticket = asyncio.get_running_loop().create_future()
        if self.closed:
            ticket.set_result(False)
        else:
            self._waiting.append(ticket)
        return ticket

    async def redeem(self, ticket: Ticket) -> bool:
        """Wait for the slot of a ticket; return whether there is one."""
        try:
            has_slot = await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled():
                if ticket.result():
                    self.give_back()
            else:
                with suppress(ValueError):  # a slot that came free since the cancellation has passed it over
                    self._waiting.remove(ticket)
            raise
        if has_slot and self.closed:  # since it was given
            self.give_back()
            return False
        return has_slot

    def turn_away(self, ticket: Ticket) -> None:
        """Let the one who waits with a ticket go on without a slot; does nothing if there is one already."""
        if not ticket.done():
            self._waiting.remove(ticket)
            ticket.set_result(False)

    def give_back(self) -> None:
        """Return a slot; who waits longest gets it."""
        while self._waiting:
            ticket = self._waiting.popleft()
            if not ticket.done():
                self.passed_on += 1
                ticket.set_result(True)
                return
        self._taken -= 1

    def close(self) -> None:
        """Give no more slots; whoever waits goes on without one."""
        self.closed = True
        while self._waiting:
            ticket = self._waiting.popleft()
            if not ticket.done():
                ticket.set_result(False)
