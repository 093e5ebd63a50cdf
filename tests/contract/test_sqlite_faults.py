"""What the embedded store says about files it cannot use, and what it keeps when a write fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable_ext.aio.clock import SystemClock
from durable_ext.aio.supervisor import LoopFailedError
from durable_ext.backends.protocol import Checkpoint
from durable_ext.backends.sqlite.connection import Connection, connect
from durable_ext.backends.sqlite.schema import SCHEMA_VERSION, bundled_migrations, bundled_schema, prepare_schema
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.core.messages import InstanceId
from durable_ext.core.timestamps import TICKS_PER_SECOND
from durable_ext.errors import (
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    InstanceAlreadyExistsError,
)
from durable_ext.testing.contract_scenes import ANY_STATUS, RUNNING_STATUSES, Scene, next_episode, now, start_event
from durable_ext.testing.eventually import eventually

PATIENCE = timedelta(seconds=10)


@pytest.fixture
def hub_file(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


@pytest.fixture
async def backend(hub_file: Path, task_hub: str) -> AsyncIterator[SqliteBackend]:
    async with SqliteBackend(SqliteSettings(path=hub_file, task_hub=task_hub)) as opened:
        await opened.start_worker()
        yield opened


async def open_error(path: Path, task_hub: str = "Hub") -> str:
    """The text with which opening fails."""
    with pytest.raises(ConfigurationError) as refused:
        await SqliteBackend(SqliteSettings(path=path, task_hub=task_hub)).open()
    assert str(path) in str(refused.value)
    return str(refused.value)


# ---- files that cannot be used ----


async def test_missing_folders_are_created(tmp_path: Path, task_hub: str) -> None:
    path = tmp_path / "app" / ".durable" / "hub.db"

    async with SqliteBackend(SqliteSettings(path=path, task_hub=task_hub)) as backend:
        assert await backend.hub.exists()


async def test_a_folder_that_cannot_be_created_is_named(backend: SqliteBackend, hub_file: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be created"):
        await SqliteBackend(SqliteSettings(path=hub_file / "hub.db", task_hub=backend.task_hub)).open()


@pytest.fixture
def damaged_file(hub_file: Path) -> Path:
    hub_file.write_bytes(b"these are not the bytes of a database" * 100)
    return hub_file


async def test_a_file_that_is_no_database_is_refused(damaged_file: Path) -> None:
    assert "no usable SQLite database" in await open_error(damaged_file)


async def test_a_database_of_another_program_is_refused_and_kept(hub_file: Path) -> None:
    with sqlite3.connect(hub_file) as other:
        other.execute("CREATE TABLE customers (name TEXT)")
    other.close()

    assert "another program" in await open_error(hub_file)
    left = sqlite3.connect(hub_file)
    assert left.execute("SELECT name FROM sqlite_master").fetchall() == [("customers",)]
    left.close()


async def test_a_file_of_a_newer_version_is_refused_and_kept(hub_file: Path, backend: SqliteBackend) -> None:
    await backend.instances.create_instance(start_event("kept"), reject=ANY_STATUS)
    await backend.close()
    newer = sqlite3.connect(hub_file)
    newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    newer.close()

    text = await open_error(hub_file, backend.task_hub)

    assert f"version {SCHEMA_VERSION + 1}" in text
    kept = sqlite3.connect(hub_file)
    assert kept.execute("SELECT instance_id FROM instances").fetchall() == [("kept",)]
    kept.close()


async def test_a_file_of_another_hub_is_refused(hub_file: Path, backend: SqliteBackend) -> None:
    text = await open_error(hub_file, "AnotherHub")

    assert f"'{backend.task_hub}', not 'AnotherHub'" in text


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_read_only_file_is_refused_with_its_path(tmp_path: Path) -> None:
    """In a process of its own that is not root, because root may write anything."""
    folder = tmp_path / "hub"
    folder.mkdir()
    path = folder / "hub.db"
    asyncio.run(_make_hub(path))
    path.chmod(0o444)
    folder.chmod(0o555)
    script = (
        "import asyncio, concurrent.futures.thread, os, sys\n"
        "from pathlib import Path\n"
        "from durable_ext.backends.sqlite.service import SqliteBackend\n"
        "from durable_ext.backends.sqlite.settings import SqliteSettings\n"
        "async def main():\n"
        "    backend = SqliteBackend(SqliteSettings(path=Path(sys.argv[1]), task_hub='Hub'))\n"
        "    os.geteuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534))\n"
        "    try:\n"
        "        await backend.open()\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error)\n"
        "asyncio.run(main())\n"
    )
    for parent in [tmp_path, *tmp_path.parents][:4]:  # under xdist one more folder than without
        if parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o055)

    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    folder.chmod(0o755)

    assert done.stdout.startswith("ConfigurationError")
    assert str(path) in done.stdout
    assert "write permission" in done.stdout


async def _make_hub(path: Path) -> None:
    async with SqliteBackend(SqliteSettings(path=path, task_hub="Hub")):
        pass


async def test_a_closed_backend_says_that_it_is_not_open(backend: SqliteBackend) -> None:
    instances = backend.instances
    await backend.close()
    await backend.close()

    with pytest.raises(BackendError, match="not open"):
        _ = backend.instances
    with pytest.raises(BackendUnavailableError, match="closed"):
        await instances.get_instance(InstanceId("any"))


async def test_closing_ends_the_waiting_of_clients(backend: SqliteBackend) -> None:
    await backend.instances.create_instance(start_event("waited-for"), reject=ANY_STATUS)
    row = await backend.instances.get_instance(InstanceId("waited-for"))
    waiting = asyncio.gather(
        backend.instances.wait_for_change(InstanceId("waited-for"), row, PATIENCE), return_exceptions=True
    )
    await asyncio.sleep(0)

    await backend.close()
    (ended,) = await waiting

    assert isinstance(ended, BackendUnavailableError)
    assert "waited-for" in str(ended)


# ---- writes that fail ----


async def limit_pages(backend: SqliteBackend, spare: int | None) -> None:
    """Let the file grow by so many pages only, which is how SQLite sees a full disk; `None`: no limit."""

    def set_limit(connection: Connection, limits: list[int | None]) -> list[None]:
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        limit = 1_000_000_000 if limits[0] is None else used + limits[0]
        connection.execute(f"PRAGMA max_page_count = {limit}").fetchone()
        return [None]

    assert backend._opened is not None
    await backend._opened.writer.submit(set_limit, spare)


async def test_a_full_disk_is_an_error_and_nothing_is_lost(backend: SqliteBackend) -> None:
    scene = Scene(backend, PATIENCE)
    session, start = await scene.started_session()
    execution_id = start.instance.execution_id
    assert execution_id is not None
    await limit_pages(backend, 20)
    huge = start_event("huge", input='"' + "x" * 1_000_000 + '"')

    with pytest.raises(BackendUnavailableError, match="full"):
        await backend.instances.create_instance(huge, reject=ANY_STATUS)
    await limit_pages(backend, None)
    await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode()))
    await backend.instances.create_instance(huge, reject=ANY_STATUS)

    assert len(await backend.instances.get_history(start.instance.instance_id)) == 5
    assert await backend.instances.get_instance(InstanceId("huge")) is not None


async def test_a_session_whose_checkpoint_failed_is_handed_out_again_when_there_is_space(backend: SqliteBackend) -> None:
    scene = Scene(backend, PATIENCE)
    start = await scene.start(input='"' + "x" * 1_000_000 + '"')
    session = await scene.session()
    await limit_pages(backend, 10)

    with pytest.raises(BackendUnavailableError, match="full"):
        await scene.begin(session)
    await session.abandon()
    await limit_pages(backend, None)
    again = await scene.session()
    await scene.begin(again)

    assert again.instance.instance_id == start.instance.instance_id
    assert len(await backend.instances.get_history(start.instance.instance_id)) == 3


@pytest.mark.skipif(os.name != "posix", reason="an open file cannot be moved elsewhere")
async def test_nothing_is_acknowledged_into_a_file_that_was_moved_away(backend: SqliteBackend, hub_file: Path) -> None:
    aside = hub_file.with_suffix(".aside")
    await backend.instances.create_instance(start_event("before"), reject=ANY_STATUS)
    os.rename(hub_file, aside)

    with pytest.raises(BackendUnavailableError, match="deleted or replaced") as missing:
        await backend.instances.create_instance(start_event("meanwhile"), reject=ANY_STATUS)
    shutil.copy(aside, hub_file)
    with pytest.raises(BackendUnavailableError, match="deleted or replaced"):
        await backend.instances.create_instance(start_event("meanwhile"), reject=ANY_STATUS)
    os.replace(aside, hub_file)
    await backend.instances.create_instance(start_event("after"), reject=ANY_STATUS)

    assert str(hub_file) in str(missing.value)
    assert await backend.instances.get_instance(InstanceId("meanwhile")) is None
    assert await backend.instances.get_instance(InstanceId("after")) is not None


@pytest.mark.skipif(os.name != "posix", reason="an open file cannot be moved elsewhere")
async def test_a_file_that_is_gone_is_said_once_each_time(
    hub_file: Path, task_hub: str, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> int:
        return sum(getattr(record, "event", "") == "housekeeping_failed" for record in caplog.records)

    async def tell_of_missing_file(so_often: int) -> None:
        os.rename(hub_file, aside)
        await eventually(lambda: _at_once(told() == so_often), "the missing file is not noticed")
        later = time.monotonic() + 0.3
        await eventually(lambda: _at_once(time.monotonic() > later), "time stands still")

    aside = hub_file.with_suffix(".aside")
    settings = SqliteSettings(path=hub_file, task_hub=task_hub, heartbeat=timedelta(milliseconds=20))
    async with SqliteBackend(settings) as backend:
        await backend.start_worker()
        await tell_of_missing_file(1)
        first = told()
        os.rename(aside, hub_file)
        await backend.instances.create_instance(start_event("between"), reject=ANY_STATUS)
        await tell_of_missing_file(2)
        os.rename(aside, hub_file)

    assert (first, told()) == (1, 2)


async def _at_once(value: bool) -> bool:
    return value


class StoppedClock(SystemClock):
    """A clock by which nobody can sleep."""

    def sleep(self, seconds: float) -> Any:
        raise OSError("the clock has stopped")


async def test_a_loop_that_dies_is_told_to_whoever_started_the_worker(hub_file: Path, task_hub: str) -> None:
    told: list[LoopFailedError] = []
    async with SqliteBackend(SqliteSettings(path=hub_file, task_hub=task_hub), StoppedClock()) as backend:
        await backend.start_worker(told.append)
        later = start_event("later", scheduled_start_time=now() + 3_600 * TICKS_PER_SECOND)
        await backend.instances.create_instance(later, reject=ANY_STATUS)
        await eventually(lambda: told, "the death of the loop is not reported", within=PATIENCE)

    assert [failure.loop_name for failure in told] == ["sqlite.alarm"]
    assert str(told[0].__cause__) == "the clock has stopped"


async def test_one_refused_write_does_not_take_its_group_with_it(backend: SqliteBackend) -> None:
    await backend.instances.create_instance(start_event("taken"), reject=ANY_STATUS)

    results = await asyncio.gather(
        *[backend.instances.create_instance(start_event(f"new-{number}"), reject=RUNNING_STATUSES) for number in range(5)],
        backend.instances.create_instance(start_event("taken"), reject=RUNNING_STATUSES),
        return_exceptions=True,
    )

    assert [type(result) for result in results if result is not None] == [InstanceAlreadyExistsError]
    assert await backend.instances.get_instance(InstanceId("new-4")) is not None


async def test_a_value_that_sqlite_refuses_fails_alone(backend: SqliteBackend) -> None:
    too_late = start_event("bad", generation=1 << 70)

    results = await asyncio.gather(
        backend.instances.create_instance(start_event("good"), reject=ANY_STATUS),
        backend.instances.create_instance(too_late, reject=ANY_STATUS),
        return_exceptions=True,
    )

    assert results[0] is None
    assert isinstance(results[1], OverflowError)
    assert await backend.instances.get_instance(InstanceId("good")) is not None


async def test_texts_that_utf8_forbids_are_kept(backend: SqliteBackend) -> None:
    odd = '"\ud800 lone"'
    scene = Scene(backend, PATIENCE)
    await scene.start("odd", input=odd, name="n\udfff")
    session = await scene.session()
    await scene.begin(session)
    await session.release()

    row = await backend.instances.get_instance(InstanceId("odd"))
    history = await backend.instances.get_history(InstanceId("odd"))

    assert row is not None
    assert (row.input, row.name) == (odd, "n\udfff")
    assert history[1].input == odd  # type: ignore[attr-defined]


# ---- schema ----


def shape_of(connection: Connection) -> list[tuple[str, str]]:
    """Tables and indexes with their columns, as SQLite sees them."""
    objects = connection.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite%' ORDER BY name")
    return [
        (name, str(connection.execute(f"PRAGMA {'table' if kind == 'table' else 'index'}_info({name})").fetchall()))
        for kind, name in objects.fetchall()
    ]


def test_every_version_since_the_first_has_a_migration() -> None:
    assert sorted(bundled_migrations()) == list(range(2, SCHEMA_VERSION + 1))


def test_migrations_lead_an_older_file_to_the_newest_schema(hub_file: Path) -> None:
    newest = bundled_schema() + "CREATE TABLE extra (value INTEGER);"
    old = connect(hub_file, "NORMAL")
    prepare_schema(old, hub_file)
    old.execute("INSERT INTO hub (task_hub, created_at) VALUES ('Kept', 1)")

    prepare_schema(
        old,
        hub_file,
        version=SCHEMA_VERSION + 1,
        schema=newest,
        migrations={SCHEMA_VERSION + 1: "CREATE TABLE extra (value INTEGER);"},
    )
    fresh = connect(hub_file.with_name("fresh.db"), "NORMAL")
    prepare_schema(fresh, hub_file, version=SCHEMA_VERSION + 1, schema=newest)

    assert shape_of(old) == shape_of(fresh)
    assert old.execute("SELECT task_hub FROM hub").fetchall() == [("Kept",)]
    assert old.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
    old.close()
    fresh.close()


def test_a_file_of_version_1_becomes_one_of_version_2(hub_file: Path) -> None:
    schema_1 = bundled_schema().replace("body TEXT NOT NULL,\n  deaths INTEGER NOT NULL DEFAULT 0", "body TEXT NOT NULL")
    old = connect(hub_file, "NORMAL")
    prepare_schema(old, hub_file, version=1, schema=schema_1)
    old.execute("INSERT INTO activities (n, visible_at, dequeue_count, body) VALUES (1, 0, 3, '{}')")

    prepare_schema(old, hub_file, version=2)
    fresh = connect(hub_file.with_name("fresh.db"), "NORMAL")
    prepare_schema(fresh, hub_file, version=2)

    assert shape_of(old) == shape_of(fresh)
    assert old.execute("SELECT dequeue_count, deaths FROM activities").fetchall() == [(3, 0)]
    old.close()
    fresh.close()


def test_a_failing_migration_leaves_the_file_as_it_was(hub_file: Path) -> None:
    connection = connect(hub_file, "NORMAL")
    prepare_schema(connection, hub_file)
    before = shape_of(connection)
    broken = {SCHEMA_VERSION + 1: "CREATE TABLE extra (value INTEGER); CREATE TABLE extra (value INTEGER);"}

    with pytest.raises(sqlite3.OperationalError):
        prepare_schema(connection, hub_file, version=SCHEMA_VERSION + 1, migrations=broken)

    assert shape_of(connection) == before
    assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    connection.close()
