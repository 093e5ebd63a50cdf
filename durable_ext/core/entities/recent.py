"""RecentRequests: knows requests that come a second time although no stamp tells so.

A client's signal has no stamps. If a worker dies after the commit and before the message is deleted, the message comes
back and would count twice; so the ids of the last requests are kept with the state. Order and crash:
  before the commit: nothing is remembered, the message comes back and counts once;
  after the commit: the ids are in the state, the message that comes back is dropped.
Messages are deleted before the next commit of the same session, so what this session committed earlier may be forgotten
after `KEPT_OF_SESSION` others; what an earlier session left may still come back and is kept for `MAY_COME_AGAIN`. So is a
lock request that this session has not had when its release comes, `KEPT_OF_RELEASES` of them at most.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from durable_ext.core.entities.messages import RecentBatch
from durable_ext.core.messages import MAY_COME_AGAIN
from durable_ext.core.timestamps import Ticks, ticks_between

KEPT_OF_SESSION: Final = 200
KEPT_OF_RELEASES: Final = 200
_DIGITS: Final = 12


def short_id(request_id: str) -> str:
    """Return enough of a random UUID to know it again among thousands."""
    return request_id.replace("-", "")[:_DIGITS]


class RecentRequests:
    """The memory of one entity in one session; used from one thread at a time."""

    __slots__ = ("_current", "_expected", "_inherited", "_kept", "_known", "_own")

    def __init__(self, stored: Iterable[RecentBatch] = ()) -> None:
        self._inherited = list(stored)
        self._own: list[RecentBatch] = []
        self._current: list[str] = []
        self._expected: list[RecentBatch] = []
        self._kept: list[str] = []  # to be the next batch of `_expected`
        self._known = {short for batch in self._inherited for short in batch.ids}

    def knows(self, request_id: str) -> bool:
        """Whether a request is remembered."""
        return short_id(request_id) in self._known

    def is_new(self, request_id: str) -> bool:
        """Remember a request; false if it was known."""
        short = short_id(request_id)
        if short in self._known:
            return False
        self._known.add(short)
        self._current.append(short)
        return True

    def keep(self, request_id: str) -> None:
        """Remember a request that may still be on its way to this session, however many others come meanwhile.

        Of more than `KEPT_OF_RELEASES` the oldest are forgotten.
        """
        short = short_id(request_id)
        if short not in self._known:
            self._known.add(short)
            self._kept.append(short)

    def commit(self, now: Ticks, *, goes_on: bool = False) -> tuple[RecentBatch, ...]:
        """Return what has to be stored with the batch that ends now; `goes_on` if its messages outlive this commit."""
        if not self._current and not self._own and not self._inherited and not self._expected and not self._kept:
            return ()
        self._inherited = [batch for batch in self._inherited if ticks_between(batch.at, now) < MAY_COME_AGAIN]
        self._expected = self._still_expected(now)
        kept: list[RecentBatch] = []
        room = KEPT_OF_SESSION
        for batch in reversed(self._own):
            room -= len(batch.ids)
            if room < 0 or ticks_between(batch.at, now) >= MAY_COME_AGAIN:
                break
            kept.insert(0, batch)
        latest = [RecentBatch(at=now, ids=tuple(self._current))] if self._current else []
        if not goes_on:
            kept += latest
            self._current, latest = [], []
        self._own = kept
        stored = (*self._inherited, *self._expected, *kept, *latest)
        self._known = {short for batch in stored for short in batch.ids}
        return stored

    def _still_expected(self, now: Ticks) -> list[RecentBatch]:
        """What `keep` was told lately; all that it was told since the last commit is one batch."""
        batches = [batch for batch in self._expected if ticks_between(batch.at, now) < MAY_COME_AGAIN]
        if self._kept:
            batches.append(RecentBatch(at=now, ids=tuple(self._kept)))
            self._kept = []
        surplus = sum(len(batch.ids) for batch in batches) - KEPT_OF_RELEASES
        while surplus > 0:
            oldest = batches.pop(0)
            if surplus < len(oldest.ids):
                batches.insert(0, replace(oldest, ids=oldest.ids[surplus:]))
            surplus -= len(oldest.ids)
        return batches
