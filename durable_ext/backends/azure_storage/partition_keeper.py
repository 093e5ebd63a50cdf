"""Keeps the partitions of one worker: the loop around its leases, whether they are in a table or in blobs.

Source: specs/azure-storage.md 7.1, 7.2.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, Protocol

from durable_ext.aio.clock import Clock
from durable_ext.aio.wakeups import Wakeup
from durable_ext.backends.azure_storage.blob_lease_rounds import BlobLeaseRounds
from durable_ext.backends.azure_storage.hub_resources import HubResources
from durable_ext.backends.azure_storage.lease_table import LeaseTable
from durable_ext.backends.azure_storage.listening import ListeningPartitions
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, PartitionManagement
from durable_ext.backends.azure_storage.table_lease_rounds import TableLeaseRounds
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.transport.errors import StorageNotFoundError, is_told
from durable_ext.errors import BackendError

_log = logging.getLogger("durable_ext.backends.azure_storage")
_WARNED_FAILURE: Final = 3
_MAX_QUICK_FAILURES: Final = 10
_FAILURE_PAUSE_SECONDS: Final = 0.1
_STOP_LIMIT_SECONDS: Final = 75.0
_STOP_OUTAGE_SECONDS: Final = 5.0
_CONFIRM_LIMIT_SECONDS: Final = 30.0
_ASKING_SECONDS: Final = 0.5


class LeaseRounds(Protocol):
    """The leases of one worker, of one kind."""

    @property
    def interval(self) -> float:
        """Seconds between two rounds when nothing happens."""
        ...

    def is_valid(self, partition: int) -> bool:
        """Whether the lease of a partition is held and has not run out."""
        ...

    async def run_once(self, *, stopping: bool) -> float:
        """Renew, take, and give up what is too much, or everything; return the seconds until the next round.

        Raises:
            BackendError, asyncio.TimeoutError: What is held could not be looked up, or not in time.
        """
        ...


class PartitionKeeper:
    """Keeps the leases of one worker. Order of calls: `begin`, `run` (until it returns), `stop`. For one event loop."""

    def __init__(self, leases: LeaseRounds, listening: ListeningPartitions, *, worker_id: str, clock: Clock) -> None:
        self._leases, self._listening, self._me, self._clock = leases, listening, worker_id, clock
        self._wakeup, self._round_done = Wakeup(), Wakeup()
        self._next_asking = 0.0
        self._stopping = False
        self._stopped = asyncio.Event()

    def owns(self, partition: int) -> bool:
        """Whether this worker listens to a partition and its lease has not run out."""
        return self._listening.listens(partition) and self._leases.is_valid(partition)

    async def confirm(self, partition: int) -> bool:
        """Whether the worker may write for a partition.

        A lease that has run out (the process was paused, the store was down) is looked up first: writing without it
        would only be stopped by the history's ETag, after messages were sent. All who ask cause two rounds a second at
        most: one that helped nobody (there is no such lease any more) is not repeated at once.
        """
        deadline = self._clock.monotonic() + _CONFIRM_LIMIT_SECONDS
        while partition in self._listening.states:
            if self._leases.is_valid(partition):
                return True
            now = self._clock.monotonic()
            if now >= deadline or self._stopped.is_set():
                return False
            if now >= self._next_asking:
                self._next_asking = now + _ASKING_SECONDS
                self._wakeup.set()
            await self._round_done.wait(_ASKING_SECONDS)
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
        failures, failing_since = 0, 0.0
        while True:
            stopping = self._stopping  # a round that began before `stop` may still have asked for partitions
            try:
                pause = await self._leases.run_once(stopping=stopping)
                failures = 0
            except (BackendError, asyncio.TimeoutError) as exc:
                failures += 1
                if failures == 1:
                    failing_since = self._clock.monotonic()
                if stopping and self._gives_up(exc, failing_since):
                    return
                self._tell(exc, failures)
                # A pause that nobody who waits in `confirm` shortens.
                await self._clock.sleep(_FAILURE_PAUSE_SECONDS)
                pause = 0.0 if failures <= _MAX_QUICK_FAILURES else self._leases.interval
            finally:
                self._round_done.set()
            if stopping and not self._listening.states:
                return
            await self._wakeup.wait(pause)

    def _tell(self, error: Exception, failures: int) -> None:
        """A hiccup is nothing to tell; an outage is, once, before the leases run out."""
        tells = failures == _WARNED_FAILURE and not is_told(error)
        _log.log(
            logging.WARNING if tells else logging.INFO,
            "partition leases cannot be kept: %s",
            str(error) or "the storage has not answered in time",  # a TimeoutError has no text
            extra={"event": "lease_round_failed", "worker_id": self._me, "error": str(error), "failures": failures},
        )

    def _gives_up(self, error: Exception, failing_since: float) -> bool:
        """Leave the leases to run out by themselves if a worker that stops cannot release them, or the hub is deleted."""
        failing = self._clock.monotonic() - failing_since
        if failing < _STOP_OUTAGE_SECONDS and not isinstance(error, StorageNotFoundError):
            return False
        for partition in self._listening.states:
            self._listening.lose(partition)
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


def make_partition_keeper(
    settings: AzureStorageSettings,
    tracking: StorageTransport,
    *,
    partitions: Mapping[str, int],
    listening: ListeningPartitions,
    clock: Clock,
    resources: HubResources,
) -> PartitionKeeper:
    """Return the keeper that the settings name; `partitions` = index by control queue name, of all that there can be."""
    leases: LeaseRounds
    if settings.partition_manager is PartitionManagement.TABLE:
        leases = TableLeaseRounds(
            table=LeaseTable(tracking.tables, settings.names.partitions_table),
            partitions=partitions,
            partition_count=settings.partition_count,
            listening=listening,
            worker_id=settings.worker_id,
            lease_interval=settings.lease_interval,
            acquire_interval=settings.lease_acquire_interval,
            clock=clock,
            server_offset=tracking.server_offset,
            restore_hub=resources.restore,
            restore_leases=resources.restore_leases,
        )
    else:
        leases = BlobLeaseRounds(
            blobs=tracking.blobs,
            container=settings.names.lease_container,
            partitions=partitions,
            partition_count=settings.partition_count,
            listening=listening,
            worker_id=settings.worker_id,
            lease_interval=settings.lease_interval,
            interval=settings.lease_acquire_interval,
            safe=settings.partition_manager is PartitionManagement.SAFE_BLOB,
            clock=clock,
            restore_hub=resources.restore,
            restore_leases=resources.restore_leases,
        )
    return PartitionKeeper(leases, listening, worker_id=settings.worker_id, clock=clock)
