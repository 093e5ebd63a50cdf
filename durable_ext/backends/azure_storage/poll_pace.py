"""How often the waits of one process read instance rows, all together.

Many instances that were started at once end at about the same time: if each wait polled for itself, most reads would come
too early. So they take turns. A read that brought news makes the next turn come sooner, one in vain makes it come later.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from typing import Final

from durable_ext.aio.wakeups import Wakeup

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 2.0
"""Of one wait between two reads; specs/azure-storage.md 9.4 has the longest."""
_LONGER: Final = 1.5
_SHORTEST_GAP: Final = 0.001
_LONGEST_GAP: Final = 0.02
_AFTER_NEWS: Final = 0.7
_IN_VAIN: Final = 2.0


class Poll:
    """One wait: its own pause between two reads, and its turn among all.

    Attributes:
        wakeup: Set when its turn comes.
        pause: Seconds after which it asks for a turn.
        is_due: Whether it may read.
    """

    __slots__ = ("is_due", "number", "pause", "wakeup")

    def __init__(self, wakeup: Wakeup, pause: float) -> None:
        self.wakeup, self.pause = wakeup, pause
        self.is_due = False
        self.number = 0


class PollPace:
    """Gives turns, to the wait that has the shortest pause first: whoever began lately need not stand behind long ones.

    Used from one event loop.

    Attributes:
        gap: Seconds between two turns, at most so long that all waits have one within the longest pause.
    """

    def __init__(self) -> None:
        self._queue: list[tuple[float, int, Poll]] = []
        self._asked = self._waiting = 0
        self.gap = _LONGEST_GAP
        self._next_turn = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, wakeup: Wakeup, pause: float) -> Poll:
        """Begin a wait; pair with `end`."""
        self._waiting += 1
        return Poll(wakeup, pause)

    def end(self, poll: Poll) -> None:
        """End a wait; a turn that it has asked for is for others."""
        self._waiting -= 1
        poll.number = 0

    def ask(self, poll: Poll) -> None:
        """Ask for a turn, in the place of one asked for before: `is_due` is true at once or later."""
        self._asked += 1
        poll.number = self._asked
        poll.is_due = not self._queue and time.monotonic() >= self._next_turn
        if poll.is_due:
            self._begin_turn()
        else:
            heapq.heappush(self._queue, (poll.pause, poll.number, poll))
            self._arm()

    def has_read(self, poll: Poll, *, news: bool) -> None:
        """A read is over."""
        if not news:
            poll.pause = min(poll.pause * _LONGER, LONGEST_PAUSE_SECONDS)
        longest = min(_LONGEST_GAP, LONGEST_PAUSE_SECONDS / max(1, self._waiting))
        self.gap = max(_SHORTEST_GAP, min(longest, self.gap * (_AFTER_NEWS if news else _IN_VAIN)))

    def _begin_turn(self) -> None:
        self._next_turn = time.monotonic() + self.gap

    def _arm(self) -> None:
        if self._timer is None and self._queue:
            seconds = max(0.0, self._next_turn - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(seconds, self._give_turn)

    def _give_turn(self) -> None:
        self._timer = None
        while self._queue:
            _, number, poll = heapq.heappop(self._queue)
            if poll.number == number:
                poll.is_due = True
                self._begin_turn()
                poll.wakeup.set()
                break
        self._arm()
