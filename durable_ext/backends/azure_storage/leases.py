"""Partition leases as values, and the plan of one round of the table manager (pure).

Source: specs/azure-storage.md 7.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from itertools import zip_longest
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One row of the Partitions table; `owner` and `next_owner` are worker ids.

    `foreign` holds columns we do not know: they survive our writes.
    """

    partition: str
    owner: str | None = None
    next_owner: str | None = None
    owned_since: datetime | None = None
    last_renewal: datetime | None = None
    expires_at: datetime | None = None
    is_draining: bool = False
    etag: str = ""
    foreign: Mapping[str, object] = field(default_factory=dict)

    @property
    def holder(self) -> str | None:
        """Who must show that it lives: the owner, or the worker that a lease was released to and that has not claimed it."""
        return self.owner or self.next_owner

    def is_free(self, now: datetime) -> bool:
        """Whether anybody may claim it."""
        if self.owner is None and self.next_owner is None:
            return True
        return self.expires_at is not None and now >= self.expires_at


class DrainState(Enum):
    """How far this worker is with leaving a partition."""

    LISTENING = "listening"
    DRAINING = "draining"
    DRAINED = "drained"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRound:
    """What one round decided.

    Attributes:
        writes: Leases to write with If-Match of their etag.
        drain: Partitions to start draining.
        soon: The next round should come after a second.
    """

    writes: tuple[Lease, ...] = ()
    drain: tuple[str, ...] = ()
    soon: bool = False


@dataclass(slots=True)
class _Plan:
    writes: dict[str, Lease] = field(default_factory=dict)
    drain: list[str] = field(default_factory=list)
    soon: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    others: dict[str, list[Lease]] = field(default_factory=dict)


def plan_round(
    leases: Sequence[Lease],
    *,
    me: str,
    now: datetime,
    lease_interval: timedelta,
    states: Mapping[str, DrainState],
    lead: timedelta = timedelta(0),
    stopping: bool = False,
    added: Collection[str] = (),
) -> LeaseRound:
    """Decide which leases to claim, renew, steal, drain and release.

    `states` has an entry for each partition this worker listens to or drains. `lead` = how much longer than its time a lease
    must hold to look alive to everybody; not a released one, which would stay unserved if the next owner is dead.
    `stopping` = give all up, take none. `added` = partitions beyond the hub's own: they count like others, as for the
    provider, but one is not stolen instead of the other.
    """
    plan = _Plan()
    for lease in leases:
        _plan_one(plan, lease, me, now, lease_interval, lead, states.get(lease.partition), stopping)
    if not stopping:
        _balance(plan, len(leases), me, added)
    return LeaseRound(writes=tuple(plan.writes.values()), drain=tuple(plan.drain), soon=plan.soon)


def _plan_one(
    plan: _Plan,
    lease: Lease,
    me: str,
    now: datetime,
    interval: timedelta,
    lead: timedelta,
    state: DrainState | None,
    stopping: bool,
) -> None:
    end = now + interval + lead
    claimable = lease.is_free(now) or (lease.owner is None and lease.next_owner == me)
    if claimable and not stopping:
        lease = replace(
            lease, owner=me, next_owner=None, owned_since=now, last_renewal=now, expires_at=end, is_draining=False
        )
        plan.writes[lease.partition] = lease
        plan.counts[me] += 1
        return
    if lease.owner != me:
        _count_other(plan, lease, me, stopping)
        return
    if lease.next_owner is None and not stopping:
        plan.writes[lease.partition] = replace(lease, last_renewal=now, expires_at=end, is_draining=False)
        plan.counts[me] += 1
        return
    if lease.next_owner is not None:
        plan.counts[lease.next_owner] += 1
    if state is None or state is DrainState.DRAINED:
        released_until = min(lease.expires_at or end, now + interval)
        plan.writes[lease.partition] = replace(lease, owner=None, expires_at=released_until, is_draining=False)
        return
    plan.soon = True
    if state is DrainState.LISTENING:
        plan.drain.append(lease.partition)
    plan.writes[lease.partition] = replace(lease, last_renewal=now, expires_at=end, is_draining=True)


def _count_other(plan: _Plan, lease: Lease, me: str, stopping: bool) -> None:
    if lease.next_owner == me and stopping:
        # Nobody could claim it before it expires if we went away with our name on it.
        plan.writes[lease.partition] = replace(lease, next_owner=None)
        return
    if lease.next_owner is not None:
        plan.counts[lease.next_owner] += 1
        if lease.next_owner == me:
            plan.soon = True
        return
    if lease.owner is None:
        return
    if lease.is_draining:
        if not stopping:  # its owner is shutting down
            plan.writes[lease.partition] = replace(lease, next_owner=me)
            plan.counts[me] += 1
            plan.soon = True
        return
    plan.counts[lease.owner] += 1
    plan.others.setdefault(lease.owner, []).append(lease)


def _balance(plan: _Plan, partitions: int, me: str, added: Collection[str]) -> None:
    owners = [owner for owner in plan.counts if owner != me]
    mine = plan.counts[me]
    average = partitions // (len(owners) + 1)
    if not owners or mine > average:
        return
    for owner in sorted(owners):
        need = average - mine
        if need < 0:
            return
        excess = plan.counts[owner] - average
        if excess <= 0:
            continue
        if need == 0 and excess > 1:
            need = 1
        theirs = by_turns(plan.others.get(owner, []), lambda lease: lease.partition in added)
        for lease in theirs[: min(need, excess)]:
            plan.writes[lease.partition] = replace(lease, next_owner=me)
            plan.soon = True
            mine += 1


def by_turns(leases: Sequence[_T], is_added: Callable[[_T], bool]) -> list[_T]:
    """Return leases of the hub's own partitions and of added ones by turns: who takes some of them takes of both."""
    own = [lease for lease in leases if not is_added(lease)]
    added = [lease for lease in leases if is_added(lease)]
    return [lease for pair in zip_longest(own, added) for lease in pair if lease is not None]
