"""Two workers that both believe a partition is theirs: what the one that is wrong has begun changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from azure_hub import SHORT_LOCKS, AzureHub, run_azure_hub, short_settings
from azurite import Azurite
from support.functions import registry_of

from durable_ext.backends.azure_storage.lease_blobs import LeaseBlobs
from durable_ext.backends.azure_storage.lease_table import LeaseTable
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, PartitionManagement
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.backends.azure_storage.transport.errors import StoragePreconditionError
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.core.events import EventRaised, OrchestrationStatus
from durable_ext.core.messages import InstanceId
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=60)
EVENTS = 24
WIDE = 120
KINDS = [
    PartitionManagement.TABLE,
    pytest.param(PartitionManagement.SAFE_BLOB, marks=pytest.mark.slow),  # blob leases last 15 s at least
    pytest.param(PartitionManagement.LEGACY_BLOB, marks=pytest.mark.slow),
]


def settings_of(
    azurite: Azurite, task_hub: str, kind: PartitionManagement = PartitionManagement.TABLE, **fields: Any
) -> AzureStorageSettings:
    values = {
        **SHORT_LOCKS,
        "lease_interval": timedelta(seconds=3 if kind is PartitionManagement.TABLE else 15),
        **fields,
    }
    return short_settings(azurite, task_hub, partition_manager=kind, use_app_lease=False, **values)


class Sleeper:
    """An interceptor that puts its process to sleep once, around the first call that `at` picks.

    Attributes:
        asleep: It sleeps.
        late: Calls that were made after it woke up.
    """

    def __init__(self, at: Callable[[StorageCall], bool], *, after: bool) -> None:
        self._at, self._after = at, after
        self._awake = asyncio.Event()
        self._awake.set()
        self.asleep = asyncio.Event()
        self.late: list[StorageCall] = []

    def wake(self) -> None:
        self._awake.set()

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if not self.asleep.is_set() and self._at(call):
            answer = await send() if self._after else None
            self.asleep.set()
            self._awake.clear()
            await self._awake.wait()
            return answer if answer is not None else await self._send_late(call, send)
        if not self._awake.is_set():
            await self._awake.wait()
        return await self._send_late(call, send) if self.asleep.is_set() else await send()

    async def _send_late(self, call: StorageCall, send: Send) -> HttpAnswer:
        answer = await send()
        self.late.append(call)
        return answer


class LateAnswer:
    """An interceptor that keeps back the first answer to a get of work items that brings one.

    Attributes:
        kept: It is being kept back.
        late: The answer has been given.
    """

    def __init__(self) -> None:
        self._awake = asyncio.Event()
        self.kept = asyncio.Event()
        self.late = asyncio.Event()

    def wake(self) -> None:
        self._awake.set()

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        answer = await send()
        brings_one = call.verb == "queue.get" and "workitems" in call.resource and b"<QueueMessage>" in answer.body
        if brings_one and not self.kept.is_set():
            self.kept.set()
            await self._awake.wait()
            self.late.set()
        return answer


def collects_events() -> FunctionRegistry:
    def collect(context: Any) -> Generator[Any, Any, list[Any]]:
        values = []
        while len(values) < context.get_input():
            values.append((yield context.wait_for_external_event("e")))
        return values

    return registry_of(orchestrators=[collect])


def writes_history(call: StorageCall) -> bool:
    return call.verb == "table.batch" and b"History" in call.body


def puts_work_item(call: StorageCall) -> bool:
    return call.verb == "queue.put" and "workitems" in call.resource


def writes_row(call: StorageCall) -> bool:
    return "Instances" in call.resource and call.verb in ("table.merge", "table.upsert_merge")


async def takes_over(hub: AzureHub) -> None:
    await eventually(lambda: all(hub.backend.owns(partition) for partition in range(4)), within=PATIENCE)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_worker_that_slept_while_its_history_was_written_does_not_touch_the_row(
    azurite: Azurite, task_hub: str, kind: PartitionManagement, caplog: pytest.LogCaptureFixture
) -> None:
    sleeper = Sleeper(writes_history, after=True)
    async with run_azure_hub(settings_of(azurite, task_hub, kind), collects_events(), interceptor=sleeper) as first:
        instance_id = await first.client.start("collect", 1)
        await asyncio.wait_for(sleeper.asleep.wait(), PATIENCE.total_seconds())
        async with run_azure_hub(settings_of(azurite, task_hub, kind), collects_events()) as second:
            await takes_over(second)
            await second.client.raise_event(instance_id, "e", 1)
            await second.client.wait_for_completion(instance_id, timeout=PATIENCE)

            sleeper.wake()
            await eventually(lambda: "was lost meanwhile" in caplog.text, within=PATIENCE)

            status = await second.client.get_status(instance_id)

    assert status is not None
    assert status.runtime_status is OrchestrationStatus.COMPLETED
    assert not any(writes_row(call) for call in sleeper.late)


async def test_a_row_that_was_written_by_a_sleeper_after_the_end_shows_the_end_again(
    azurite: Azurite, task_hub: str
) -> None:
    sleeper = Sleeper(writes_row, after=False)
    async with run_azure_hub(settings_of(azurite, task_hub), collects_events(), interceptor=sleeper) as first:
        instance_id = await first.client.start("collect", 1)
        await asyncio.wait_for(sleeper.asleep.wait(), PATIENCE.total_seconds())
        async with run_azure_hub(settings_of(azurite, task_hub), collects_events()) as second:
            await takes_over(second)
            await second.client.raise_event(instance_id, "e", 1)
            await second.client.wait_for_completion(instance_id, timeout=PATIENCE)

            sleeper.wake()
            await eventually(lambda: any(map(writes_row, sleeper.late)), within=PATIENCE)
            end = await second.client.wait_for_completion(instance_id, timeout=PATIENCE)

    assert (end.runtime_status, end.output) == (OrchestrationStatus.COMPLETED, [1])


async def test_two_owners_of_the_same_partitions_count_each_event_once(azurite: Azurite, task_hub: str) -> None:
    # The first looks at its leases only once a minute, and they have been taken from it meanwhile.
    blind = settings_of(azurite, task_hub, lease_interval=timedelta(minutes=2), lease_acquire_interval=timedelta(minutes=1))
    transport = open_lean_transport(blind.account)
    leases = LeaseTable(transport.tables, blind.names.partitions_table)
    async with run_azure_hub(blind, collects_events()) as first:
        await takes_over(first)
        instance_id = await first.client.start("collect", EVENTS)
        await leases.write([replace(lease, expires_at=lease.owned_since) for lease in await leases.load()])
        async with run_azure_hub(settings_of(azurite, task_hub, claim_at_enqueue=False), collects_events()) as second:
            await takes_over(second)
            assert all(first.backend.owns(partition) for partition in range(4))

            for number in range(EVENTS):
                await second.client.raise_event(instance_id, "e", number)
            end = await second.client.wait_for_completion(instance_id, timeout=PATIENCE)
            history = await second.backend.instances.get_history(InstanceId(instance_id))
    await transport.close()

    raised = [event.input for event in history if isinstance(event, EventRaised)]
    assert sorted(end.output) == list(range(EVENTS))
    assert len(raised) == EVENTS


async def test_a_round_of_table_leases_that_saw_an_old_row_writes_none_of_its_rows(azurite: Azurite, task_hub: str) -> None:
    settings = settings_of(azurite, task_hub)
    transport = open_lean_transport(settings.account)
    table = LeaseTable(transport.tables, settings.names.partitions_table)
    await table.create(settings.names.control_queues(4))
    seen = await table.load()
    await table.write([replace(seen[2], owner="faster")])

    with pytest.raises(StoragePreconditionError):
        await table.write([replace(lease, owner="slower") for lease in seen])

    assert [lease.owner for lease in await table.load()] == [None, None, "faster", None]
    await transport.close()


async def test_a_blob_lease_that_was_stolen_is_neither_renewed_nor_written_by_its_old_owner(
    azurite: Azurite, task_hub: str
) -> None:
    settings = settings_of(azurite, task_hub, PartitionManagement.LEGACY_BLOB)
    transport = open_lean_transport(settings.account)
    async with AzureStorageBackend(settings):
        leases = LeaseBlobs(transport.blobs, settings.names.lease_container, "default", 15)
        free = (await leases.load())[0]
        held = await leases.acquire(free, "old")
        assert held is not None
        stolen = await leases.acquire((await leases.load())[0], "new")
        assert stolen is not None

        renewed = await leases.renew(held)
        again = await leases.acquire(free, "late")  # with what was read before: no token to take it over with
        await leases.release(held)
        now = (await leases.load())[0]

    assert (renewed, again) == (False, None)
    assert (now.owner, now.epoch, now.is_leased) == ("new", free.epoch + 2, True)
    assert await leases.renew(stolen)
    await transport.close()


async def test_an_activity_whose_message_arrives_after_its_visibility_is_not_begun(azurite: Azurite, task_hub: str) -> None:
    ran: dict[str, list[str]] = {"first": [], "second": []}

    def app(worker: str) -> FunctionRegistry:
        async def note(name: str) -> str:
            ran[worker].append(name)
            return name

        def one(context: Any) -> Any:
            return (yield context.call_activity("note", context.instance_id))

        return registry_of(orchestrators=[one], activities=[note])

    off, answers = WorkerSettings(local_activities="off"), LateAnswer()
    async with run_azure_hub(
        settings_of(azurite, task_hub), app("first"), worker_settings=off, interceptor=answers
    ) as first:
        await first.client.start("one", instance_id="taken")
        await asyncio.wait_for(answers.kept.wait(), PATIENCE.total_seconds())
        async with run_azure_hub(settings_of(azurite, task_hub), app("second"), worker_settings=off) as second:
            await second.client.wait_for_completion("taken", timeout=PATIENCE)

        answers.wake()
        await asyncio.wait_for(answers.late.wait(), PATIENCE.total_seconds())
        await first.client.start("one", instance_id="next")
        await first.client.wait_for_completion("next", timeout=PATIENCE)

    assert set(ran["first"]) == {"next"}  # and not what the second has done


@asynccontextmanager
async def ended_while_asleep(
    azurite: Azurite, task_hub: str, registry: FunctionRegistry, sleeper: Sleeper
) -> AsyncIterator[None]:
    """Let a worker fall asleep over an instance of the only orchestrator; in the block another worker has ended it."""
    (name,), off = registry.orchestrator_names, WorkerSettings(local_activities="off")
    async with run_azure_hub(settings_of(azurite, task_hub), registry, worker_settings=off, interceptor=sleeper) as first:
        instance_id = await first.client.start(name)
        await asyncio.wait_for(sleeper.asleep.wait(), PATIENCE.total_seconds())
        async with run_azure_hub(settings_of(azurite, task_hub), registry, worker_settings=off) as second:
            await takes_over(second)
            await second.client.wait_for_completion(instance_id, timeout=PATIENCE)
            yield


async def test_a_worker_that_slept_while_it_sent_work_items_sends_no_more_of_them_and_no_history(
    azurite: Azurite, task_hub: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def echo(value: int) -> int:
        return value

    def wide(context: Any) -> Any:
        return (yield context.task_all([context.call_activity("echo", number) for number in range(WIDE)]))

    sleeper = Sleeper(puts_work_item, after=False)
    async with ended_while_asleep(azurite, task_hub, registry_of(orchestrators=[wide], activities=[echo]), sleeper):
        sleeper.wake()
        await eventually(lambda: "was lost meanwhile" in caplog.text, within=PATIENCE)

    assert len([call for call in sleeper.late if puts_work_item(call)]) <= 64  # those that were on their way
    assert not any(writes_history(call) for call in sleeper.late)


async def test_a_worker_that_slept_between_its_work_items_and_its_history_does_not_write_it(
    azurite: Azurite, task_hub: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def echo(value: int) -> int:
        return value

    def one(context: Any) -> Any:
        return (yield context.call_activity("echo", 1))

    sleeper = Sleeper(puts_work_item, after=True)
    async with ended_while_asleep(azurite, task_hub, registry_of(orchestrators=[one], activities=[echo]), sleeper):
        sleeper.wake()
        await eventually(lambda: "was lost meanwhile" in caplog.text, within=PATIENCE)

    assert not any(writes_history(call) for call in sleeper.late)
