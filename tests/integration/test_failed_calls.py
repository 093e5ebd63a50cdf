"""One storage call fails, or its answer is lost, and the process lives on: nothing hangs, nothing runs more than needed."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from azure_hub import SHORT_LOCKS, AzureHub, run_azure_hub, short_settings
from azurite import Azurite
from support.crash_matrix import room_for_runs
from support.functions import registry_of
from support.queue_lengths import queue_length

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.errors import StorageNotFoundError, StorageUnavailableError
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.backends.protocol import Checkpoint
from durable_ext.core.events import GenericEvent
from durable_ext.errors import BackendUnavailableError, DurableError, InstanceAlreadyExistsError, PayloadTooLargeError
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import LocalActivities, WorkerSettings
from durable_ext.testing.contract_scenes import Scene, activity, first_episode, ids, messages_of, names, now, raised
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import CallCounter, Send, When, is_work

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=15)
LONG_PATIENCE = timedelta(seconds=60)
A_MOMENT = timedelta(milliseconds=200)
PLAIN = WorkerSettings(local_activities="off")


def settings_of(azurite: Azurite, task_hub: str) -> AzureStorageSettings:
    return short_settings(
        azurite, task_hub, partition_count=1, use_app_lease=False, **{**SHORT_LOCKS, "lease_interval": timedelta(seconds=4)}
    )


class OneFailure:
    """The `number`-th call that `wanted` picks is not sent, or carried out without an answer; others go through."""

    def __init__(self, wanted: Callable[[StorageCall], bool], when: When, number: int = 1) -> None:
        self._wanted, self._when, self._left = wanted, when, number

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if not self._wanted(call):
            return await send()
        self._left -= 1
        if self._left != 0:
            return await send()
        if self._when is When.AFTER:
            await send()
        raise StorageUnavailableError(call=call.verb, why="the test wants it so")

    @property
    def has_happened(self) -> bool:
        return self._left <= 0


class App:
    """Orchestrations whose activities count their runs, and wait for `gate`."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()

    def registry(self) -> FunctionRegistry:
        async def note(name: str) -> str:
            self.ran[name] += 1
            await self.gate.wait()
            return name

        def one(context: Any) -> Any:
            return (yield context.call_activity("note", "alone"))

        def one_by_one(context: Any) -> Any:
            names = []
            for name in ("a", "b", "c"):
                names.append((yield context.call_activity("note", name)))
            return names

        def fan(context: Any) -> Any:
            return (yield context.task_all([context.call_activity("note", name) for name in ("a", "b", "c")]))

        def together(context: Any) -> Any:
            context.set_custom_status("begun")
            return (yield context.task_all([context.call_activity("note", name) for name in ("a", "b", "c")]))

        return registry_of(orchestrators=[one, one_by_one, fan, together], activities=[note])


async def run_together(hub: AzureHub, instance_id: str | None = None) -> None:
    await eventually(lambda: hub.backend.owns(0), within=PATIENCE)
    started = await hub.client.start("together", instance_id=instance_id)
    status = await hub.client.wait_for_completion(started, timeout=PATIENCE)
    assert status.output == ["a", "b", "c"]
    await eventually(lambda: _held(hub) == 0, "something is still held", within=PATIENCE)


def _held(hub: AzureHub) -> int:
    return sum(keeper.count for keeper in hub.backend._keepers)


def merges_a_row(call: StorageCall) -> bool:
    return call.verb == "table.upsert_merge" and "Instances" in call.resource


def writes_history(call: StorageCall) -> bool:
    return call.verb == "table.batch" and b"History" in call.body


def puts_a_work_item(call: StorageCall) -> bool:
    return call.verb == "queue.put" and "workitems" in call.resource


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("failing", [merges_a_row, writes_history])
async def test_activities_of_a_checkpoint_that_was_not_finished_are_run(
    azurite: Azurite, task_hub: str, failing: Callable[[StorageCall], bool], when: When
) -> None:
    app, failure = App(), OneFailure(failing, when)
    async with run_azure_hub(settings_of(azurite, task_hub), app.registry(), interceptor=failure) as hub:
        await run_together(hub)

    assert failure.has_happened
    assert app.ran.keys() == {"a", "b", "c"}
    assert max(app.ran.values()) <= 2


async def test_activities_sent_before_one_that_could_not_be_sent_run_once(azurite: Azurite, task_hub: str) -> None:
    app, failure = App(), OneFailure(puts_a_work_item, When.BEFORE, number=3)
    async with run_azure_hub(settings_of(azurite, task_hub), app.registry(), interceptor=failure) as hub:
        await run_together(hub)

    assert failure.has_happened
    assert app.ran == {"a": 1, "b": 1, "c": 1}


class Standstill:
    """History is never written: whoever tries waits for ever."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if writes_history(call):
            self.reached.set()
            await asyncio.Event().wait()
        return await send()


async def test_an_activity_of_a_checkpoint_that_was_cancelled_is_there_for_others(azurite: Azurite, task_hub: str) -> None:
    still = Standstill()
    async with AzureStorageBackend(settings_of(azurite, task_hub), interceptor=still) as backend:
        await backend.start_worker()
        scene = Scene(backend, PATIENCE)
        start = await scene.start()
        session = await scene.session()
        batch = await messages_of(session, PATIENCE)
        scheduled = activity(start.instance, 0, run_here=True)
        assert start.instance.execution_id is not None
        writing = asyncio.ensure_future(
            session.checkpoint(
                Checkpoint(
                    execution_id=start.instance.execution_id,
                    new_events=first_episode(start, scheduled.message.event),
                    activities=(scheduled,),
                    consumed=ids(batch),
                )
            )
        )
        await still.reached.wait()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

        item = await backend.activities.lock_next_activity(timedelta(seconds=2))

    assert item is not None


async def test_nothing_is_sent_with_an_event_that_is_too_large_for_a_history_row(azurite: Azurite, task_hub: str) -> None:
    calls = CallCounter()
    async with AzureStorageBackend(settings_of(azurite, task_hub), interceptor=calls) as backend:
        await backend.start_worker()
        session, start = await Scene(backend, PATIENCE).started_session()
        execution_id = start.instance.execution_id
        assert execution_id is not None
        calls.reset()

        with pytest.raises(PayloadTooLargeError):
            await session.checkpoint(
                Checkpoint(
                    execution_id=execution_id,
                    new_events=(GenericEvent(timestamp=now(), data="x" * 40_000),),
                    messages=(raised("another", "hello"),),
                    activities=(activity(start.instance, 0),),
                )
            )

        assert calls.by_verb["queue.put"] == 0


class AnswerLost:
    """The answer to the first call that `wanted` picks is lost, and the transport sends it again."""

    def __init__(self, wanted: Callable[[StorageCall], bool]) -> None:
        self._wanted, self.has_happened = wanted, False

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if not self.has_happened and self._wanted(call):
            self.has_happened = True
            await send()
        return await send()


def inserts_a_row(call: StorageCall) -> bool:
    return call.verb == "table.insert" and "Instances" in call.resource


async def test_an_instance_whose_row_was_inserted_without_an_answer_runs(azurite: Azurite, task_hub: str) -> None:
    app, lost = App(), AnswerLost(inserts_a_row)
    async with run_azure_hub(settings_of(azurite, task_hub), app.registry(), interceptor=lost) as hub:
        await run_together(hub, "mine")

    assert lost.has_happened
    assert app.ran == {"a": 1, "b": 1, "c": 1}


async def test_an_instance_started_elsewhere_without_an_answer_runs(azurite: Azurite, task_hub: str) -> None:
    app, lost = App(), AnswerLost(inserts_a_row)
    settings = settings_of(azurite, task_hub)
    async with (
        run_azure_hub(settings, app.registry()) as worker,
        run_azure_hub(settings, app.registry(), interceptor=lost, serve=False) as elsewhere,
    ):
        await eventually(lambda: worker.backend.owns(0), within=PATIENCE)
        await elsewhere.client.start("together", instance_id="mine")
        status = await elsewhere.client.wait_for_completion("mine", timeout=PATIENCE)

    assert lost.has_happened
    assert status.output == ["a", "b", "c"]
    assert app.ran == {"a": 1, "b": 1, "c": 1}


async def test_a_restart_reads_the_row_of_an_ended_instance_once(azurite: Azurite, task_hub: str) -> None:
    app, calls = App(), CallCounter()
    async with run_azure_hub(settings_of(azurite, task_hub), app.registry(), interceptor=calls) as hub:
        await run_together(hub, "again")
        calls.reset()
        await hub.client.start("together", instance_id="again")
        reads = [call for call in calls.trace if call.verb == "table.get" and "Instances" in call.resource]
        await hub.client.wait_for_completion("again", timeout=PATIENCE)

    assert len(reads) == 1
    assert app.ran == {"a": 2, "b": 2, "c": 2}


class NoRenewals:
    """Work items are not renewed until the service has delivered one again.

    Attributes:
        delivered: How many work items were taken from the queue.
        polled: How often the queue was asked since.
    """

    def __init__(self) -> None:
        self.delivered = self.polled = 0

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if "workitems" in call.resource and call.verb == "queue.update" and self.delivered < 2:
            raise StorageUnavailableError(call=call.verb, why="the test wants it so")
        answer = await send()
        if "workitems" in call.resource and call.verb == "queue.get":
            found = answer.body.count(b"<QueueMessage>")
            self.delivered, self.polled = self.delivered + found, 0 if found else self.polled + 1
        return answer


async def test_a_work_item_that_is_delivered_again_while_its_activity_runs_is_not_run_twice(
    azurite: Azurite, task_hub: str
) -> None:
    app, outage = App(), NoRenewals()
    app.gate.clear()
    async with run_azure_hub(
        settings_of(azurite, task_hub), app.registry(), worker_settings=PLAIN, interceptor=outage
    ) as hub:
        await eventually(lambda: hub.backend.owns(0), within=PATIENCE)
        instance_id = await hub.client.start("one")
        await eventually(
            lambda: outage.delivered >= 2 and outage.polled >= 3, "the item is not delivered again", within=PATIENCE
        )
        app.gate.set()
        status = await hub.client.wait_for_completion(instance_id, timeout=PATIENCE)
        await eventually(lambda: _held(hub) == 0, "something is still held", within=PATIENCE)
        left = await hub.backend.activities.lock_next_activity(timedelta(seconds=0))

    assert status.output == "alone"
    assert app.ran == {"alone": 1}
    assert left is None


def deletes_a_work_item(call: StorageCall) -> bool:
    return call.verb == "queue.delete" and "workitems" in call.resource


async def test_an_activity_whose_work_item_could_not_be_deleted_is_not_run_again(azurite: Azurite, task_hub: str) -> None:
    app, failure = App(), OneFailure(deletes_a_work_item, When.BEFORE)
    async with run_azure_hub(
        settings_of(azurite, task_hub), app.registry(), worker_settings=PLAIN, interceptor=failure
    ) as hub:
        await run_together(hub)
        await eventually(lambda: _nothing_is_left(hub), "something is left", within=LONG_PATIENCE, every=A_MOMENT)

    assert failure.has_happened
    assert app.ran == {"a": 1, "b": 1, "c": 1}


class ResultRefused:
    """The first result of an activity is refused, as if its queue were not there."""

    def __init__(self) -> None:
        self.has_happened = False

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if (
            not self.has_happened
            and call.verb == "queue.put"
            and "control" in call.resource
            and b"TaskCompleted" in call.body
        ):
            self.has_happened = True
            raise StorageNotFoundError(call=call.verb, status=404, code="QueueNotFound")
        return await send()


async def test_an_activity_whose_result_is_refused_is_left_to_the_next_run(azurite: Azurite, task_hub: str) -> None:
    app, refused = App(), ResultRefused()
    async with run_azure_hub(
        settings_of(azurite, task_hub), app.registry(), worker_settings=PLAIN, interceptor=refused
    ) as hub:
        await run_together(hub)
        is_healthy = hub.worker.is_healthy

    assert refused.has_happened
    assert is_healthy
    assert sorted(app.ran.values()) == [1, 1, 2]


class NothingIsGivenBack:
    """Messages of instances cannot be given back before `gate` is open."""

    def __init__(self) -> None:
        self.reached, self.gate = asyncio.Event(), asyncio.Event()

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if call.verb == "queue.update" and "control" in call.resource:
            self.reached.set()
            await self.gate.wait()
        return await send()


async def test_a_session_that_ends_late_leaves_the_next_one_of_its_instance_alone(azurite: Azurite, task_hub: str) -> None:
    late = NothingIsGivenBack()
    async with AzureStorageBackend(settings_of(azurite, task_hub), interceptor=late) as backend:
        await backend.start_worker()
        scene = Scene(backend, PATIENCE)
        first, start = await scene.started_session()
        await backend.instances.send(raised(start.instance.instance_id, "before"))
        await messages_of(first, PATIENCE)
        leaving = asyncio.ensure_future(first.abandon())
        await late.reached.wait()
        backend._directory.lose(0)
        await backend.instances.send(raised(start.instance.instance_id, "one"))
        second = await scene.session()
        await messages_of(second, PATIENCE)

        late.gate.set()
        await leaving
        await backend.instances.send(raised(start.instance.instance_id, "two"))
        batch = await messages_of(second, PATIENCE)

    assert names(batch)[0] in ("two", "before")


NEVER = 1_000_000
MOST_RUNS = 6


async def play_failing_at(azurite: Azurite, number: int, when: When, name: str, local: LocalActivities) -> int:
    """Play an orchestration while one of its storage calls fails; return how many calls there were.

    Raises:
        AssertionError: It did not end right, an activity ran too often, or something is left in the hub.
    """
    app, armed = App(), asyncio.Event()
    counter = CallCounter()
    failure = OneFailure(lambda call: armed.is_set() and is_work(call), when, number)

    async def intercept(call: StorageCall, send: Send) -> HttpAnswer:
        if armed.is_set() and is_work(call):
            counter.by_verb[call.verb] += 1
        return await failure(call, send)

    settings = settings_of(azurite, f"Hub{uuid.uuid4().hex[:12]}")
    limits = WorkerSettings(local_activities=local)
    async with run_azure_hub(settings, app.registry(), worker_settings=limits, interceptor=intercept) as hub:
        await eventually(lambda: hub.backend.owns(0), within=LONG_PATIENCE)
        armed.set()
        await _start(hub, name)
        output = await _output(hub)
        calls = counter.total
        await eventually(lambda: _nothing_is_left(hub), "something is left", within=LONG_PATIENCE, every=A_MOMENT)
    assert output == ["a", "b", "c"]
    assert app.ran.keys() == {"a", "b", "c"}
    assert max(app.ran.values()) <= (2 if failure.has_happened else 1), app.ran
    return calls


async def _start(hub: AzureHub, name: str) -> None:
    is_in_doubt = False
    while True:
        try:
            await hub.client.start(name, instance_id="main")
            return
        except BackendUnavailableError:
            is_in_doubt = True
        except InstanceAlreadyExistsError:
            assert is_in_doubt
            return


async def _output(hub: AzureHub) -> Any:
    while True:
        try:
            return (await hub.client.wait_for_completion("main", timeout=LONG_PATIENCE)).output
        except BackendUnavailableError:
            continue


async def _nothing_is_left(hub: AzureHub) -> bool:
    queues = [f"{hub.backend.task_hub.lower()}-{name}" for name in ("control-00", "workitems")]
    return _held(hub) == 0 and sum([await queue_length(hub.backend._accounts.main, queue) for queue in queues]) == 0


MATRIX = [
    ("together", "on"),
    *[
        pytest.param(name, local, marks=pytest.mark.slow)
        for name, local in [("fan", "on"), ("one_by_one", "on"), ("fan", "off"), ("one_by_one", "off"), ("fan", "batched")]
    ],
]


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize(("name", "local"), MATRIX)
async def test_whichever_call_fails_activities_run_at_most_twice_and_nothing_is_left(
    azurite: Azurite, name: str, local: LocalActivities, when: When
) -> None:
    room = await room_for_runs(lambda hub, _: AzureStorageBackend(settings_of(azurite, hub)))
    slots = asyncio.Semaphore(min(MOST_RUNS, room))
    calls = await play_failing_at(azurite, NEVER, when, name, local)

    async def play(number: int) -> str | None:
        async with slots:
            try:
                await play_failing_at(azurite, number, when, name, local)
            except (AssertionError, DurableError) as error:
                return f"call {number}: {type(error).__name__} {error}"
        return None

    failures = [failure for failure in await asyncio.gather(*map(play, range(1, calls + 1))) if failure]

    assert failures == []
    assert calls >= 5
