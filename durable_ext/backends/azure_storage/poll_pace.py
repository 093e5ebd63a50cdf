"""How often the waits of one process read instance rows, all together.

Many instances that were started at once end at about the same time: if each wait polled for itself, most reads would come
too early. So they take turns. A read that brought news makes the next turn come sooner and lets one more go on beside it,
one in vain makes it come later and lets fewer: a store that is busy answers late, and meanwhile nobody knows more.
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
_MOST_AT_ONCE: Final = 16
_PATIENCE_SECONDS: Final = 1.0  # with reads that do not end, the others need not wait for them


class Poll:
    """One wait: its own pause between two reads, and its turn among all.

    Attributes:
        wakeup: Set when its turn comes.
        pause: Seconds after which it asks for a turn.
        is_due: Whether it may read; false again once it has.
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
        self._asked = self._waiting = self._reading = 0
        self._at_once = 1
        self.gap = _LONGEST_GAP
        self._next_turn = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, wakeup: Wakeup, pause: float) -> Poll:
        """Begin a wait; pair with `end`. The first after a rest knows nothing of how fast the others were."""
        if not self._waiting:
            self.gap, self._at_once = _LONGEST_GAP, 1
        self._waiting += 1
        return Poll(wakeup, pause)

    def end(self, poll: Poll) -> None:
        """End a wait; a turn that it has asked for is for others."""
        self._waiting -= 1
        poll.number = 0
        self._end_turn(poll)

    def ask(self, poll: Poll) -> None:
        """Ask for a turn, in the place of one asked for before: `is_due` is true at once or later."""
        if poll.is_due:
            return
        self._asked += 1
        poll.number = self._asked
        if not self._queue and self._reading < self._at_once and time.monotonic() >= self._next_turn:
            self._begin_turn(poll)
        else:
            heapq.heappush(self._queue, (poll.pause, poll.number, poll))
            self._arm()

    def has_read(self, poll: Poll, *, news: bool) -> None:
        """A read is over."""
        if news:
            self._at_once = min(self._at_once + 1, _MOST_AT_ONCE)
        else:
            self._at_once = max(1, self._at_once // 2)
            poll.pause = min(poll.pause * _LONGER, LONGEST_PAUSE_SECONDS)
        longest = min(_LONGEST_GAP, LONGEST_PAUSE_SECONDS / max(1, self._waiting))
        self.gap = max(_SHORTEST_GAP, min(longest, self.gap * (_AFTER_NEWS if news else _IN_VAIN)))
        self._end_turn(poll)

    def _begin_turn(self, poll: Poll) -> None:
        poll.is_due = True
        self._reading += 1
        self._next_turn = time.monotonic() + self.gap

    def _end_turn(self, poll: Poll) -> None:
        if poll.is_due:
            poll.is_due = False
            self._reading -= 1
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._arm()

    def _arm(self) -> None:
        if self._timer is None and self._queue:
            waits = 0.0 if self._reading < self._at_once else _PATIENCE_SECONDS
            seconds = max(0.0, self._next_turn + waits - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(seconds, self._give_turn)

    def _give_turn(self) -> None:
        self._timer = None
        while self._queue:
            _, number, poll = heapq.heappop(self._queue)
            if poll.number == number:
                self._begin_turn(poll)
                poll.wakeup.set()
                break
        self._arm()
