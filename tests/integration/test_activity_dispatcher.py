"""In which order the dispatcher of activities begins what it has claimed and what it has to fetch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from durable_ext.aio.clock import SystemClock
from durable_ext.aio.slots import Slots
from durable_ext.aio.supervisor import Supervisor
from durable_ext.backends.protocol import ActivityStore, ActivityWorkItem, Checkpoint
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.events import HistoryEvent
from durable_ext.runtime.activities import ActivityDispatcher, ActivityRunner
from durable_ext.runtime.executors import Executors
from durable_ext.runtime.http_activity import HttpActivity
from durable_ext.runtime.lifecycle_log import LeftToOthers
from durable_ext.runtime.registry import ActivityDefinition, FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.runtime.ticks import tick_source
from durable_ext.testing.contract_activities import tasks
from durable_ext.testing.contract_scenes import Scene, activity, next_episode
from durable_ext.testing.eventually import eventually

PATIENCE = timedelta(seconds=10)
CLAIMED = 20
VISIBLE = CLAIMED  # the number of the one activity that is for any worker
SOON = 5


class AnsweringStore:
    """A store of activities that tells when it is not being asked for one."""

    def __init__(self, store: ActivityStore) -> None:
        self._store = store
        self.has_answered = asyncio.Event()
        self.has_answered.set()

    async def lock_next_activity(self, wait: timedelta) -> ActivityWorkItem | None:
        self.has_answered.clear()
        try:
            return await self._store.lock_next_activity(wait)
        finally:
            self.has_answered.set()

    async def begin(self, item: ActivityWorkItem) -> bool:
        return await self._store.begin(item)

    async def complete(self, item: ActivityWorkItem, result: HistoryEvent) -> None:
        await self._store.complete(item, result)

    async def abandon(self, item: ActivityWorkItem) -> None:
        await self._store.abandon(item)

    async def release(self, item: ActivityWorkItem) -> None:
        await self._store.release(item)


class BusyWorker:
    """One slot; whenever a claimed activity begins, one more is claimed. So until there are no more, one is in line.

    An activity does not end while the dispatcher waits for an answer of the store, so that speed does not decide the order.

    Attributes:
        began: The numbers of the activities, in the order in which they began.
    """

    def __init__(self, store: ActivityStore, claimed: Iterable[ActivityWorkItem]) -> None:
        self.began: list[int] = []
        self._store, self._claimed = AnsweringStore(store), deque(claimed)
        self._work, settings = Supervisor("worker"), WorkerSettings()
        registry = FunctionRegistry()
        registry.add_activity(ActivityDefinition(name="SayHello", call=self._run, is_async=True))
        now, http = tick_source(SystemClock()), HttpActivity().definition
        runner = ActivityRunner(registry, http, DataConverter(), Executors(settings), now)
        self._dispatcher = ActivityDispatcher(self._store, runner, Slots(1), self._work, LeftToOthers())

    async def _run(self, number: int) -> None:
        self.began.append(number)
        self._claim_one()
        if VISIBLE not in self.began:  # afterwards the dispatcher asks for what is not there
            await self._store.has_answered.wait()

    def _claim_one(self) -> None:
        if self._claimed:
            self._dispatcher.run_claimed([self._claimed.popleft()])

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        self._claim_one()
        self._claim_one()
        self._work.start("activities", self._dispatcher.run())
        try:
            yield
        finally:
            await self._work.stop()


async def test_what_is_visible_to_all_begins_though_a_claimed_activity_is_always_in_line(tmp_path: Path) -> None:
    async with SqliteBackend(SqliteSettings(path=tmp_path / "hub.db", task_hub="hub")) as store:
        await store.start_worker()
        session, start = await Scene(store, PATIENCE).started_session()
        assert start.instance.execution_id is not None
        receipt = await session.checkpoint(
            Checkpoint(
                execution_id=start.instance.execution_id,
                new_events=next_episode(decisions=tasks(CLAIMED + 1)),
                activities=tuple(
                    activity(start.instance, number, run_here=number != VISIBLE, argument=f"[{number}]")
                    for number in range(CLAIMED + 1)
                ),
            )
        )
        worker = BusyWorker(store.activities, receipt.activities)
        async with worker.at_work():
            await eventually(lambda: len(worker.began) == CLAIMED + 1, "they wait", within=PATIENCE)

    assert sorted(worker.began) == list(range(CLAIMED + 1))
    assert worker.began.index(VISIBLE) < SOON
