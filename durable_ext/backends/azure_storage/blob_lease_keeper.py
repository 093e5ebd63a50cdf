"""The loops that keep partition leases in blobs: the legacy way with one lease a partition, the safe way with two.

Source: specs/azure-storage.md 7.2. Safe: the intent says who should have a partition and may be stolen; the ownership
says who has it and may not. Who loses the intent drains and then gives the ownership up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.aio.wakeups import Wakeup
from durable_ext.backends.azure_storage.blob_leases import BlobLease, plan_take
from durable_ext.backends.azure_storage.lease_blobs import LeaseBlobs
from durable_ext.backends.azure_storage.leases import DrainState
from durable_ext.backends.azure_storage.listening import ListeningPartitions
from durable_ext.backends.azure_storage.transport.blob import BlobVerbs
from durable_ext.backends.azure_storage.transport.errors import is_told
from durable_ext.backends.azure_storage.worker_ids import has_ended_here
from durable_ext.errors import BackendError

_log = logging.getLogger("durable_ext.backends.azure_storage")
_OWNERSHIP_SECONDS: Final = 15  # fixed in the provider, as the interval below
_OWNERSHIP_INTERVAL: Final = timedelta(seconds=5)
_WARNED_FAILURE: Final = 2
_FAILURE_PAUSE_SECONDS: Final = 0.1
_STOP_POLL_SECONDS: Final = 0.1
_STOP_LIMIT_SECONDS: Final = 75.0
_CONFIRM_LIMIT_SECONDS: Final = 30.0


class HeldBlobLeases:
    """The leases of one kind that this worker holds, and until when each is good."""

    def __init__(self, blobs: LeaseBlobs, seconds: int, clock: Clock) -> None:
        self.blobs, self._seconds, self._clock = blobs, seconds, clock
        self.held: dict[str, BlobLease] = {}
        self.valid_until: dict[str, float] = {}
        self.any_found = True  # when they were last looked for
        self.is_cut_off = False  # the last time, a lease could not be renewed: an outage
        self._is_first_time = True

    async def take(self, me: str, *, steals: bool, wanted: Callable[[str], bool]) -> list[str]:
        """Acquire what the plan says and `wanted` allows; return the partitions gained."""
        leases = await self.blobs.load()
        self.any_found = bool(leases)
        if self._is_first_time:
            # A process started again after a crash need not wait until the leases of its former life run out: whoever knows
            # the token in their content may take them over. Only once, as in the table.
            leases = [replace(lease, owner=None) if has_ended_here(lease.owner or "") else lease for lease in leases]
            self._is_first_time = False
        plan = plan_take(leases, me=me, steals=steals)
        gained: list[str] = []
        for lease in plan:
            if lease.partition in self.held or not wanted(lease.partition):
                continue
            started = self._clock.monotonic()
            taken = await self.blobs.acquire(lease, me)
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
        # A third of the shortest lease: intents that hang may not take the time of the ownership either.
        started, limit = self._clock.monotonic(), min(self._seconds, _OWNERSHIP_SECONDS) / 3
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


class BlobLeaseKeeper:
    """Keeps the leases of one worker in blobs. Used from the event loop only."""

    def __init__(
        self,
        *,
        blobs: BlobVerbs,
        container: str,
        partitions: Mapping[str, int],
        listening: ListeningPartitions,
        worker_id: str,
        lease_interval: timedelta,
        interval: timedelta,
        safe: bool,
        clock: Clock,
        restore_hub: Callable[[], Awaitable[bool]],
    ) -> None:
        """`partitions` = index by control queue name; `interval` = time between two rounds of the stealing kind."""
        self._partitions, self._listening, self._me = partitions, listening, worker_id
        self._interval, self._clock, self._restore_hub = interval, clock, restore_hub
        seconds = max(15, min(60, int(lease_interval.total_seconds())))
        kind = "intent" if safe else "default"
        self._first = HeldBlobLeases(LeaseBlobs(blobs, container, kind, seconds), seconds, clock)
        ownership = LeaseBlobs(blobs, container, "ownership", _OWNERSHIP_SECONDS)
        self._ownership = HeldBlobLeases(ownership, _OWNERSHIP_SECONDS, clock) if safe else None
        self._names = {index: name for name, index in partitions.items()}
        self._wakeup, self._round_done = Wakeup(), Wakeup()
        self._is_restoring = False  # what a restoration that has failed leaves may look like a whole hub
        self._stopping = False
        self._stopped = asyncio.Event()

    @property
    def _truth(self) -> HeldBlobLeases:
        """The leases that say who may write."""
        return self._ownership or self._first

    def owns(self, partition: int) -> bool:
        """Whether this worker listens to a partition and its lease has not run out."""
        return self._listening.listens(partition) and self._truth.is_valid(self._names[partition])

    async def confirm(self, partition: int) -> bool:
        """Whether the worker may write for a partition; a lease that has run out is looked up first."""
        deadline = self._clock.monotonic() + _CONFIRM_LIMIT_SECONDS
        while partition in self._listening.states:
            if self._truth.is_valid(self._names[partition]):
                return True
            if self._clock.monotonic() >= deadline or self._stopped.is_set():
                return False
            self._wakeup.set()
            await self._round_done.wait(1.0)
        return False

    def wake(self) -> None:
        """Run the next round now."""
        self._wakeup.set()

    def begin(self) -> None:
        """A new life, perhaps after `stop`."""
        self._stopping = False
        self._stopped.clear()

    async def run(self) -> None:
        """Keep leases until `stop()` has released them all."""
        try:
            await self._keep_on()
        finally:
            self._stopped.set()  # `stop` does not wait for a loop that has died

    async def _keep_on(self) -> None:
        interval = min(self._interval, _OWNERSHIP_INTERVAL) if self._ownership else self._interval
        next_take, failures = 0.0, 0
        while not self._stopped.is_set():
            try:
                await self._renew()
                if not self._stopping:
                    now = self._clock.monotonic()
                    if now >= next_take:
                        next_take = now + self._interval.total_seconds()
                        await self._take_first()
                    if self._ownership is not None:
                        await self._ownership.take(self._me, steals=False, wanted=lambda name: name in self._first.held)
                self._listen()
                failures = 0
            except BackendError as exc:
                failures += 1  # the first may be a hiccup; the next comes an interval later
                _log.log(
                    logging.WARNING if failures == _WARNED_FAILURE and not is_told(exc) else logging.INFO,
                    "partition leases cannot be kept: %s",
                    exc,
                    extra={"event": "lease_round_failed", "worker_id": self._me, "failures": failures},
                )
            if failures or self._truth.is_cut_off:
                # Who waits in `confirm` asks for a round after every round: this pause is one that no wake-up shortens.
                await self._clock.sleep(_FAILURE_PAUSE_SECONDS)
            self._round_done.set()
            if self._stopping and not self._listening.states:
                self._stopped.set()
                return
            await self._wakeup.wait(_STOP_POLL_SECONDS if self._stopping else interval.total_seconds())

    async def _take_first(self) -> None:
        await self._first.take(self._me, steals=True, wanted=lambda name: name in self._partitions)
        if self._is_restoring or not (self._first.held or self._first.any_found):
            self._is_restoring = True
            await self._restore_hub()
            self._is_restoring = False

    async def _renew(self) -> None:
        if self._stopping:
            await self._drain_all()
            return
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
        for partition in list(self._truth.held):
            index = self._partitions[partition]
            if self._listening.states.get(index) is DrainState.DRAINED:
                await self._truth.release(partition)
                self._forget(partition)
            else:
                self._listening.drain(index)
        for partition in await self._truth.renew(lambda partition: True):
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
        if self._stopping:
            return
        for partition in self._truth.held:
            if partition in self._first.held:
                self._listening.listen(self._partitions[partition])

    def release(self) -> None:
        """Begin to drain and release every partition, each as soon as its sessions have ended."""
        self._stopping = True
        self._wakeup.set()

    async def stop(self) -> None:
        """Drain and release every partition; returns when all are released, or after 75 s."""
        self.release()
        try:
            await asyncio.wait_for(self._stopped.wait(), _STOP_LIMIT_SECONDS)
        except asyncio.TimeoutError:
            _log.warning("leases were not all released", extra={"event": "lease_stop_timeout", "worker_id": self._me})
