"""How many operations an entity runs between two commits, after deaths and when a commit is too large for the store."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.entity_bench import call, lock, raised, signal
from support.functions import registry_of
from support.recording_backend import NarrowBackend, RecordingBackend

from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.entities.context import EntityContext
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import EntityRequest
from durable_ext.core.messages import OrchestrationInstance, OutgoingMessage, TaskMessage
from durable_ext.core.timestamps import Ticks
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.runtime.worker import TaskHubWorker
from durable_ext.testing.eventually import eventually

SETTINGS = WorkerSettings()
LIST = EntityId("keep", "one")
MANY = 100
LARGE = 100_000  # characters; a narrow store holds half as many


class Recorded:
    """A hub with an entity that keeps what it is told.

    `ran` are the operations that ran, also those without effect; `batches` how many commits were done when each did.
    """

    def __init__(self, backend: RecordingBackend, settings: WorkerSettings) -> None:
        self.backend = backend
        converter, codec = DataConverter(), JsonEntityCodec()
        self.client = DurableClient(backend.instances, converter=converter, entity_codec=codec)
        self.ran: list[int] = []
        self.batches: list[int] = []
        self.worker = TaskHubWorker(
            backend,
            registry_of(orchestrators=[call_all], entities=[self.keep]),
            settings=settings,
            converter=converter,
            entity_codec=codec,
        )

    def keep(self, context: EntityContext) -> int:
        number, size, *_ = context.get_input()
        self.ran.append(number)
        self.batches.append(self.commits)
        kept = [*context.get_state(list), str(number).ljust(size)]
        context.set_state(kept)
        return len(kept)

    async def signal(self, numbers: range, large: set[int]) -> None:
        for number in numbers:
            await self.client.signal_entity(LIST, "keep", [number, LARGE if number in large else 0])

    async def send(self, requests: Sequence[EntityRequest]) -> None:
        target = OrchestrationInstance(instance_id=LIST.instance_id)
        for number, request in enumerate(requests):
            message = TaskMessage(event=raised(request, Ticks(number)), target=target)
            await self.backend.instances.send(OutgoingMessage(message=message))

    async def kept(self) -> list[int]:
        found = await self.client.read_entity(LIST)
        return [int(text) for text in found.state_as() or ()]

    async def keeps(self, expected: Sequence[int]) -> bool:
        return await self.kept() == list(expected)

    @property
    def commits(self) -> int:
        return len(self.backend.checkpoints.get(LIST.instance_id, ()))


def call_all(context: Any) -> Any:
    answers = []
    for each in context.get_input():
        try:
            answers.append((yield context.call_entity(LIST, "keep", each)))
        except Exception as error:
            answers.append(str(error))
    return answers


def narrow(inner: SqliteBackend) -> RecordingBackend:
    return NarrowBackend(inner, limit=LARGE // 2)


@asynccontextmanager
async def hub_at(
    path: Path,
    kind: Callable[[SqliteBackend], RecordingBackend] = RecordingBackend,
    settings: WorkerSettings = SETTINGS,
) -> AsyncIterator[Recorded]:
    """A hub without a worker: the test starts it."""
    async with SqliteBackend(SqliteSettings(path=path, task_hub="Batches", synchronous="NORMAL")) as inner:
        hub = Recorded(kind(inner), settings)
        yield hub
        await hub.worker.stop()


async def test_after_a_death_batches_grow_again(tmp_path: Path) -> None:
    async with hub_at(tmp_path / "hub.db") as hub:
        await hub.signal(range(MANY), set())
        with closing(sqlite3.connect(tmp_path / "hub.db")) as connection, connection:
            connection.execute("UPDATE instances SET recovered = 1")
        await hub.worker.start()
        await eventually(lambda: hub.keeps(range(MANY)), "they do not run")
        commits = hub.commits

    assert hub.ran == list(range(MANY))
    assert commits <= 10


async def test_they_grow_no_faster_when_a_lock_is_granted_between(tmp_path: Path) -> None:
    async with hub_at(tmp_path / "hub.db") as hub:
        before = [signal("keep", [number, 0]) for number in range(2)]
        of_holder = [call("keep", [number, 0], parent="holder") for number in range(2, 12)]
        await hub.send([*before, replace(lock("holder", "one"), lock_set=(LIST,)), *of_holder])
        with closing(sqlite3.connect(tmp_path / "hub.db")) as connection, connection:
            connection.execute("UPDATE instances SET recovered = 1")
        await hub.worker.start()
        await eventually(lambda: hub.keeps(range(12)), "they do not run")

    assert [hub.batches.count(batch) for batch in sorted(set(hub.batches))] == [1, 1, 4, 6]


@pytest.mark.parametrize(("limit", "commits"), [(None, 1), (MANY, 1), (3, 34)])
async def test_a_batch_limit_changes_nothing_but_the_number_of_commits(
    tmp_path: Path, limit: int | None, commits: int
) -> None:
    async with hub_at(tmp_path / "hub.db", settings=WorkerSettings(max_entity_batch=limit)) as hub:
        await hub.signal(range(MANY), set())
        await hub.worker.start()
        await eventually(lambda: hub.keeps(range(MANY)), "they do not run")
        await hub.worker.drain()

    assert hub.ran == list(range(MANY))
    assert hub.commits == commits


async def test_a_call_whose_state_cannot_be_stored_fails_and_the_state_before_stays(tmp_path: Path) -> None:
    async with hub_at(tmp_path / "hub.db", narrow) as hub:
        await hub.worker.start()
        instance_id = await hub.client.start("call_all", [[0, 0], [1, LARGE], [2, 0]])
        status = await hub.client.wait_for_completion(instance_id)
        kept = await hub.kept()

    first, second, third = status.output
    assert (first, third) == (1, 2)
    assert "more than the 50000 that can be stored" in second
    assert kept == [0, 2]


@pytest.mark.parametrize("large", [{3}, {0, 1, 7}, set(range(MANY // 2, MANY))])
async def test_only_operations_that_cannot_be_stored_are_left_out(tmp_path: Path, large: set[int]) -> None:
    async with hub_at(tmp_path / "hub.db", narrow) as hub:
        await hub.signal(range(MANY), large)
        await hub.worker.start()
        await hub.signal(range(MANY, MANY + 1), set())
        await eventually(lambda: hub.keeps(sorted(set(range(MANY + 1)) - large)), "something is lost")

    assert len(hub.ran) <= 5 * MANY


async def test_calls_that_are_too_large_together_are_answered_without_being_stored_as_waiting(tmp_path: Path) -> None:
    async with hub_at(tmp_path / "hub.db", narrow) as hub:
        await hub.send([call("keep", [number, 0, "x" * 2_000]) for number in range(40)])
        await hub.worker.start()
        await eventually(lambda: hub.keeps(range(40)), "some have failed")

    assert hub.ran == list(range(40))
    assert hub.commits == 1
