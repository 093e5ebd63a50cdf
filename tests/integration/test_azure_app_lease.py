"""One application works on a hub at a time: the other gets neither instances nor activities (specs/azure-storage.md 7.3)."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from azure_hub import run_azure_hub, short_settings
from azurite import Azurite

from durable_ext.backends.azure_storage import partition_keeper
from durable_ext.backends.azure_storage.app_lease import app_lease_id
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.worker_ids import new_worker_id
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.orchestrators import OrchestratorDefinition
from durable_ext.runtime.registry import ActivityDefinition, FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=30)
PLAIN = WorkerSettings(local_activities="off")


async def work(value):
    await asyncio.sleep(0.01)
    return value


def chain(context):
    values = []
    for number in range(10):
        values.append((yield context.call_activity("work", number)))
    return values


def registry(released: threading.Event | None = None) -> FunctionRegistry:
    """Return the app; the orchestration "stuck" blocks its thread until it is released."""

    def stuck(context):
        yield context.wait_for_external_event("go")
        assert released is not None
        released.wait(PATIENCE.total_seconds())
        return "done"

    functions = FunctionRegistry()
    functions.add_activity(ActivityDefinition(name="work", call=work, is_async=True))
    functions.add_orchestrator(OrchestratorDefinition(name="chain", function=chain))
    functions.add_orchestrator(OrchestratorDefinition(name="stuck", function=stuck))
    return functions


def settings_of(azurite: Azurite, task_hub: str) -> AzureStorageSettings:
    return short_settings(
        azurite,
        task_hub,
        app_name="Ours",
        app_lease_renew_interval=timedelta(seconds=0.5),
        app_lease_acquire_interval=timedelta(seconds=0.5),
    )


def of_another_app(settings: AzureStorageSettings) -> AzureStorageSettings:
    return replace(settings, app_name="Theirs", worker_id=new_worker_id())


async def test_another_application_takes_no_activities(azurite: Azurite, task_hub: str) -> None:
    settings = settings_of(azurite, task_hub)
    async with run_azure_hub(settings, registry(), worker_settings=PLAIN) as ours:
        assert await ours.backend.listening(PATIENCE)
        async with run_azure_hub(of_another_app(settings), FunctionRegistry(), worker_settings=PLAIN):
            started = [await ours.client.start("chain") for _ in range(4)]
            ends = [await ours.client.wait_for_completion(one, timeout=PATIENCE) for one in started]

    assert [end.output for end in ends] == [list(range(10))] * 4


async def test_an_application_that_becomes_primary_takes_the_activities_too(azurite: Azurite, task_hub: str) -> None:
    settings = settings_of(azurite, task_hub)
    async with (
        run_azure_hub(settings, FunctionRegistry(), worker_settings=PLAIN) as others,
        run_azure_hub(of_another_app(settings), registry(), worker_settings=PLAIN) as ours,
    ):
        assert await others.backend.listening(PATIENCE)
        await ours.backend.hub.make_primary()
        await eventually(lambda: not others.backend.owns(0) and ours.backend.owns(0), within=PATIENCE)
        started = await ours.client.start("chain")
        ended = await ours.client.wait_for_completion(started, timeout=PATIENCE)

    assert ended.output == list(range(10))


async def test_an_application_that_was_made_primary_begins_though_the_former_one_is_gone(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    settings = settings_of(azurite, task_hub)
    await asked_for(transport, settings, owner="Theirs", desired="Ours")

    async with run_azure_hub(settings, registry()) as ours:
        assert await ours.backend.listening(timedelta(seconds=5))


async def test_a_worker_that_starts_leaves_the_wish_of_another_application(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    settings = settings_of(azurite, task_hub)
    await asked_for(transport, settings, owner="Ours", desired="Theirs")

    async with run_azure_hub(settings, registry()) as ours:
        assert await ours.backend.listening(PATIENCE)
        content = await transport.blobs.download(settings.names.app_lease_container, settings.names.app_lease_blob)

    assert json.loads(content or b"") == {"OwnerId": app_lease_id("Ours"), "DesiredSwapId": app_lease_id("Theirs")}


async def asked_for(transport: StorageTransport, settings: AzureStorageSettings, *, owner: str, desired: str) -> None:
    """Leave what a "make primary" of one application leaves while nobody holds the lease."""
    names = settings.names
    content = {"OwnerId": app_lease_id(owner), "DesiredSwapId": app_lease_id(desired)}
    await transport.blobs.create_container(names.app_lease_container)
    await transport.blobs.upload_new(names.app_lease_container, names.app_lease_blob, json.dumps(content).encode())


async def test_a_lease_loop_that_does_not_end_in_time_does_not_go_on_beside_the_next(
    azurite: Azurite, task_hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_keeper, "_STOP_LIMIT_SECONDS", 0.2)
    settings, released = settings_of(azurite, task_hub), threading.Event()

    def loops() -> int:
        return sum(1 for task in asyncio.all_tasks() if task.get_name().endswith(".leases"))

    async with run_azure_hub(settings, registry(released)) as ours:
        assert await ours.backend.listening(PATIENCE)
        started = await ours.client.start("stuck")
        await ours.client.raise_event(started, "go")
        async with run_azure_hub(of_another_app(settings), FunctionRegistry()) as others:
            await others.backend.hub.make_primary()
            assert await others.backend.listening(PATIENCE)
            await ours.backend.hub.make_primary()
            await eventually(lambda: ours.backend.owns(0), within=PATIENCE)

        assert loops() == 1
        released.set()
        ended = await ours.client.wait_for_completion(started, timeout=PATIENCE)

    assert ended.runtime_status is OrchestrationStatus.COMPLETED
