"""Workers of ours and of the .NET provider on one Partitions table, as a simulation: they reach a balance and keep it.

`ProviderWorker` is the provider's loop after specs/azure-storage.md 7.1: it goes through the rows one by one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_ext.backends.azure_storage.lease_clocks import LeaseClocks
from durable_ext.backends.azure_storage.leases import DrainState, Lease, plan_round

BEGIN = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)
LEASE = timedelta(seconds=30)
PAUSE = timedelta(seconds=10)
DRAIN = timedelta(seconds=2)

Rows = dict[str, Lease]


@dataclass
class OurWorker:
    """`plan_round` with what `TableLeaseRounds` does around it."""

    name: str
    added: frozenset[str] = frozenset()
    clocks: LeaseClocks = field(default_factory=lambda: LeaseClocks(LEASE))
    states: dict[str, DrainState] = field(default_factory=dict)
    drained_at: dict[str, datetime] = field(default_factory=dict)
    stopping: bool = False

    def run(self, rows: Rows, now: datetime) -> timedelta:
        for partition, at in list(self.drained_at.items()):
            if now >= at:
                self.states[partition] = DrainState.DRAINED
        for row in rows.values():
            if row.owner != self.name:
                self.states.pop(row.partition, None)
        judged = self.clocks.judged(list(rows.values()), me=self.name, now=now, monotonic=(now - BEGIN).total_seconds())
        plan = plan_round(
            judged,
            me=self.name,
            now=now,
            lease_interval=LEASE,
            lead=self.clocks.lead,
            states=self.states,
            stopping=self.stopping,
            added=self.added,
        )
        before = {lease.partition: lease for lease in judged}
        for written in plan.writes:
            assert may_own(before[written.partition], written, self.name, now)
            rows[written.partition] = written
            if written.owner is None:
                self.states.pop(written.partition, None)
            elif written.owner == self.name and not written.is_draining:
                self.states[written.partition] = DrainState.LISTENING
                self.drained_at.pop(written.partition, None)
        for partition in plan.drain:
            self.states[partition] = DrainState.DRAINING
            self.drained_at[partition] = now + DRAIN
        return SECOND if plan.soon or (self.states and self.drained_at) else PAUSE


@dataclass
class ProviderWorker:
    """The clock of its machine is ahead by `skew`."""

    name: str
    skew: timedelta = timedelta(0)
    drained_at: dict[str, datetime] = field(default_factory=dict)
    stopping: bool = False

    def run(self, rows: Rows, now: datetime) -> timedelta:
        now += self.skew
        counts: Counter[str] = Counter()
        soon = False
        for partition, row in list(rows.items()):
            before = row
            free = (row.owner is None and row.next_owner is None) or (row.expires_at is not None and now >= row.expires_at)
            if not self.stopping and (free or (row.owner is None and row.next_owner == self.name)):
                row = replace(row, owner=self.name, next_owner=None, owned_since=now, is_draining=False)
                row = replace(row, last_renewal=now, expires_at=now + timedelta(minutes=1))
            if row.owner != self.name and not self.stopping:
                if row.next_owner is not None:
                    counts[row.next_owner] += 1
                    soon = soon or row.next_owner == self.name
                elif row.is_draining:
                    row = replace(row, next_owner=self.name)
                elif row.owner is not None:
                    counts[row.owner] += 1
            if row.owner == self.name:
                if row.next_owner is None and not self.stopping:
                    counts[self.name] += 1
                    row = replace(row, last_renewal=now, expires_at=now + LEASE)
                elif now >= self.drained_at.setdefault(partition, now + DRAIN):
                    row = replace(row, owner=None, is_draining=False)
                    del self.drained_at[partition]
                else:
                    row = replace(row, is_draining=True, last_renewal=now, expires_at=now + LEASE)
                    soon = True
            if row != before:
                assert may_own(before, row, self.name, now)
                rows[partition] = row
        if not self.stopping:
            self._balance(rows, counts)
        return SECOND if soon else PAUSE

    def _balance(self, rows: Rows, counts: Counter[str]) -> None:
        others = [name for name in counts if name != self.name]
        average, mine = len(rows) // (len(others) + 1), counts[self.name]
        if not others or mine > average:
            return
        for other in others:
            need, excess = average - mine, counts[other] - average
            if need < 0:
                return
            if excess <= 0:
                continue
            need = 1 if need == 0 and excess > 1 else need
            theirs = [row for row in rows.values() if row.owner == other and row.next_owner is None]
            for row in theirs[: min(need, excess)]:
                rows[row.partition] = replace(row, next_owner=self.name)
                mine += 1


def may_own(before: Lease, after: Lease, me: str, now: datetime) -> bool:
    """Whether a worker that makes itself the owner was allowed to."""
    if after.owner != me or before.owner == me:
        return True
    return before.is_free(now) or (before.owner is None and before.next_owner == me)


class Fleet:
    """Time, the table, and who runs when."""

    def __init__(self, partitions: int) -> None:
        names = [f"hub-control-{number:02d}" for number in range(partitions)]
        self.rows: Rows = {name: Lease(partition=name) for name in names}
        self.now = BEGIN
        self.due: dict[str, datetime] = {}
        self.workers: dict[str, OurWorker | ProviderWorker] = {}

    def join(self, worker: OurWorker | ProviderWorker) -> None:
        self.workers[worker.name] = worker
        self.due[worker.name] = self.now

    def kill(self, name: str) -> None:
        del self.workers[name]
        del self.due[name]

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            for name, worker in self.workers.items():
                if self.now >= self.due[name]:
                    self.due[name] = self.now + worker.run(self.rows, self.now)
            self.now += SECOND

    def owners(self) -> dict[str, str | None]:
        return {row.partition: row.owner for row in self.rows.values()}


def is_shared(fleet: Fleet) -> bool:
    """Every partition has an owner that lives, and nobody could take another one."""
    counts = Counter(fleet.owners().values())
    shares = [counts[name] for name in fleet.workers]
    floor = len(fleet.rows) // len(fleet.workers)
    return sum(shares) == len(fleet.rows) and min(shares) >= floor


KINDS = st.lists(st.sampled_from([OurWorker, ProviderWorker]), min_size=2, max_size=4)


@settings(max_examples=40)
@given(kinds=KINDS, partitions=st.sampled_from([1, 2, 3, 4, 8, 16]), ends=st.sampled_from(["stops", "dies"]), data=st.data())
def test_mixed_workers_share_the_partitions_whoever_comes_and_goes(
    kinds: list[type[OurWorker] | type[ProviderWorker]], partitions: int, ends: str, data: st.DataObject
) -> None:
    fleet = Fleet(partitions)
    for number, kind in enumerate(kinds):
        fleet.join(kind(f"worker-{number}"))
        fleet.run(60)
        assert is_shared(fleet), "one more"
    settled = fleet.owners()
    fleet.run(60)
    assert fleet.owners() == settled, "nothing moves once they are shared"

    leaver = data.draw(st.sampled_from(sorted(fleet.workers)))
    if ends == "stops":
        fleet.workers[leaver].stopping = True
        fleet.run(30)
        assert leaver not in fleet.owners().values()
    fleet.kill(leaver)
    fleet.run(90)
    assert is_shared(fleet), "one less"


@settings(max_examples=40)
@given(
    kinds=st.permutations([OurWorker, OurWorker, ProviderWorker]),
    skew=st.sampled_from([-300, -60, -40, -25, -15, 15, 25, 40, 60, 300]),
    partitions=st.sampled_from([2, 4, 7, 16]),
)
def test_a_provider_whose_clock_is_off_keeps_its_share(
    kinds: list[type[OurWorker] | type[ProviderWorker]], skew: int, partitions: int
) -> None:
    fleet = Fleet(partitions)
    for number, kind in enumerate(kinds):
        name = f"worker-{number}"
        fleet.join(ProviderWorker(name, skew=skew * SECOND) if kind is ProviderWorker else OurWorker(name))
        fleet.run(120)
    settled = fleet.owners()
    fleet.run(240)

    assert fleet.owners() == settled
    assert min(Counter(settled.values())[name] for name in fleet.workers) >= partitions // 3


def test_partitions_of_a_dead_provider_whose_clock_was_ahead_by_hours_are_taken_over_in_time() -> None:
    fleet = Fleet(4)
    fleet.join(ProviderWorker("theirs", skew=timedelta(hours=3)))
    fleet.join(OurWorker("ours"))
    fleet.run(120)
    fleet.kill("theirs")

    fleet.run(90)

    assert set(fleet.owners().values()) == {"ours"}


@settings(max_examples=40)
@given(
    kinds=st.lists(st.sampled_from([OurWorker, ProviderWorker]), min_size=1, max_size=4),
    own=st.sampled_from([1, 2, 4]),
    added=st.sampled_from([1, 2, 4, 8, 12]),
)
def test_partitions_that_a_client_has_added_do_not_make_workers_take_from_each_other_for_ever(
    kinds: list[type[OurWorker] | type[ProviderWorker]], own: int, added: int
) -> None:
    fleet = Fleet(own + added)
    others = frozenset(sorted(fleet.rows)[own:])
    for number, kind in enumerate([OurWorker, *kinds]):
        fleet.join(kind(f"worker-{number}") if kind is ProviderWorker else OurWorker(f"worker-{number}", added=others))
        fleet.run(90)
    settled = fleet.owners()
    fleet.run(120)

    assert fleet.owners() == settled
    assert is_shared(fleet)


def test_our_workers_share_the_hubs_own_partitions_and_the_added_ones() -> None:
    fleet = Fleet(8)
    others = frozenset(sorted(fleet.rows)[4:])
    for name in ("a", "b"):
        fleet.join(OurWorker(name, added=others))
        fleet.run(90)

    owners = fleet.owners()
    assert Counter(owners[name] for name in owners if name in others) == {"a": 2, "b": 2}
    assert Counter(owners[name] for name in owners if name not in others) == {"a": 2, "b": 2}


def test_the_lease_of_an_owner_with_longer_leases_than_ours_is_not_taken_for_a_dead_ones() -> None:
    clocks = LeaseClocks(timedelta(seconds=3))
    theirs = Lease(partition="hub-control-00", owner="theirs", last_renewal=BEGIN, expires_at=BEGIN + LEASE)

    ends = [
        clocks.judged([theirs], me="ours", now=BEGIN + second * SECOND, monotonic=float(second))[0].expires_at
        for second in range(25)
    ]

    assert set(ends) == {BEGIN + LEASE}


@pytest.mark.parametrize("skew", [0, 45, 300, 500])
def test_a_lease_released_to_a_worker_that_dies_before_it_claims_it_is_served_again_in_time(skew: int) -> None:
    fleet = Fleet(8)
    fleet.join(OurWorker("ours"))
    fleet.join(ProviderWorker("theirs", skew=skew * SECOND))
    fleet.run(120)
    fleet.join(OurWorker("new"))
    while not any(row.next_owner == "new" and row.owner == "ours" for row in fleet.rows.values()):
        fleet.run(1)
    fleet.kill("new")
    fleet.kill("theirs")

    fleet.run(90)

    assert set(fleet.owners().values()) == {"ours"}


def test_a_lease_that_waits_for_a_worker_that_has_died_is_free_whatever_its_end_says() -> None:
    clocks = LeaseClocks(LEASE)
    waiting = Lease(partition="hub-control-00", next_owner="dead", last_renewal=BEGIN, expires_at=BEGIN + 20 * LEASE)

    free = [
        clocks.judged([waiting], me="ours", now=BEGIN + second * SECOND, monotonic=float(second))[0].is_free(
            BEGIN + second * SECOND
        )
        for second in range(121)
    ]

    assert free == [False] * 120 + [True]


def test_a_released_lease_does_not_hold_longer_for_a_clock_that_is_ahead() -> None:
    mine = Lease(partition="hub-control-00", owner="ours", next_owner="theirs", expires_at=BEGIN + 20 * LEASE)

    plan = plan_round([mine], me="ours", now=BEGIN, lease_interval=LEASE, lead=19 * LEASE, states={})

    assert [(one.owner, one.next_owner, one.expires_at) for one in plan.writes] == [(None, "theirs", BEGIN + LEASE)]
