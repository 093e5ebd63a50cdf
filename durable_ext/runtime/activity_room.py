"""How many activities this worker keeps for itself, so that those that it cannot begin soon are not hidden from others."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.aio.slots import Slots
from durable_ext.backends.protocol import OutgoingActivity
from durable_ext.core.messages import TaskMessage

_LONGEST_STORING: Final = 4.0  # seconds; then a checkpoint has failed, most likely; what it claims is released


class ActivityRoom:
    """The room of one worker: an activity for each free slot and one more for each slot, so that none is idle while more
    are fetched. Any thread may use it.

    What a checkpoint claims takes room from the moment it is made. It is among those that wait, or run, once it has
    arrived, and is forgotten if it has not after some seconds.
    """

    def __init__(self, slots: Slots, *, waiting: Callable[[], int], knows: Callable[[str], bool], clock: Clock) -> None:
        """`waiting` = activities that have arrived and wait for a slot; `knows` = whether this worker has an activity."""
        self._slots, self._waiting, self._knows = slots, waiting, knows
        self._monotonic = clock.monotonic  # claims are neither kept nor forgotten because somebody sets the wall clock
        self._claimed: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def outgoing(self, messages: Sequence[TaskMessage], *, claims: bool) -> tuple[OutgoingActivity, ...]:
        """Return activities for a checkpoint: with `claims` those that this worker knows and has room for run here."""
        if not (claims and messages):
            return tuple([OutgoingActivity(message=message) for message in messages])
        with self._lock:
            left = room = self._left()
            activities = []
            for message in messages:
                run_here = left > 0 and self._knows(message.event.name)  # type: ignore[attr-defined]
                left -= run_here
                activities.append(OutgoingActivity(message=message, run_here=run_here))
            if left < room:
                self._claimed.append((self._monotonic(), room - left))
        return tuple(activities)

    def arrived(self, count: int) -> None:
        """So many of those that were claimed are stored and handed to this worker."""
        with self._lock:
            while count > 0 and self._claimed:
                since, claimed = self._claimed.popleft()
                if claimed > count:
                    self._claimed.appendleft((since, claimed - count))
                count -= claimed

    def _left(self) -> int:
        oldest = self._monotonic() - _LONGEST_STORING
        while self._claimed and self._claimed[0][0] < oldest:
            self._claimed.popleft()
        on_their_way = sum(claimed for _, claimed in self._claimed)
        return self._slots.limit + self._slots.free - self._waiting() - on_their_way
