"""What goes wrong around a hub on Azure Storage: pauses, outages, messages nobody can read."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from azure_hub import SHORT_LOCKS, run_azure_hub, short_settings
from azurite import Azurite, free_ports, running_azurite
from interop_app import interop_registry
from support.functions import registry_of
from support.queue_lengths import queue_length

from durable_ext.aio.clock import SystemClock
from durable_ext.backends.azure_storage.lease_table import LeaseTable
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, TransportKind
from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import StorageTransport, open_lean_transport
from durable_ext.backends.azure_storage.transport.errors import StorageUnavailableError, error_from
from durable_ext.backends.azure_storage.transport.http import Interceptor, StorageCall
from durable_ext.backends.azure_storage.transport.queue import QueueMessage
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.backends.protocol import Checkpoint, OutgoingActivity
from durable_ext.client import open_client
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.messages import ExecutionId
from durable_ext.errors import BackendUnavailableError, CheckpointConflictError, ConfigurationError
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.runtime.worker import TaskHubWorker
from durable_ext.testing.contract_scenes import Scene, activity, next_episode
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import CallCounter, Send

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=30)


def settings_of(azurite: Azurite, task_hub: str) -> AzureStorageSettings:
    return short_settings(azurite, task_hub, **SHORT_LOCKS)


class Pausable:
    """Holds back every call while paused, as if the process were stopped; counts what is sent."""

    def __init__(self) -> None:
        self._going = asyncio.Event()
        self._going.set()
        self.counter = CallCounter()

    def pause(self) -> None:
        self._going.clear()

    def go_on(self) -> None:
        self._going.set()

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        await self._going.wait()
        return await self.counter(call, send)


async def test_a_worker_that_slept_past_its_lease_commits_and_sends_nothing(azurite: Azurite, task_hub: str) -> None:
    sleeper_calls = Pausable()
    sleeper = AzureStorageBackend(settings_of(azurite, task_hub), interceptor=sleeper_calls)
    await sleeper.open()
    await sleeper.start_worker()
    session, start = await Scene(sleeper, PATIENCE).started_session()
    execution_id = start.instance.execution_id
    assert execution_id is not None
    sleeper_calls.pause()
    other = AzureStorageBackend(settings_of(azurite, task_hub))
    await other.open()
    await other.start_worker()
    await eventually(lambda: all(other.owns(partition) for partition in range(4)), within=PATIENCE)

    sleeper_calls.counter.reset()
    sleeper_calls.go_on()
    with pytest.raises(CheckpointConflictError):
        await session.checkpoint(_late(execution_id, activity(start.instance, 0)))

    assert sleeper_calls.counter.by_verb["queue.put"] == 0
    assert len(await other.instances.get_history(start.instance.instance_id)) == 3
    await sleeper.close()
    await other.close()


def _late(execution_id: ExecutionId, scheduled: OutgoingActivity) -> Checkpoint:
    return Checkpoint(
        execution_id=execution_id,
        new_events=next_episode(decisions=(scheduled.message.event,)),
        activities=(scheduled,),
    )


async def test_a_stale_checkpoint_is_refused_by_the_history_itself(azurite: Azurite, task_hub: str) -> None:
    backend = AzureStorageBackend(settings_of(azurite, task_hub))
    await backend.open()
    await backend.start_worker()
    session, start = await Scene(backend, PATIENCE).started_session()
    execution_id = start.instance.execution_id
    assert execution_id is not None
    await backend.instances.purge_instance(start.instance.instance_id)

    with pytest.raises(CheckpointConflictError):
        await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode()))

    await backend.close()


class ClockThatIsOff(SystemClock):
    """That of a machine that nobody has set right."""

    def __init__(self, seconds: float) -> None:
        self._off = timedelta(seconds=seconds)

    def now(self) -> datetime:
        return super().now() + self._off


@pytest.mark.parametrize(
    ("kind", "seconds"), [(TransportKind.LEAN, -60), (TransportKind.LEAN, 60), (TransportKind.SDK, -60)]
)
async def test_a_machine_whose_clock_is_a_minute_off_keeps_its_leases_by_the_time_of_the_service(
    azurite: Azurite, task_hub: str, monkeypatch: pytest.MonkeyPatch, kind: TransportKind, seconds: int
) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + seconds)  # with it requests are signed
    clock, converter, codec = ClockThatIsOff(seconds), DataConverter(), JsonEntityCodec()
    settings = replace(settings_of(azurite, task_hub), transport=kind)
    async with AzureStorageBackend(settings, clock) as backend:
        worker = TaskHubWorker(
            backend,
            interop_registry(),
            settings=WorkerSettings(),
            converter=converter,
            entity_codec=codec,
            clock=clock,
        )
        client = DurableClient(backend.instances, converter=converter, entity_codec=codec, clock=clock)
        await worker.start()
        began = time.monotonic()
        end = await client.wait_for_completion(await client.start("TimerOnce", 2), timeout=PATIENCE)
        took = time.monotonic() - began
        transport = open_lean_transport(settings.account)
        leases = await LeaseTable(transport.tables, settings.names.partitions_table).load()
        until = [lease.expires_at - datetime.now(timezone.utc) for lease in leases if lease.expires_at is not None]
        await transport.close()
        await worker.drain(PATIENCE)
        await worker.stop()

    assert end.runtime_status is OrchestrationStatus.COMPLETED
    assert 2 <= took < 30
    assert len(until) == 4
    assert all(abs(left) < settings.lease_interval + timedelta(seconds=3) for left in until)


async def test_deaths_of_workers_that_played_an_instance_are_counted_and_giving_back_is_none(
    azurite: Azurite, task_hub: str
) -> None:
    settings = replace(settings_of(azurite, task_hub), control_queue_visibility=timedelta(seconds=1), claim_at_enqueue=False)
    backend = AzureStorageBackend(settings)
    await backend.open()
    await backend.start_worker()
    scene = Scene(backend, PATIENCE)
    await scene.start()
    deaths = []
    for dies in (True, False, True, True):  # given back early: the pause after it doubles with each delivery
        session = await scene.session()
        await session.next_messages(PATIENCE)
        deaths.append(session.deaths)
        if dies:
            await backend.abort()
        else:
            await session.abandon()
            await backend.close()
        backend = AzureStorageBackend(settings)
        await backend.open()
        await backend.start_worker()
        scene = Scene(backend, PATIENCE)
    await backend.close()

    # The first delivery is not known to anybody, and the second one was given back.
    assert deaths == [0, 0, 0, 1]


async def test_a_client_does_not_make_the_hub_whose_name_was_mistyped(azurite: Azurite, task_hub: str) -> None:
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        instance_id = await hub.client.start("HelloSequence", 1)
        async with open_client(azurite.connection_string, task_hub=task_hub) as client:
            await client.wait_for_completion(instance_id, timeout=PATIENCE)

        with pytest.raises(ConfigurationError, match=rf"There is no task hub '{task_hub}x'"):
            async with open_client(azurite.connection_string, task_hub=f"{task_hub}x"):
                pass

    mistyped = AzureStorageBackend(settings_of(azurite, f"{task_hub}x"))
    assert not await mistyped.hub.exists()
    await mistyped.close()


def refusing(marker: bytes, code: str) -> Interceptor:
    """Refuse each table transaction that holds this text, as the service refuses a request that it can never do."""

    async def refuse(call: StorageCall, send: Send) -> HttpAnswer:
        if call.verb == "table.batch" and marker in call.body:
            raise error_from(call="table.batch", status=400, code=code, detail="")
        return await send()

    return refuse


async def test_an_instance_that_the_service_refuses_to_store_is_kept_told_once_and_can_be_terminated(
    azurite: Azurite, task_hub: str, caplog: pytest.LogCaptureFixture
) -> None:
    refused = refusing(b"Hello Seattle", "InvalidInput")
    # Before the first pause, each of which is twice the last; by name, since a host that ran in this process set its level.
    caplog.set_level(logging.DEBUG, "durable_ext.runtime.lifecycle")
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry(), interceptor=refused) as hub:
        bad = await hub.client.start("HelloSequence", 2)
        good = await hub.client.start("HelloSequence", 1)
        end = await hub.client.wait_for_completion(good, timeout=PATIENCE)

        def refusals() -> list[logging.LogRecord]:
            return [each for each in caplog.records if getattr(each, "event", None) == "checkpoint_refused"]

        await eventually(lambda: len(refusals()) >= 2, within=PATIENCE)
        await hub.client.terminate(bad, "cannot be helped")
        terminated = await hub.client.wait_for_completion(bad, timeout=PATIENCE)

    assert end.runtime_status is OrchestrationStatus.COMPLETED
    assert (terminated.runtime_status, terminated.output) == (OrchestrationStatus.TERMINATED, "cannot be helped")
    told = [each.getMessage() for each in refusals() if each.levelno >= logging.INFO]
    assert len(told) == 1
    assert bad in told[0]
    assert "400 InvalidInput" in told[0]


async def test_an_instance_whose_write_the_service_finds_too_large_fails(azurite: Azurite, task_hub: str) -> None:
    refused = refusing(b"Hello Seattle", "EntityTooLarge")
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry(), interceptor=refused) as hub:
        failed = await hub.client.wait_for_completion(await hub.client.start("HelloSequence", 2), timeout=PATIENCE)

    assert failed.runtime_status is OrchestrationStatus.FAILED
    assert "EntityTooLarge" in str(failed.output)


async def test_an_operation_whose_state_the_service_finds_too_large_fails_and_the_entity_goes_on(
    azurite: Azurite, task_hub: str
) -> None:
    def keep(context: Any) -> Any:
        context.set_state(f"far too {context.get_input()}")

    def call(context: Any) -> Any:
        entity, failures = EntityId("keep", "one"), []
        for text in ("early", "large", "late"):
            try:
                yield context.call_entity(entity, "set", text)
            except Exception as error:
                failures.append(str(error))
        return failures

    refused = refusing(b"far too large", "EntityTooLarge")
    registry = registry_of(orchestrators=[call], entities=[keep])
    async with run_azure_hub(settings_of(azurite, task_hub), registry, interceptor=refused) as hub:
        status = await hub.client.wait_for_completion(await hub.client.start("call"), timeout=PATIENCE)
        left = await hub.client.read_entity(EntityId("keep", "one"))

    assert len(status.output) == 1
    assert "EntityTooLarge" in status.output[0]
    assert left.state_as() == "far too late"


POISON = [
    "nonsense",
    "{",
    '{"TaskMessage":null}',
    '{"TaskMessage":{"Event":{"$type":"DurableTask.Core.History.FutureEvent"},"OrchestrationInstance":{"InstanceId":"x"}}}',
    '{"CompressedBlobName":"nobody/message-1-ExecutionStarted.json.gz"}',
    "AAAA",
    '{"TaskMessage":null,"padding":"' + "x" * 48_000 + '"}',
]


async def test_messages_that_nobody_can_read_disturb_nobody_and_are_kept(
    azurite: Azurite, task_hub: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        transport = open_lean_transport(account_from_connection_string(azurite.connection_string))
        queues = [f"{task_hub.lower()}-control-00", f"{task_hub.lower()}-workitems"]
        for queue in queues:
            for text in POISON:
                await transport.queues.put(queue, text)

        started = [await hub.client.start("HelloSequence", 2) for _ in range(8)]
        ends = [await hub.client.wait_for_completion(one, timeout=PATIENCE) for one in started]
        await eventually(lambda: len(_unreadable(caplog)) >= 2 * len(POISON), within=PATIENCE)

        assert {end.runtime_status for end in ends} == {OrchestrationStatus.COMPLETED}
        assert [await queue_length(transport, queue) for queue in queues] == [len(POISON)] * 2
        # Each comes again after two seconds, and is told once.
        again = [each.dequeue_count for queue in queues for each in await _come_again(transport, queue)]
        assert min(again) >= 2
        told = [each.__dict__["message_id"] for each in _unreadable(caplog)]
        assert len(told) == len(set(told))
        assert all(message_id in caplog.text for message_id in told)
        assert '(instance: "x") cannot be read' in caplog.text
        await transport.close()


def _unreadable(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [each for each in caplog.records if each.__dict__.get("event") == "message_unreadable"]


async def _come_again(transport: StorageTransport, queue: str) -> list[QueueMessage]:
    """Take every poisoned message once it is visible to others again."""
    found: dict[str, QueueMessage] = {}

    async def all_of_them() -> bool:
        for each in await transport.queues.get(queue, count=32, visibility=1):
            found[each.message_id] = each
        return len(found) == len(POISON)

    await eventually(all_of_them, within=PATIENCE)
    return list(found.values())


async def test_orchestrations_go_on_after_the_service_was_frozen_longer_than_the_leases_last(
    task_hub: str,
) -> None:
    with running_azurite() as frozen:
        async with run_azure_hub(settings_of(frozen, task_hub), interop_registry()) as hub:
            started = [await hub.client.start("HelloSequence", 5) for _ in range(10)]
            os.kill(frozen.process.pid, signal.SIGSTOP)
            await eventually(lambda: not any(hub.backend.owns(partition) for partition in range(4)), within=PATIENCE)
            os.kill(frozen.process.pid, signal.SIGCONT)

            ends = [await hub.client.wait_for_completion(one, timeout=PATIENCE) for one in started]

    assert [end.output for end in ends] == [[f"Hello {city}!" for city in _CITIES]] * 10


@pytest.mark.parametrize("transport", [TransportKind.LEAN, pytest.param(TransportKind.SDK, marks=pytest.mark.slow)])
async def test_an_outage_in_the_middle_loses_nothing_and_is_told_when_it_begins_and_when_it_is_over(
    task_hub: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: TransportKind
) -> None:
    ports = free_ports()
    async with AsyncExitStack() as stack:
        with running_azurite(location=tmp_path, ports=ports) as running:
            settings = replace(settings_of(running, task_hub), transport=transport)
            hub = await stack.enter_async_context(run_azure_hub(settings, interop_registry()))
            started = [await hub.client.start("HelloSequence", 5) for _ in range(10)]
            caplog.clear()
        await eventually(lambda: "storage_down" in _events(caplog), within=PATIENCE)
        with running_azurite(location=tmp_path, ports=ports):
            ends = [await hub.client.wait_for_completion(one, timeout=2 * PATIENCE) for one in started]
            await eventually(lambda: "storage_up" in _events(caplog), within=PATIENCE)
            await stack.aclose()

    assert [end.output for end in ends] == [[f"Hello {city}!" for city in _CITIES]] * 10
    assert _events(caplog) == ["storage_down", "storage_up"]


def _events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the log says on level WARNING and above."""
    return [each.__dict__.get("event", each.getMessage()) for each in caplog.records if each.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (StorageUnavailableError(call="table.batch", why="no answer"), "no answer"),
        (asyncio.TimeoutError(), "the storage has not answered in time"),
    ],
)
async def test_an_outage_of_the_lease_store_is_a_warning_that_says_what_is_wrong(
    azurite: Azurite, task_hub: str, caplog: pytest.LogCaptureFixture, error: Exception, says: str
) -> None:
    failing = False

    async def without_leases(call: StorageCall, send: Send) -> HttpAnswer:
        if failing and "Partitions" in call.resource:
            raise error
        return await send()

    async with AzureStorageBackend(settings_of(azurite, task_hub), interceptor=without_leases) as backend:
        await backend.start_worker()
        failing = True
        await eventually(lambda: any("leases cannot be kept" in each for each in _warnings(caplog)), within=PATIENCE)
        failing = False

    assert says in " ".join(_warnings(caplog))


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


_CITIES = ["Tokyo", "Seattle", "London", "Paris", "Berlin"]


async def test_a_service_that_is_not_there_is_said_to_be_unavailable(task_hub: str) -> None:
    nowhere = "http://127.0.0.1:9/devstoreaccount1"
    endpoints = "".join(f"{service}Endpoint={nowhere};" for service in ("Blob", "Queue", "Table"))
    connection = f"AccountName=devstoreaccount1;AccountKey=a2V5;{endpoints}"
    backend = AzureStorageBackend(AzureStorageSettings(connection=connection, task_hub=task_hub))

    with pytest.raises(BackendUnavailableError):
        await backend.open()

    await backend.close()
