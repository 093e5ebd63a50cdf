"""The loops that keep leases, beside a store that refuses every call at once: specs/azure-storage.md 7."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NoReturn

import pytest

from durable_ext.backends.azure_storage.blob_lease_rounds import BlobLeaseRounds
from durable_ext.backends.azure_storage.blob_leases import BlobLease
from durable_ext.backends.azure_storage.leases import DrainState, Lease
from durable_ext.backends.azure_storage.partition_keeper import LeaseRounds, PartitionKeeper
from durable_ext.backends.azure_storage.table_lease_rounds import TableLeaseRounds
from durable_ext.backends.azure_storage.transport.errors import StorageNotFoundError, StorageUnavailableError
from durable_ext.testing.clock import ManualClock

QUEUE = "hub-control-00"
MANY_TURNS = 500


class Listening:
    """Partition 0 is listened to, whatever the keeper does."""

    def __init__(self) -> None:
        self.states = {0: DrainState.LISTENING}

    def listens(self, partition: int) -> bool:
        return partition in self.states

    def listen(self, partition: int) -> None:
        self.states[partition] = DrainState.LISTENING

    def drain(self, partition: int) -> None:
        self.states[partition] = DrainState.DRAINED

    def lose(self, partition: int) -> None:
        self.states.pop(partition, None)

    forget = lose


class RefusingStore:
    """Table and blobs in an outage whose calls fail at once."""

    def __init__(self) -> None:
        self.calls = 0

    async def load(self) -> NoReturn:
        await self._refuse()

    async def list(self, *_: object) -> NoReturn:
        await self._refuse()

    async def renew_lease(self, *_: object) -> NoReturn:
        await self._refuse()

    async def upload(self, *_: object, **__: object) -> NoReturn:
        await self._refuse()

    async def _refuse(self) -> NoReturn:
        self.calls += 1
        await asyncio.sleep(0)
        raise StorageUnavailableError(call="any", why="out")


async def no_restoration() -> bool:
    return False


async def no_leases() -> None:
    return None


def leases_of(
    kind: str, store: Any, listening: Any, clock: ManualClock, restore: Callable[[], Awaitable[bool]] = no_restoration
) -> LeaseRounds:
    if kind == "table":
        return TableLeaseRounds(
            table=store,
            partitions={QUEUE: 0},
            partition_count=1,
            listening=listening,
            worker_id="me",
            lease_interval=timedelta(seconds=30),
            acquire_interval=timedelta(seconds=10),
            clock=clock,
            server_offset=timedelta,
            restore_hub=restore,
            restore_leases=no_leases,
        )
    leases = BlobLeaseRounds(
        blobs=store,
        container="leases",
        partitions={QUEUE: 0},
        partition_count=1,
        listening=listening,
        worker_id="me",
        lease_interval=timedelta(seconds=30),
        interval=timedelta(seconds=10),
        safe=kind == "safe",
        clock=clock,
        restore_hub=restore,
        restore_leases=no_leases,
    )
    for one in (leases._first, leases._ownership):
        if one is not None:
            one.held[QUEUE] = BlobLease(blob=f"any/{QUEUE}", partition=QUEUE, owner="me", token="t", is_leased=True)
    return leases


def keeper_of(
    kind: str, store: Any, listening: Any, clock: ManualClock, restore: Callable[[], Awaitable[bool]] = no_restoration
) -> PartitionKeeper:
    return PartitionKeeper(leases_of(kind, store, listening, clock, restore), listening, worker_id="me", clock=clock)


@asynccontextmanager
async def confirming(keeper: PartitionKeeper) -> AsyncIterator[None]:
    """A keeper that runs, and a checkpoint that waits until its lease is confirmed."""
    keeper.begin()
    tasks = [asyncio.ensure_future(keeper.run()), asyncio.ensure_future(keeper.confirm(0))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def turns() -> None:
    for _ in range(MANY_TURNS):
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", ["table", "safe", "legacy"])
async def test_who_waits_for_a_lease_in_an_outage_does_not_make_the_loop_spin(kind: str) -> None:
    store, clock = RefusingStore(), ManualClock()
    keeper = keeper_of(kind, store, Listening(), clock)
    async with confirming(keeper):
        for rounds in range(1, 21):
            await turns()
            assert store.calls <= rounds * 3
            assert store.calls >= rounds // 5  # who waits asks twice a second, after ten quick failures
            await clock.advance(timedelta(milliseconds=100))


@pytest.mark.parametrize("kind", ["table", "safe", "legacy"])
async def test_a_keeper_that_stops_in_an_outage_is_not_held_up_by_the_pause(kind: str) -> None:
    store, clock = RefusingStore(), ManualClock()
    keeper = keeper_of(kind, store, Listening(), clock)
    async with confirming(keeper):
        await turns()
        stopping = asyncio.ensure_future(keeper.stop())
        for _ in range(60):
            await clock.advance(timedelta(milliseconds=100))
        await asyncio.wait_for(stopping, 5)


class HalfMadeStore:
    """A hub that has gone; the first restoration makes the lease table and fails at its rows."""

    def __init__(self) -> None:
        self.restorations = 0

    async def load(self) -> list[Any]:
        if not self.restorations:
            raise StorageNotFoundError(call="table.query", status=404, code="TableNotFound")
        return []

    async def restore(self) -> bool:
        self.restorations += 1
        if self.restorations == 1:
            raise StorageUnavailableError(call="table.batch", why="out")
        return True


async def test_a_restoration_that_made_the_lease_table_and_not_its_rows_is_done_again() -> None:
    store, clock = HalfMadeStore(), ManualClock()
    running = asyncio.ensure_future(keeper_of("table", store, Listening(), clock, store.restore).run())
    for _ in range(5):
        await turns()
        await clock.advance(timedelta(milliseconds=100))
    running.cancel()
    assert store.restorations == 2


class StoreWithoutRow:
    """A Partitions table whose row somebody has deleted by hand; it cannot be made again."""

    def __init__(self) -> None:
        self.calls = 0

    async def load(self) -> list[Any]:
        self.calls += 1
        await asyncio.sleep(0)
        return []


async def test_who_waits_for_a_lease_that_nobody_can_find_causes_two_rounds_a_second() -> None:
    store, clock = StoreWithoutRow(), ManualClock()
    keeper = keeper_of("table", store, Listening(), clock)
    async with confirming(keeper):
        for seconds in range(1, 6):
            await turns()
            assert store.calls <= seconds * 6  # a round that finds no row looks twice
            for _ in range(10):
                await clock.advance(timedelta(milliseconds=100))


class Rows:
    """The Partitions table of a hub of one partition and one that a client has added; both are ours."""

    def __init__(self, clock: ManualClock) -> None:
        end = clock.now() + timedelta(seconds=30)
        self.leases = [Lease(partition=name, owner="me", expires_at=end) for name in (QUEUE, "hub-control-01")]

    async def load(self) -> list[Lease]:
        return self.leases

    async def write(self, leases: Sequence[Lease]) -> None:
        written = {lease.partition: lease for lease in leases}
        self.leases = [written.get(lease.partition, lease) for lease in self.leases]


async def test_a_partition_whose_row_is_gone_is_not_served_any_more() -> None:
    clock, listening = ManualClock(), Listening()
    rows = Rows(clock)
    rounds = TableLeaseRounds(
        table=rows,  # type: ignore[arg-type]
        partitions={QUEUE: 0, "hub-control-01": 1},
        partition_count=1,
        listening=listening,  # type: ignore[arg-type]
        worker_id="me",
        lease_interval=timedelta(seconds=30),
        acquire_interval=timedelta(seconds=10),
        clock=clock,
        server_offset=timedelta,
        restore_hub=no_restoration,
        restore_leases=no_leases,
    )
    await rounds.run_once(stopping=False)
    served = set(listening.states)

    del rows.leases[1]
    await rounds.run_once(stopping=False)

    assert (served, set(listening.states)) == ({0, 1}, {0})
    assert not rounds.is_valid(1)
