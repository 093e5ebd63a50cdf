"""Plays a scenario once for every storage call, killing the process before or after it, and lets another one go on."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.protocol import Backend
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.events import (
    ExecutionCompleted,
    ExecutionStarted,
    HistoryEvent,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
)
from durable_ext.core.messages import InstanceId
from durable_ext.errors import InstanceAlreadyExistsError, InvalidInstanceStateError
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import LocalActivities, WorkerSettings
from durable_ext.runtime.worker import TaskHubWorker
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import FailingTransport, When, is_work

_NEVER = 1_000_000
_MOST, _LEAST = 20, 2
_SOME = 4
_QUICK_SECONDS = 0.3  # in this time a machine that has room for 12 opens a hub twice
PATIENCE = timedelta(seconds=180)


class Story:
    """One run of a scenario over several processes: what ran, and what its client was told is done.

    A process that is really killed leaves its part in a `journal`, which the next one reads.

    Attributes:
        ran: How often each activity ran, in all processes.
        doubtful: Steps that failed in a process that died: they may have been carried out.
        is_disturbed: A process has died, or a call of it has failed, so that an activity may run again.
    """

    def __init__(self, journal: Path | None = None) -> None:
        self.doubtful: set[str] = set()
        self.is_disturbed = journal is not None
        self._done: set[str] = set()
        self._journal = journal
        lines = journal.read_text().splitlines() if journal is not None and journal.exists() else []
        told: dict[str, list[str]] = {"ran": [], "tries": [], "done": []}
        for line in lines:
            kind, _, name = line.partition(" ")
            told[kind].append(name)
        self.ran = Counter(told["ran"])
        self._done.update(told["done"])
        self.doubtful.update(set(told["tries"]) - self._done)

    def has_run(self, activity: str) -> None:
        """An activity has begun."""
        self.ran[activity] += 1
        self._note("ran", activity)

    async def once(self, name: str, step: Callable[[], Awaitable[Any]]) -> None:
        """Take a step unless it was acknowledged; a step of which nothing was heard is taken again."""
        if name in self._done:
            return
        self._note("tries", name)
        try:
            await step()
        except (InstanceAlreadyExistsError, InvalidInstanceStateError):
            if name not in self.doubtful:  # else it was heard the first time
                raise
        except BaseException:
            self.doubtful.add(name)
            raise
        self._done.add(name)
        self._note("done", name)

    def _note(self, kind: str, name: str) -> None:
        if self._journal is not None:
            with self._journal.open("a") as journal:
                journal.write(f"{kind} {name}\n")


class Scenario(Protocol):
    """What is played: functions, a client that gives up nothing, and what must be true at the end."""

    def registry(self, story: Story) -> FunctionRegistry: ...

    async def play(self, client: DurableClient, story: Story) -> None:
        """Everything the client does, up to the end of the instance."""
        ...

    async def check(self, client: DurableClient, backend: Backend, story: Story) -> None:
        """Raise `AssertionError` if the end is not the right one."""
        ...


class MortalBackend(Backend, Protocol):
    """A store that can be left as a killed process leaves it."""

    async def abort(self) -> None: ...


def azure_processes(connection: str, partitions: int) -> Callable[[str, FailingTransport | None], MortalBackend]:
    """Return how processes on Azure Storage open a hub."""

    def open_one(hub: str, transport: FailingTransport | None) -> MortalBackend:
        settings = AzureStorageSettings(
            connection=connection,
            task_hub=hub,
            partition_count=partitions,
            control_queue_visibility=timedelta(seconds=3),
            work_item_queue_visibility=timedelta(seconds=3),
            max_queue_polling_interval=timedelta(milliseconds=300),
            # A round of the keeper may take half of it: with less, a busy emulator lets nobody have a lease.
            lease_interval=timedelta(seconds=4),
            lease_acquire_interval=timedelta(milliseconds=500),
            use_app_lease=False,
        )
        return AzureStorageBackend(settings, interceptor=transport)

    return open_one


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One simulated process: its own backend, worker and client."""

    backend: MortalBackend
    worker: TaskHubWorker
    client: DurableClient


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashMatrix:
    """Where scenarios are played. Times are short so that a dead process is soon forgotten.

    `open_backend` makes the store of one process; `first` and `second` are the local activities of the process that
    dies and of the one that goes on.
    """

    open_backend: Callable[[str, FailingTransport | None], MortalBackend]
    first: LocalActivities
    second: LocalActivities
    counts: Callable[[StorageCall], bool] = is_work

    async def run(self, scenario: Callable[[], Scenario], when: When) -> int:
        """Play it once to the end, then once per storage call; return the number of calls.

        Raises:
            AssertionError: Some runs did not end as they should; the text names the calls.
        """

        async def play(n: int) -> FailingTransport:
            transport = FailingTransport(n, when, self.counts)
            with calls_named(transport):
                await self.play(scenario(), transport)
            return transport

        return await at_every_call(play, when, await room_for_runs(self.open_backend))

    async def play(self, scenario: Scenario, transport: FailingTransport) -> None:
        """Play it until `transport` kills the process, then on in another one, and check the end."""
        hub, story = f"Hub{uuid.uuid4().hex[:12]}", Story()
        backend = self.open_backend(hub, transport)
        async with running_process(backend, scenario.registry(story), self.first, transport) as process:
            transport.armed = True
            playing = asyncio.ensure_future(scenario.play(process.client, story))
            dying = asyncio.ensure_future(transport.died.wait())
            try:
                await asyncio.wait((playing, dying), return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE.total_seconds())
                if not transport.died.is_set():
                    await playing
            finally:
                dying.cancel()
                playing.cancel()
                await asyncio.gather(playing, dying, return_exceptions=True)
        story.is_disturbed = transport.killed_at is not None
        await self.go_on(scenario, hub, story)

    async def go_on(self, scenario: Scenario, hub: str, story: Story) -> None:
        """Take over what a process has left in a hub, play it to the end and check that."""
        async with running_process(self.open_backend(hub, None), scenario.registry(story), self.second) as process:
            await asyncio.wait_for(scenario.play(process.client, story), PATIENCE.total_seconds())
            await scenario.check(process.client, process.backend, story)


@contextmanager
def calls_named(transport: FailingTransport) -> Iterator[None]:
    """Let what fails in this block tell which call it was that `transport` let fail."""
    try:
        yield
    except (AssertionError, asyncio.TimeoutError, Exception) as error:
        killed = transport.killed_at
        where = f"{killed.verb} {killed.resource}" if killed is not None else "nowhere"
        raise AssertionError(f"({where}) {type(error).__name__} {error}") from error


async def room_for_runs(open_backend: Callable[[str, FailingTransport | None], MortalBackend]) -> int:
    """How many runs this machine has time for side by side: fewer, the longer it takes to open a hub.

    Runs mostly wait for locks of the dead to expire. With too many of them a busy machine lets locks of the living expire.
    """

    async def open_and_close() -> None:
        backend = open_backend(f"Hub{uuid.uuid4().hex[:12]}", None)
        await backend.open()
        await backend.close()

    await open_and_close()  # the first of a store takes longer
    began = time.monotonic()
    await open_and_close()
    await open_and_close()
    return max(_LEAST, min(_MOST, round(12 * _QUICK_SECONDS / (time.monotonic() - began))))


async def at_every_call(play: Callable[[int], Awaitable[FailingTransport]], when: When, side_by_side: int) -> int:
    """Play once to the end, which tells how many calls there are, then once for each of them; return their number.

    Args:
        play: Gets the number of the call that fails, and returns the transport that has counted them.
        when: For the report: the side of the call.
        side_by_side: How many runs at a time.

    Raises:
        AssertionError: Some runs did not end as they should, or in too many there was no such call; the text names them.
    """
    calls = (await play(_NEVER)).count
    slots = asyncio.Semaphore(side_by_side)
    failures: list[str] = []
    unharmed: list[int] = []

    async def one(n: int) -> None:
        async with slots:
            try:
                transport = await asyncio.wait_for(play(n), 3 * PATIENCE.total_seconds())
            except (AssertionError, asyncio.TimeoutError, Exception) as error:
                failures.append(f"{when.value} call {n}: {error or type(error).__name__}")
            else:
                if transport.killed_at is None:
                    unharmed.append(n)

    await asyncio.gather(*(one(n) for n in range(1, calls + 1)))
    assert not failures, f"{len(failures)} of {calls} runs:\n" + "\n".join(sorted(failures))
    # The number of calls varies with what is written together, so the last ones may be missing in some runs.
    assert len(unharmed) <= calls // _SOME, f"{len(unharmed)} of {calls} runs had no such call: {sorted(unharmed)}"
    return calls


@asynccontextmanager
async def running_process(
    backend: MortalBackend, registry: FunctionRegistry, local: LocalActivities, transport: FailingTransport | None = None
) -> AsyncIterator[Process]:
    """Open a store and work on it; leaving drains and stops, or buries what `transport` has killed."""
    converter, codec = DataConverter(), JsonEntityCodec()
    await backend.open()
    worker = TaskHubWorker(
        backend,
        registry,
        settings=WorkerSettings(local_activities=local, session_idle_timeout=timedelta(seconds=1)),
        converter=converter,
        entity_codec=codec,
    )
    await worker.start()
    try:
        client = DurableClient(backend.instances, converter=converter, entity_codec=codec)
        yield Process(backend=backend, worker=worker, client=client)
    finally:
        closing = asyncio.ensure_future(_close(backend, worker))
        if transport is not None:
            dying = asyncio.ensure_future(transport.died.wait())
            await asyncio.wait((closing, dying), return_when=asyncio.FIRST_COMPLETED)
            dying.cancel()
            if transport.died.is_set():
                closing.cancel()
                transport.bury()
                await backend.abort()
                await worker.stop()
        await asyncio.gather(closing, return_exceptions=transport is not None)


async def _close(backend: MortalBackend, worker: TaskHubWorker) -> None:
    await worker.drain(timedelta(seconds=5))
    await worker.stop()
    await backend.close()


async def finished(client: DurableClient, instance_id: str) -> Any:
    """Wait for the end of an instance and return its status."""
    return await client.wait_for_completion(instance_id, timeout=PATIENCE)


async def check_history(backend: Backend, instance_id: str) -> None:
    """One start, one end, and each scheduled activity answered.

    A child tells its parent before it writes its own end, so it may still be at it.
    """
    message, every = f"{instance_id} has no end", timedelta(milliseconds=100)
    await eventually(lambda: _ended(backend, instance_id), message, within=PATIENCE, every=every)
    events = await backend.instances.get_history(InstanceId(instance_id))
    assert starts_and_ends(events) == (1, 1), f"{instance_id}: {events}"
    scheduled = {event.event_id for event in events if isinstance(event, TaskScheduled)}
    answered = {event.task_scheduled_id for event in events if isinstance(event, (TaskCompleted, TaskFailed))}
    assert scheduled == answered


def starts_and_ends(events: Sequence[HistoryEvent]) -> tuple[int, int]:
    """Count how often a history begins and ends."""
    kinds = Counter(type(event) for event in events)
    return kinds[ExecutionStarted], kinds[ExecutionCompleted]


async def _ended(backend: Backend, instance_id: str) -> bool:
    events = await backend.instances.get_history(InstanceId(instance_id))
    row = await backend.instances.get_instance(InstanceId(instance_id))
    whole = row is not None and row.status.is_terminal and bool(row.name) and row.created_at > 0
    return whole and any(isinstance(event, ExecutionCompleted) for event in events)


def check_runs(story: Story, activities: Sequence[str]) -> None:
    """Each activity ran, and nothing else did: once, or up to three times if something failed on the way.

    Three: its result was not sent, so its work item comes again, and its episode was not stored, so it sends another one.
    """
    assert set(story.ran) == set(activities)
    most = 3 if story.is_disturbed else 1
    assert max(story.ran.values(), default=0) <= most, f"an activity ran more than {most} times: {story.ran}"
