"""Rounds of this worker's leases in the Partitions table: reads, plans (`leases.plan_round`), writes, acts.

Source: specs/azure-storage.md 7.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.azure_storage.lease_clocks import LeaseClocks
from durable_ext.backends.azure_storage.lease_table import LeaseTable
from durable_ext.backends.azure_storage.leases import DrainState, Lease, LeaseRound, plan_round
from durable_ext.backends.azure_storage.listening import ListeningPartitions
from durable_ext.backends.azure_storage.transport.errors import StorageNotFoundError
from durable_ext.backends.azure_storage.worker_ids import has_ended_here

_SOON_SECONDS: Final = 1.0


class TableLeaseRounds:
    """`LeaseRounds` in the Partitions table. Used from the event loop only."""

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
        restore_leases: Callable[[], Awaitable[None]],
    ) -> None:
        """`partitions` = index by control queue name, also of queues beyond the hub's own `partition_count`.

        A client that counts with more partitions adds rows for them. They are served too.
        """
        self._own = {name for name, index in partitions.items() if index < partition_count}
        self._added = partitions.keys() - self._own
        self._table, self._partitions, self._listening = table, partitions, listening
        self._me, self._lease_interval, self._acquire_interval = worker_id, lease_interval, acquire_interval
        self._clock, self._server_offset = clock, server_offset
        self._restore_hub, self._restore_leases = restore_hub, restore_leases
        self._clocks = LeaseClocks(lease_interval)
        self._valid_until: dict[int, float] = {}
        self._is_first_round = True
        self._is_restoring = False  # what a restoration that has failed leaves may look like a whole hub

    @property
    def interval(self) -> float:
        return self._acquire_interval.total_seconds()

    def is_valid(self, partition: int) -> bool:
        return self._clock.monotonic() < self._valid_until.get(partition, 0.0)

    async def run_once(self, *, stopping: bool) -> float:
        soon = await asyncio.wait_for(self._round(stopping), self._lease_interval.total_seconds() / 2)
        return _SOON_SECONDS if soon else self.interval

    async def _round(self, stopping: bool) -> bool:
        started = self._clock.monotonic()
        leases = await self._load(stopping)
        now: datetime = self._clock.now() + self._server_offset()
        known = self._clocks.judged(
            [lease for lease in leases if lease.partition in self._partitions],
            me=self._me,
            now=now,
            monotonic=self._clock.monotonic(),
        )
        if self._is_first_round:
            # A process started again after a crash need not wait until the leases of its former life run out. Only once:
            # should two machines ever take each other for the same one, they do not go on stealing.
            known = [replace(one, expires_at=now) if has_ended_here(one.holder or "") else one for one in known]
        mine = {self._partitions[lease.partition] for lease in known if lease.owner == self._me}
        for index in self._listening.states.keys() - mine:
            self._lose(index)
        plan = self._plan(known, self._listening.states, now, stopping)
        if plan.writes:
            await self._table.write(plan.writes)
        for lease in plan.writes:
            self._act(lease, started)
        self._is_first_round = False
        for partition in plan.drain:
            self._listening.drain(self._partitions[partition])
        return plan.soon or any(state is not DrainState.LISTENING for state in self._listening.states.values())

    async def _load(self, stopping: bool) -> Sequence[Lease]:
        """Return the rows; of a hub that has gone, or rows that have, after making them again."""
        if not self._is_restoring or stopping:
            try:
                leases = await self._table.load()
            except StorageNotFoundError:
                if stopping:
                    raise
            else:
                if stopping or self._own <= {lease.partition for lease in leases}:
                    return leases
                await self._restore_leases()
                return await self._table.load()
        self._is_restoring = True
        await self._restore_hub()
        self._is_restoring = False
        return await self._table.load()

    def _plan(self, leases: Sequence[Lease], states: Mapping[int, DrainState], now: datetime, stopping: bool) -> LeaseRound:
        plan = plan_round(
            leases,
            me=self._me,
            now=now,
            lease_interval=self._lease_interval,
            lead=self._clocks.lead,
            states={one.partition: states[index] for one in leases if (index := self._partitions[one.partition]) in states},
            stopping=stopping,
            added=self._added,
        )
        # What was ever owned is the hub's (hub_resources): serving a queue that was added does not make it that.
        writes = [replace(one, owned_since=None) if one.partition in self._added else one for one in plan.writes]
        return replace(plan, writes=tuple(writes))

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
