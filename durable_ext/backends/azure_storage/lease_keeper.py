"""The loop that keeps this worker's partition leases: reads, plans (`leases.plan_round`), writes, acts.

Source: specs/azure-storage.md 7.1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.aio.wakeups import Wakeup
from durable_ext.backends.azure_storage.lease_table import LeaseTable
from durable_ext.backends.azure_storage.leases import DrainState, Lease, LeaseRound, plan_round
from durable_ext.backends.azure_storage.listening import ListeningPartitions
from durable_ext.backends.azure_storage.transport.errors import StorageNotFoundError, is_told
from durable_ext.backends.azure_storage.worker_ids import has_ended_here
from durable_ext.errors import BackendError

_log = logging.getLogger("durable_ext.backends.azure_storage")
_SOON_SECONDS: Final = 1.0
_WARNED_FAILURE: Final = 3
_MAX_QUICK_FAILURES: Final = 10
_FAILURE_PAUSE_SECONDS: Final = 0.1
_STOP_LIMIT_SECONDS: Final = 75.0
_STOP_OUTAGE_SECONDS: Final = 5.0
_CONFIRM_LIMIT_SECONDS: Final = 30.0


class TableLeaseKeeper:
    """Keeps the leases of one worker in the Partitions table. Used from the event loop only."""

    def __init__(
        self,
        *,
        table: LeaseTable,
        partitions: Mapping[str, int],
        partition_count: int,
        listening: ListeningPartitions,
        worker_id: str,
        lease_interval: timedelta,
        acquire_interval: timedelta,
        clock: Clock,
        server_offset: Callable[[], timedelta],
        restore_hub: Callable[[], Awaitable[bool]],
    ) -> None:
        """`partitions` = index by control queue name, also of queues beyond the hub's own `partition_count`.

        A client that counts with more partitions adds rows for them. They are served too, and shared out by themselves.
        """
        self._partition_count = partition_count
        self._table, self._partitions, self._listening = table, partitions, listening
        self._me, self._lease_interval, self._acquire_interval = worker_id, lease_interval, acquire_interval
        self._clock, self._server_offset, self._restore_hub = clock, server_offset, restore_hub
        self._valid_until: dict[int, float] = {}
        self._wakeup = Wakeup()
        self._round_done = Wakeup()
        self._stopping = False
        self._is_first_round = True
        self._is_restoring = False  # what a restoration that has failed leaves may look like a whole hub
        self._stopped = asyncio.Event()

    def owns(self, partition: int) -> bool:
        """Whether this worker listens to a partition and its lease has not run out."""
        return self._listening.listens(partition) and self._clock.monotonic() < self._valid_until.get(partition, 0.0)

    async def confirm(self, partition: int) -> bool:
        """Whether the worker may write for a partition.

        A lease that has run out (the process was paused, the store was down) is looked up first: writing without it
        would only be stopped by the history's ETag, after messages were sent.
        """
        deadline = self._clock.monotonic() + _CONFIRM_LIMIT_SECONDS
        while partition in self._listening.states:
            now = self._clock.monotonic()
            if now < self._valid_until.get(partition, 0.0):
                return True
            if now >= deadline or self._stopped.is_set():
                return False
            self._wakeup.set()
            await self._round_done.wait(1.0)
        return False

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
        failures, failing_since = 0, 0.0
        while True:
            stopping = self._stopping  # a round that began before `stop` may still have asked for partitions
            try:
                soon = await asyncio.wait_for(self._round(), self._lease_interval.total_seconds() / 2)
                failures = 0
            except (BackendError, asyncio.TimeoutError) as exc:
                failures += 1
                if failures == 1:
                    failing_since = self._clock.monotonic()
                if stopping and self._gives_up(exc, failing_since):
                    return
                # A hiccup is nothing to tell; an outage is, once, before the leases run out.
                tells = failures == _WARNED_FAILURE and not is_told(exc)
                _log.log(
                    logging.WARNING if tells else logging.INFO,
                    "partition leases cannot be kept: %s",
                    str(exc) or type(exc).__name__,
                    extra={"event": "lease_round_failed", "worker_id": self._me, "error": str(exc), "failures": failures},
                )
                # Who waits in `confirm` asks for a round after every round: this pause is one that no wake-up shortens.
                await self._clock.sleep(_FAILURE_PAUSE_SECONDS)
                if failures <= _MAX_QUICK_FAILURES:
                    continue
                soon = False
            finally:
                self._round_done.set()
            if stopping and not self._listening.states:
                self._stopped.set()
                return
            await self._wakeup.wait(_SOON_SECONDS if soon else self._acquire_interval.total_seconds())

    def _gives_up(self, error: Exception, failing_since: float) -> bool:
        """Leave the leases to run out by themselves if a worker that stops cannot release them, or the hub is deleted."""
        failing = self._clock.monotonic() - failing_since
        if failing < _STOP_OUTAGE_SECONDS and not isinstance(error, StorageNotFoundError):
            return False
        for partition in self._listening.states:
            self._lose(partition)
        self._stopped.set()
        return True

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

    def wake(self) -> None:
        """Run the next round now."""
        self._wakeup.set()

    async def _round(self) -> bool:
        started = self._clock.monotonic()
        leases = await self._load()
        now: datetime = self._clock.now() + self._server_offset()
        known = [lease for lease in leases if lease.partition in self._partitions]
        if self._is_first_round:
            # A process started again after a crash need not wait until the leases of its former life run out. Only once:
            # should two machines ever take each other for the same one, they do not go on stealing.
            known = [replace(lease, expires_at=now) if has_ended_here(lease.owner or "") else lease for lease in known]
        for lease in known:
            if lease.owner != self._me:
                self._lose(self._partitions[lease.partition])
        states = self._listening.states
        plan = self._plan(known, states, now)
        if plan.writes:
            await self._table.write(plan.writes)
        for lease in plan.writes:
            self._act(lease, started)
        self._is_first_round = False
        for partition in plan.drain:
            self._listening.drain(self._partitions[partition])
        return plan.soon or any(state is not DrainState.LISTENING for state in self._listening.states.values())

    async def _load(self) -> Sequence[Lease]:
        if not self._is_restoring or self._stopping:
            try:
                return await self._table.load()
            except StorageNotFoundError:
                if self._stopping:
                    raise
        self._is_restoring = True
        await self._restore_hub()
        self._is_restoring = False
        return await self._table.load()

    def _plan(self, leases: Sequence[Lease], states: Mapping[int, DrainState], now: datetime) -> LeaseRound:
        def round_of(some: Sequence[Lease]) -> LeaseRound:
            named = {one.partition: states[index] for one in some if (index := self._partitions[one.partition]) in states}
            return plan_round(
                some, me=self._me, now=now, lease_interval=self._lease_interval, states=named, stopping=self._stopping
            )

        own = round_of([lease for lease in leases if self._partitions[lease.partition] < self._partition_count])
        added = round_of([lease for lease in leases if self._partitions[lease.partition] >= self._partition_count])
        return LeaseRound(
            # What was ever owned is the hub's (hub_resources): serving a queue that was added does not make it that.
            writes=(*own.writes, *[replace(lease, owned_since=None) for lease in added.writes]),
            drain=own.drain + added.drain,
            soon=own.soon or added.soon,
        )

    def _act(self, lease: Lease, started: float) -> None:
        index = self._partitions[lease.partition]
        if lease.owner != self._me:
            if lease.owner is None and index in self._listening.states:
                self._valid_until.pop(index, None)
                self._listening.forget(index)
            return
        self._valid_until[index] = started + self._lease_interval.total_seconds()
        if not lease.is_draining:
            self._listening.listen(index)

    def _lose(self, partition: int) -> None:
        self._valid_until.pop(partition, None)
        self._listening.lose(partition)
