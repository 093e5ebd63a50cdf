"""Several processes on one hub file: killed, stopped, blocking, and working together."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.sqlite_process import settings

from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.instances import InstanceFilter
from durable_ext.core.messages import InstanceId
from durable_ext.errors import BackendUnavailableError
from durable_ext.testing.contract_scenes import ANY_STATUS, Scene, start_event
from durable_ext.testing.eventually import eventually

PATIENCE = timedelta(seconds=30)
SCRIPT = Path(__file__).parents[1] / "support" / "sqlite_process.py"
Launch = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@pytest.fixture
def hub_file(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


@pytest.fixture
def launch(hub_file: Path, task_hub: str) -> Iterator[Launch]:
    """Start `sqlite_process.py` in a role; all are killed at the end."""
    processes: list[subprocess.Popen[str]] = []

    def start(role: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), role, str(hub_file), task_hub],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
async def client(hub_file: Path, task_hub: str) -> AsyncIterator[SqliteBackend]:
    """A backend in this process, without a worker."""
    async with SqliteBackend(settings(hub_file, task_hub)) as backend:
        yield backend


async def line_of(process: subprocess.Popen[str]) -> str:
    """The next line that a process prints."""
    assert process.stdout is not None
    return (await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), PATIENCE.total_seconds())).strip()


def tell(process: subprocess.Popen[str], word: str = "go") -> None:
    assert process.stdin is not None
    process.stdin.write(word + "\n")
    process.stdin.flush()


async def test_a_killed_process_loses_nothing_that_it_had_acknowledged(
    launch: Launch, hub_file: Path, task_hub: str
) -> None:
    acknowledged: dict[str, int] = {}
    for lines in (7, 19, 31, 43):
        process = launch("acknowledge")
        for _ in range(lines):
            instance_id, events = (await line_of(process)).split()
            acknowledged[instance_id] = int(events)
        process.kill()
        await asyncio.to_thread(process.wait)

    async with SqliteBackend(settings(hub_file, task_hub)) as backend:
        stored = {
            instance_id: len(await backend.instances.get_history(InstanceId(instance_id))) for instance_id in acknowledged
        }

    assert len(acknowledged) > 10
    assert {instance_id: events for instance_id, events in acknowledged.items() if stored[instance_id] < events} == {}


async def test_a_process_that_was_stopped_for_too_long_commits_nothing(launch: Launch, client: SqliteBackend) -> None:
    process = launch("hold")
    instance_id = InstanceId(await line_of(process))
    process.send_signal(signal.SIGSTOP)
    await client.start_worker()
    session = await Scene(client, PATIENCE).session()
    stored = await client.instances.get_history(instance_id)

    process.send_signal(signal.SIGCONT)
    tell(process)
    answer = await line_of(process)

    assert session.instance.instance_id == instance_id
    assert answer == "conflict"
    assert await client.instances.get_history(instance_id) == stored


async def test_a_process_that_was_stopped_for_a_moment_goes_on(launch: Launch, client: SqliteBackend) -> None:
    process = launch("hold")
    instance_id = InstanceId(await line_of(process))
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGCONT)

    tell(process)

    assert await line_of(process) == "committed"
    assert len(await client.instances.get_history(instance_id)) == 5


async def test_two_workers_and_a_client_finish_everything_once(launch: Launch, client: SqliteBackend) -> None:
    workers = [launch("work"), launch("work")]
    for worker in workers:
        assert await line_of(worker) == "ready"
    wanted = [f"job-{number:03d}" for number in range(200)]
    for instance_id in wanted:
        await client.instances.create_instance(start_event(instance_id), reject=ANY_STATUS)

    async def all_done() -> bool:
        done = InstanceFilter(statuses=frozenset({OrchestrationStatus.COMPLETED}))
        return len((await client.instances.query_instances(done, page_size=500)).rows) == len(wanted)

    await eventually(all_done, "not everything was finished", within=PATIENCE)

    histories = [len(await client.instances.get_history(InstanceId(instance_id))) for instance_id in wanted]
    rows = (await client.instances.query_instances(InstanceFilter(), page_size=500)).rows
    assert set(histories) == {5}
    assert {row.output for row in rows} <= {str(worker.pid) for worker in workers}


async def test_a_process_that_blocks_all_writers_is_named(launch: Launch, client: SqliteBackend, hub_file: Path) -> None:
    process = launch("block")
    assert await line_of(process) == "blocking"
    process.send_signal(signal.SIGSTOP)

    with pytest.raises(BackendUnavailableError) as blocked:
        await client.instances.create_instance(start_event("blocked"), reject=ANY_STATUS)
    process.kill()
    await asyncio.to_thread(process.wait)
    await client.instances.create_instance(start_event("free"), reject=ANY_STATUS)

    assert str(hub_file) in str(blocked.value)
    assert not sys.platform.startswith("linux") or f"Process {process.pid} (stopped)" in str(blocked.value)
    assert await client.instances.get_instance(InstanceId("blocked")) is None
    assert await client.instances.get_instance(InstanceId("free")) is not None


async def test_reading_goes_on_while_a_process_blocks_all_writers(launch: Launch, client: SqliteBackend) -> None:
    await client.instances.create_instance(start_event("there"), reject=ANY_STATUS)
    process = launch("block")
    assert await line_of(process) == "blocking"

    row = await client.instances.get_instance(InstanceId("there"))

    assert row is not None
