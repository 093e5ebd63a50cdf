"""Rounds of this worker's leases in blobs: the legacy way with one lease a partition, the safe way with two.

Source: specs/azure-storage.md 7.2. Safe: the intent says who should have a partition and may be stolen; the ownership
says who has it and may not. Who loses the intent drains and then gives the ownership up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.azure_storage.blob_leases import BlobLease, plan_take
from durable_ext.backends.azure_storage.lease_blobs import LeaseBlobs
from durable_ext.backends.azure_storage.leases import DrainState
from durable_ext.backends.azure_storage.listening import ListeningPartitions
from durable_ext.backends.azure_storage.transport.blob import BlobVerbs
from durable_ext.backends.azure_storage.worker_ids import has_ended_here
from durable_ext.errors import BackendError

_OWNERSHIP_SECONDS: Final = 15  # fixed in the provider, as the interval below
_OWNERSHIP_INTERVAL: Final = timedelta(seconds=5)
_SOON_SECONDS: Final = 1.0
_STOP_POLL_SECONDS: Final = 0.1


class HeldBlobLeases:
    """The leases of one kind that this worker holds, and until when each is good."""

    def __init__(self, blobs: LeaseBlobs, seconds: int, clock: Clock) -> None:
        self.blobs, self._seconds, self._clock = blobs, seconds, clock
        self.held: dict[str, BlobLease] = {}
        self.valid_until: dict[str, float] = {}
        self.found: frozenset[str] = frozenset()  # partitions that had a lease when they were last looked for
        self.is_cut_off = False  # the last time, a lease could not be renewed: an outage
        self._is_first_time = True

    async def take(self, me: str, *, steals: bool, wanted: Callable[[str], bool], added: Collection[str] = ()) -> list[str]:
        """Acquire what the plan says and `wanted` allows; return the partitions gained.

        Epochs of partitions that clients have `added` to the hub's own stay: what was ever owned is the hub's
        (hub_resources), and serving a queue that was added does not make it that.
        """
        leases = await self.blobs.load()
        self.found = frozenset(lease.partition for lease in leases)
        if self._is_first_time:
            # A process started again after a crash need not wait until the leases of its former life run out: whoever knows
            # the token in their content may take them over. Only once, as in the table.
            leases = [replace(lease, owner=None) if has_ended_here(lease.owner or "") else lease for lease in leases]
            self._is_first_time = False
        leases = [lease for lease in leases if wanted(lease.partition)]
        plan = plan_take(leases, me=me, steals=steals, added=added)
        gained: list[str] = []
        for lease in plan:
            if lease.partition in self.held:
                continue
            started = self._clock.monotonic()
            taken = await self.blobs.acquire(lease, me, epoch=lease.epoch if lease.partition in added else None)
            if taken is not None:
                self._keep(taken, started)
                gained.append(taken.partition)
        return gained

    async def renew(self, wanted: Callable[[str], bool]) -> list[str]:
        """Renew what is wanted, release the rest; return the partitions that are held no more."""
        self.is_cut_off = False
        every = list(self.held.values())
        # Beside each other, and none for longer than leaves time to try again: one that hangs lets no other run out.
        kept = await asyncio.gather(*(self._renew_or_release(lease, wanted(lease.partition)) for lease in every))
        return [lease.partition for lease, is_kept in zip(every, kept, strict=True) if not is_kept]

    async def _renew_or_release(self, lease: BlobLease, is_wanted: bool) -> bool:
        """Return whether the lease may still be held."""
        started, limit = self._clock.monotonic(), _limit(self._seconds)
        try:
            if not is_wanted:
                await asyncio.wait_for(self.release(lease.partition), limit)
                return False
            if await asyncio.wait_for(self.blobs.renew(lease), limit):
                self._keep(lease, started)
                return True
        except (BackendError, asyncio.TimeoutError):
            self.is_cut_off = True  # it runs out by itself
            return is_wanted
        self._drop(lease.partition)
        return False

    async def release(self, partition: str) -> None:
        """Give one lease up."""
        lease = self.held.get(partition)
        if lease is not None:
            self._drop(partition)
            await self.blobs.release(lease)

    def is_valid(self, partition: str) -> bool:
        """Whether a lease is held and has not run out."""
        return self._clock.monotonic() < self.valid_until.get(partition, 0.0)

    def _keep(self, lease: BlobLease, started: float) -> None:
        self.held[lease.partition] = lease
        self.valid_until[lease.partition] = started + self._seconds

    def _drop(self, partition: str) -> None:
        self.held.pop(partition, None)
        self.valid_until.pop(partition, None)


def _limit(seconds: int) -> float:
    """Return for how long a round may renew, and for how long take: a third of the shortest lease.

    Intents that hang may not take the time of the ownership either.
    """
    return min(seconds, _OWNERSHIP_SECONDS) / 3


class BlobLeaseRounds:
    """`LeaseRounds` in blobs. Used from the event loop only."""

    def __init__(
        self,
        *,
        blobs: BlobVerbs,
        container: str,
        partitions: Mapping[str, int],
        partition_count: int,
        listening: ListeningPartitions,
        worker_id: str,
        lease_interval: timedelta,
        interval: timedelta,
        safe: bool,
        clock: Clock,
        restore_hub: Callable[[], Awaitable[bool]],
        restore_leases: Callable[[], Awaitable[None]],
    ) -> None:
        """`interval` = time between two rounds of the stealing kind.

        `partitions` = index by control queue name, also of queues beyond the hub's own `partition_count`: a client that
        counts with more partitions adds leases for them.
        """
        self._partitions = partitions
        self._listening, self._me, self._interval, self._clock = listening, worker_id, interval, clock
        self._restore_hub, self._restore_leases = restore_hub, restore_leases
        self._seconds = max(15, min(60, int(lease_interval.total_seconds())))
        kind = "intent" if safe else "default"
        self._first = HeldBlobLeases(LeaseBlobs(blobs, container, kind, self._seconds), self._seconds, clock)
        ownership = LeaseBlobs(blobs, container, "ownership", _OWNERSHIP_SECONDS)
        self._ownership = HeldBlobLeases(ownership, _OWNERSHIP_SECONDS, clock) if safe else None
        self._names = {index: name for name, index in partitions.items()}
        self._own = frozenset(name for name, index in partitions.items() if index < partition_count)
        self._added = partitions.keys() - self._own
        self._next_take = 0.0
        self._is_restoring = False  # what a restoration that has failed leaves may look like a whole hub

    @property
    def _truth(self) -> HeldBlobLeases:
        """The leases that say who may write."""
        return self._ownership or self._first

    @property
    def interval(self) -> float:
        return (min(self._interval, _OWNERSHIP_INTERVAL) if self._ownership else self._interval).total_seconds()

    def is_valid(self, partition: int) -> bool:
        return self._truth.is_valid(self._names[partition])

    async def run_once(self, *, stopping: bool) -> float:
        if stopping:
            await self._drain_all()
            return _STOP_POLL_SECONDS
        await self._renew()
        steals = self._clock.monotonic() >= self._next_take
        try:
            await asyncio.wait_for(self._take(steals), _limit(self._seconds))
        finally:
            self._listen()  # to what was gained before a call failed, too
        if steals:
            await self._complete()
            self._next_take = self._clock.monotonic() + self._interval.total_seconds()
        return _SOON_SECONDS if self._first.is_cut_off or self._truth.is_cut_off else self.interval

    async def _take(self, steals: bool) -> None:
        if steals:
            await self._first.take(self._me, steals=True, wanted=lambda name: name in self._partitions, added=self._added)
        if self._ownership is not None:
            held = self._first.held
            await self._ownership.take(self._me, steals=False, wanted=lambda name: name in held, added=self._added)

    async def _complete(self) -> None:
        """Make again what somebody has deleted: the hub, or some of its leases."""
        if self._is_restoring or not (self._first.held or self._first.found):
            self._is_restoring = True
            await self._restore_hub()
            self._is_restoring = False
        elif self._own - self._first.found or (self._ownership is not None and self._own - self._ownership.found):
            await self._restore_leases()

    async def _renew(self) -> None:
        lost = await self._first.renew(lambda partition: True)
        if self._ownership is None:
            for partition in lost:
                self._listening.lose(self._partitions[partition])
            return
        for partition in lost:  # somebody else should have it: finish, then give the ownership up
            self._listening.drain(self._partitions[partition])
        states = self._listening.states

        def still_used(partition: str) -> bool:
            return partition in self._first.held or states.get(self._partitions[partition]) is not DrainState.DRAINED

        for partition in await self._ownership.renew(still_used):
            self._forget(partition)

    async def _drain_all(self) -> None:
        states = self._listening.states
        for partition in self._truth.held:
            self._listening.drain(self._partitions[partition])

        def still_used(partition: str) -> bool:
            return states.get(self._partitions[partition], DrainState.DRAINED) is not DrainState.DRAINED

        for partition in await self._truth.renew(still_used):
            self._forget(partition)
        if self._ownership is not None:
            await self._first.renew(lambda partition: False)

    def _forget(self, partition: str) -> None:
        index = self._partitions[partition]
        if self._listening.states.get(index) is DrainState.DRAINED:
            self._listening.forget(index)
        else:
            self._listening.lose(index)

    def _listen(self) -> None:
        for partition in self._truth.held:
            if partition in self._first.held:
                self._listening.listen(self._partitions[partition])
