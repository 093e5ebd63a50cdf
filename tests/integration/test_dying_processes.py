"""Worker processes that die, or stand still, in the middle of their activities."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import pytest
from support.mortal_worker import SLOTS, STEPS, backend_of
from support.store_place import place_of

from durable_ext.backends.azure_storage.message_codec import DeliveryMarks, marks_of, with_marks
from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.backends.azure_storage.transport.queue import MessageReceipt
from durable_ext.backends.protocol import Backend
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.messages import InstanceId
from durable_ext.testing.eventually import eventually

ROOT = Path(__file__).parents[2]
WORKER = ROOT / "tests" / "support" / "mortal_worker.py"
PATIENCE = timedelta(seconds=60)
STORES = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("azure", id="azure", marks=[pytest.mark.azurite]),
]


class Fleet:
    """Processes on one hub, and a client of it in this process."""

    def __init__(self, store: str, place: str, folder: Path, backend: Backend, client: DurableClient) -> None:
        self._backend = backend
        self._store, self.place, self.log, self.client = store, place, folder / "activities.log", client
        self._processes: list[asyncio.subprocess.Process] = []

    async def launch(self, local: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(WORKER), self._store, self.place, "MortalHub", str(self.log), local, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        )  # fmt: skip
        self._processes.append(process)
        return process

    async def die(self, times: int) -> None:
        """Launch processes that end by themselves, one after the other."""
        for _ in range(times):
            process = await self.launch("on")
            await asyncio.wait_for(process.wait(), PATIENCE.total_seconds())

    async def counts(self, entity: EntityId, state: int) -> bool:
        """Whether the state of an entity is this number."""
        snapshot = await self.client.read_entity(entity)
        return snapshot.exists and snapshot.state == state

    def begun(self) -> list[tuple[str, int]]:
        """Return what was begun, by which process."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines]

    async def has_history(self) -> bool:
        return bool(await self._backend.instances.get_history(InstanceId("first")))

    async def end(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            await process.wait()


@asynccontextmanager
async def fleet_on(store: str, folder: Path) -> AsyncIterator[Fleet]:
    with place_of(store, folder) as place:
        async with backend_of(store, place, "MortalHub") as backend:
            client = DurableClient(backend.instances, converter=DataConverter(), entity_codec=JsonEntityCodec())
            fleet = Fleet(store, place, folder, backend, client)
            try:
                yield fleet
            finally:
                await fleet.end()


@pytest.mark.slow
@pytest.mark.parametrize("local", ["on", "off"])
@pytest.mark.parametrize(("orchestrator", "at_once"), [("together", SLOTS), ("one_by_one", 1)])
@pytest.mark.parametrize("store", STORES)
async def test_a_process_that_stood_still_begins_nothing_that_another_one_has_done(
    tmp_path: Path, store: str, orchestrator: str, at_once: int, local: str
) -> None:
    async with fleet_on(store, tmp_path) as fleet:
        sleeper = await fleet.launch(local)
        await fleet.client.start(orchestrator, instance_id="first")
        await eventually(lambda: len(fleet.begun()) >= at_once, "nothing begins", within=PATIENCE)
        # Before its history is written the episode is played again, and its activities with it. On Azure Storage also with
        # local activities: of a start message that waited for a worker for long nobody knows whether one has died with it.
        if local == "off" or store == "azure":
            await eventually(fleet.has_history, "no history", within=PATIENCE)
        sleeper.send_signal(signal.SIGSTOP)
        other = await fleet.launch(local)
        status = await fleet.client.wait_for_completion("first", timeout=PATIENCE)
        other.kill()
        await other.wait()
        before = [name for name, process in fleet.begun() if process == sleeper.pid]
        sleeper.send_signal(signal.SIGCONT)
        await fleet.client.start(orchestrator, instance_id="second")  # only the one that stood still is left
        await fleet.client.wait_for_completion("second", timeout=PATIENCE)

        mine = [name for name, process in fleet.begun() if process == sleeper.pid and name.startswith("first")]
        assert status.output == [f"first-{number}" for number in range(STEPS)]
        assert mine == before


async def without_pauses(store: str, folder: Path) -> None:
    """Make the embedded hub's activities visible, however long they ought to wait; for ever."""
    while store == "sqlite":
        await asyncio.sleep(0.2)
        with closing(sqlite3.connect(folder / "hub.db", timeout=30)) as connection, connection:
            connection.execute("UPDATE activities SET visible_at = 0 WHERE lock_owner IS NULL AND visible_at > 0")


@pytest.mark.slow
@pytest.mark.parametrize("store", STORES)
async def test_an_activity_that_kills_ten_processes_fails_and_its_neighbours_do_not(tmp_path: Path, store: str) -> None:
    async with fleet_on(store, tmp_path) as fleet:
        process = await fleet.launch("off")
        await fleet.client.start("call_deadly", instance_id="deadly")
        for number in range(3):
            await fleet.client.start("together", instance_id=f"near-{number}")
        hurry = asyncio.ensure_future(without_pauses(store, tmp_path))
        ending = asyncio.ensure_future(fleet.client.wait_for_completion("deadly", timeout=4 * PATIENCE))
        while not ending.done():
            dying = asyncio.ensure_future(process.wait())
            await asyncio.wait((ending, dying), return_when=asyncio.FIRST_COMPLETED)
            if dying.done():
                process = await fleet.launch("off")
        near = [await fleet.client.wait_for_completion(f"near-{number}", timeout=PATIENCE) for number in range(3)]
        hurry.cancel()

        deadly = ending.result()
        assert deadly.runtime_status is OrchestrationStatus.FAILED
        assert "activity 'deadly' was started 10 times and its process died each time" in str(deadly.output)
        # Only what came back is counted: not its first run, and not the one in the process that sent it.
        assert 10 <= [name for name, _ in fleet.begun()].count("deadly") <= 12
        assert [status.runtime_status for status in near] == [OrchestrationStatus.COMPLETED] * 3


@pytest.mark.slow
@pytest.mark.parametrize("store", STORES)
async def test_an_activity_that_dying_processes_only_held_is_run_in_the_end(tmp_path: Path, store: str) -> None:
    async with fleet_on(store, tmp_path) as fleet:
        await fleet.client.start("one_by_one", instance_id="held")
        for number in range(12):
            process = await fleet.launch("hold")
            await eventually(lambda: len(fleet.begun()) > number, "nobody takes the activity", within=PATIENCE)  # noqa: B023
            process.kill()
            await process.wait()
        await fleet.launch("off")
        status = await fleet.client.wait_for_completion("held", timeout=PATIENCE)

        assert [name for name, _ in fleet.begun()][:12] == ["held"] * 12
        assert status.output == [f"held-{number}" for number in range(STEPS)]


async def as_after_twenty_deaths(store: str, fleet: Fleet, folder: Path, instance_id: str = "killer") -> None:
    """Write into the hub that twenty workers have died with an instance; at least two have."""
    if store == "sqlite":
        with closing(sqlite3.connect(folder / "hub.db")) as connection, connection:
            which = "WHERE instance_id = ?"
            assert connection.execute(f"SELECT recovered FROM instances {which}", (instance_id,)).fetchone()[0] >= 2
            values = "recovered = 20, lock_owner = NULL, wake_at = 0"  # and the longest pause
            connection.execute(f"UPDATE instances SET {values} {which}", (instance_id,))
        return
    transport = open_lean_transport(account_from_connection_string(fleet.place))
    marked = 0
    while not marked:  # it is hidden for two seconds after a death
        for message in await transport.queues.get("mortalhub-control-00", count=32, visibility=1):
            receipt = MessageReceipt(message.message_id, message.pop_receipt)
            if instance_id in message.text:
                marked = marks_of(message.text).begun
                await transport.queues.hide(
                    "mortalhub-control-00", receipt, visibility=0, text=with_marks(message.text, DeliveryMarks(begun=20))
                )
    await transport.close()
    assert marked >= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "says"),
    [(OrchestrationStatus.TERMINATED, "enough"), (OrchestrationStatus.FAILED, "died 20 times in a row")],
)
@pytest.mark.parametrize("store", STORES)
async def test_an_orchestrator_that_kills_its_process_can_be_terminated_and_fails_in_the_end(
    tmp_path: Path, store: str, end: OrchestrationStatus, says: str
) -> None:
    async with fleet_on(store, tmp_path) as fleet:
        await fleet.client.start("kills", instance_id="killer")
        for number in range(3):
            await fleet.client.start("together", instance_id=f"near-{number}")
        await fleet.die(4 if store == "sqlite" else 5)  # Azure Storage does not know of the first one
        if end is OrchestrationStatus.TERMINATED:
            await fleet.client.terminate("killer", "enough")
        else:
            await as_after_twenty_deaths(store, fleet, tmp_path)
        await fleet.launch("on")
        status = await fleet.client.wait_for_completion("killer", timeout=2 * PATIENCE)
        near = [await fleet.client.wait_for_completion(f"near-{number}", timeout=PATIENCE) for number in range(3)]

        assert status.runtime_status is end
        assert says in str(status.output)
        assert [each.runtime_status for each in near] == [OrchestrationStatus.COMPLETED] * 3


@pytest.mark.slow
@pytest.mark.parametrize("store", STORES)
async def test_a_signal_that_kills_its_process_is_dropped_in_the_end_and_its_neighbours_count_once(
    tmp_path: Path, store: str
) -> None:
    mortal = EntityId("mortal", "signalled")
    async with fleet_on(store, tmp_path) as fleet:
        for operation, value in (("add", 1), ("die", None), ("add", 2), ("add", 4)):
            await fleet.client.signal_entity(mortal, operation, value)
        await fleet.die(deaths := 4 if store == "sqlite" else 6)
        await as_after_twenty_deaths(store, fleet, tmp_path, mortal.instance_id)
        await fleet.launch("on")
        await eventually(lambda: fleet.counts(mortal, 7), "its neighbours are not counted", within=PATIENCE)
        begun = [name for name, _ in fleet.begun()]

        assert begun.count("signalled-die") == deaths


@pytest.mark.slow
@pytest.mark.parametrize("store", STORES)
async def test_a_call_that_kills_the_process_of_an_entity_fails_in_the_end(tmp_path: Path, store: str) -> None:
    async with fleet_on(store, tmp_path) as fleet:
        await fleet.client.start("call_mortal", instance_id="caller")
        await fleet.die(3 if store == "sqlite" else 4)
        await as_after_twenty_deaths(store, fleet, tmp_path, "@mortal@called")
        await fleet.launch("on")
        status = await fleet.client.wait_for_completion("caller", timeout=2 * PATIENCE)

        assert status.runtime_status is OrchestrationStatus.FAILED
        assert "operation 'die' was started 20 times in a row" in str(status.output)
