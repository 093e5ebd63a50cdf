"""The table manager: which partitions a worker may take messages from (specs/azure-storage.md 7.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from support.provider_model.dotnet import MINUTE, SECOND, ticks, time_text
from support.provider_model.storage import ConflictError, Row, Storage, Write

_DATES: Final = ("OwnedSince", "LastRenewal", "ExpiresAt")
_QUICK_FAILURES: Final = 10


class PartitionLeases:
    """The leases of one worker, as rows of the Partitions table.

    A drain takes no time here: the worker that plays in one thread has nothing under way between two iterations.

    Attributes:
        listening: Queues that the worker takes messages from.
        stolen: Every steal that was written: queue and former owner.
    """

    def __init__(
        self, storage: Storage, worker_id: str, *, lease_seconds: float = 30.0, acquire_seconds: float = 10.0
    ) -> None:
        self._storage, self._me = storage, worker_id
        self._lease, self._acquire = round(lease_seconds * SECOND), round(acquire_seconds * SECOND)
        self.listening: set[str] = set()
        self.stolen: list[tuple[str, str]] = []
        self.stopping = False
        self._draining: set[str] = set()
        self._counts: dict[str, int] = {}
        self._soon = False
        self._failures = 0

    def iterate(self) -> int:
        """Go once through all rows; return after how many ticks to do so again."""
        self._counts, self._soon = {self._me: 0}, False
        try:
            rows = self._storage.rows("Partitions", "")
            changed = [self._one(row, etag) for row, etag in rows]
            if not self.stopping:
                self._balance(changed)
        except ConflictError:
            self._failures += 1
            return 0 if self._failures <= _QUICK_FAILURES else self._acquire
        self._failures = 0
        return min(SECOND, self._acquire) if self._soon else self._acquire

    @property
    def has_left(self) -> bool:
        """Whether all partitions were given up."""
        return not self.listening and not self._draining

    def _one(self, row: Row, etag: str) -> tuple[Row, str]:
        """Claim, steal, renew, drain or release one partition as its row says."""
        queue, before = row["RowKey"], dict(row)
        is_mine = row.get("CurrentOwner") == self._me
        if not is_mine:
            self.listening.discard(queue)
            self._draining.discard(queue)
        if not self.stopping and self._is_claimable(row):
            row |= {"CurrentOwner": self._me, "NextOwner": None, "IsDraining": False}
            row |= _dates(("OwnedSince", "LastRenewal"), self._storage.now())
            row |= _dates(("ExpiresAt",), self._storage.now() + MINUTE)
        if row.get("CurrentOwner") != self._me:
            self._of_another(row)
        else:
            self._of_mine(row)
        if row != before:
            etag = self._write(row, etag)
        if row.get("CurrentOwner") == self._me and queue not in self._draining:
            self.listening.add(queue)
        return row, etag

    def _is_claimable(self, row: Row) -> bool:
        current, following = row.get("CurrentOwner"), row.get("NextOwner")
        expiry = row.get("ExpiresAt")
        has_expired = expiry is not None and self._storage.now() >= ticks(expiry)
        return (not current and not following) or has_expired or (not current and following == self._me)

    def _of_another(self, row: Row) -> None:
        current, following = row.get("CurrentOwner"), row.get("NextOwner")
        if following:
            self._count(following)
            self._soon |= following == self._me
        elif row.get("IsDraining") and not self.stopping:
            row["NextOwner"] = self._me
            self._count(self._me)
            self._soon = True
            self.stolen.append((row["RowKey"], current or ""))
        elif current:
            self._count(current)

    def _of_mine(self, row: Row) -> None:
        queue = row["RowKey"]
        if not row.get("NextOwner") and not self.stopping:
            self._count(self._me)
        elif queue in self._draining or queue not in self.listening:
            self._draining.discard(queue)
            row |= {"CurrentOwner": None, "IsDraining": False}
            return
        else:
            self.listening.discard(queue)
            self._draining.add(queue)
            row["IsDraining"] = True
            self._soon = True
        row |= _dates(("LastRenewal",), self._storage.now())
        row |= _dates(("ExpiresAt",), self._storage.now() + self._lease)

    def _count(self, owner: str) -> None:
        self._counts[owner] = self._counts.get(owner, 0) + 1

    def _write(self, row: Row, etag: str) -> str:
        known = {name: value for name, value in row.items() if value is not None}
        return self._storage.write("Partitions", [Write("put", known, etag)])[0]

    def _balance(self, rows: Iterable[tuple[Row, str]]) -> None:
        rows = list(rows)
        others = {owner: count for owner, count in self._counts.items() if owner != self._me}
        average, mine = len(rows) // (len(others) + 1), self._counts[self._me]
        if not others or mine > average:
            return
        for owner, theirs in others.items():
            need, excess = average - mine, theirs - average
            if need < 0:
                return
            if excess <= 0:
                continue
            need = 1 if need == 0 and excess > 1 else need
            takeable = [one for one in rows if one[0].get("CurrentOwner") == owner and not one[0].get("NextOwner")]
            for row, etag in takeable[: min(need, excess)]:
                row["NextOwner"] = self._me
                self._write(row, etag)
                self._soon = True
                self.stolen.append((row["RowKey"], owner))
                mine += 1


def _dates(names: Iterable[str], moment: int) -> Row:
    found: Row = {}
    for name in names:
        found |= {name: time_text(moment), f"{name}@odata.type": "Edm.DateTime"}
    return found
