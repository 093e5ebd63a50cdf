"""What one kind of worker has failed or finished is rewound and purged by the other's client, and stopped half-way."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from azure_hub import AzureHub, run_azure_hub, short_settings
from azurite import Azurite
from interop_app import ActivityRuns, interop_registry
from support.freezing import Freezer
from support.provider_model.client import ProviderClient
from support.provider_model.live_storage import LiveStorage
from support.provider_model.recorded_app import recorded_app
from support.provider_model.running import RunningProvider
from support.provider_model.storage import MemoryStorage, StoppedError
from support.provider_model.worker import App, ProviderWorker

from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.backends.azure_storage.transport.http import Interceptor
from durable_ext.core.messages import InstanceId
from durable_ext.runtime.registry import ActivityDefinition, FunctionRegistry
from durable_ext.testing.eventually import eventually

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=30)
HOURS = 2 * 3600.0
REPAIRED = [["Hello Tokyo!", "repaired"], "Hello after!"]


def _broken_registry() -> FunctionRegistry:
    async def flaky(value: Any) -> str:
        raise RuntimeError("not yet")

    whole, registry = interop_registry(), FunctionRegistry()
    for name in ("SubFlaky", "Flaky"):
        definition = whole.orchestrator(name)
        assert definition is not None
        registry.add_orchestrator(definition)
    say_hello = whole.activity("SayHello")
    assert say_hello is not None
    registry.add_activity(say_hello)
    registry.add_activity(ActivityDefinition(name="Flaky", call=flaky, is_async=True))
    return registry


def _broken_app() -> App:
    def flaky(value: Any) -> str:
        raise RuntimeError("not yet")

    app = recorded_app()
    return App(app.orchestrators, {**app.activities, "Flaky": flaky})


def _settings(azurite: Azurite, hub: str) -> AzureStorageSettings:
    return short_settings(azurite, hub, use_app_lease=False)


@asynccontextmanager
async def ours(
    azurite: Azurite, hub: str, registry: FunctionRegistry, *, serve: bool = True, interceptor: Interceptor | None = None
) -> AsyncIterator[AzureHub]:
    async with run_azure_hub(_settings(azurite, hub), registry, serve=serve, interceptor=interceptor) as running:
        yield running


@asynccontextmanager
async def theirs(azurite: Azurite, hub: str, app: App) -> AsyncIterator[RunningProvider]:
    running = RunningProvider(azurite.connection_string, hub, app, "theirs")
    running.start()
    try:
        yield running
    finally:
        await asyncio.to_thread(running.stop)
    assert running.worker.complaints == []


@contextmanager
def their_client(azurite: Azurite, hub: str, before: Callable[[str, str], None] | None = None) -> Iterator[ProviderClient]:
    storage = LiveStorage(azurite.connection_string, hub, before)
    yield ProviderClient(ProviderWorker(storage, hub, recorded_app(), partitions=()))
    storage.close()


async def _ends(hub: AzureHub, instance_id: str, status: str) -> Any:
    async def has_ended() -> bool:
        found = await hub.client.get_status(instance_id)
        return found is not None and found.runtime_status.value == status

    await eventually(has_ended, f"{instance_id} is {status}", within=PATIENCE)
    return (await hub.client.get_status(instance_id)).output  # type: ignore[union-attr]


async def test_what_one_kind_of_worker_failed_is_rewound_and_finished_by_the_other(azurite: Azurite, task_hub: str) -> None:
    runs, app = ActivityRuns(), recorded_app()
    with their_client(azurite, task_hub) as client:
        async with ours(azurite, task_hub, _broken_registry()) as hub:
            await hub.client.start("SubFlaky", 1, instance_id="first")
            await _ends(hub, "first", "Failed")
        async with ours(azurite, task_hub, interop_registry(), serve=False) as hub:
            async with theirs(azurite, task_hub, _broken_app()):
                client.start("SubFlaky", "second", 1)
                await _ends(hub, "second", "Failed")
            client.rewind("first", "repaired")
            async with theirs(azurite, task_hub, app):
                first = await _ends(hub, "first", "Completed")
        async with ours(azurite, task_hub, interop_registry(runs)) as hub:
            await hub.client.rewind("second", "repaired")
            second = await _ends(hub, "second", "Completed")

    assert first == second == REPAIRED
    assert Counter(name for name, _ in app.ran) == Counter(name for name, _ in runs.all) == {"Flaky": 1, "SayHello": 1}


async def test_the_provider_goes_on_wherever_our_rewind_is_stopped(azurite: Azurite, task_hub: str) -> None:
    transport = open_lean_transport(account_from_connection_string(azurite.connection_string))
    freezer = Freezer(transport, _settings(azurite, task_hub).names)
    async with ours(azurite, task_hub, _broken_registry(), interceptor=freezer) as hub:
        await hub.client.start("SubFlaky", 1, instance_id="main")
        await _ends(hub, "main", "Failed")
    async with ours(azurite, task_hub, interop_registry(), serve=False, interceptor=freezer) as hub:
        freezer.armed = True
        await hub.client.rewind("main", "repaired")
        freezer.armed = False
    await transport.close()

    for state in freezer.states:
        storage, app = MemoryStorage(state.content, redelivered=True), recorded_app()
        worker = ProviderWorker(storage, storage.hub, app)
        ProviderClient(worker).rewind("main", "repaired")  # once more, as an operator would
        worker.run(HOURS)
        for row, _ in list(storage.tables["Instances"].values()):
            if row["RuntimeStatus"] == "Pending":  # the reference no longer finds a child whose failure was cleared (9.5)
                ProviderClient(worker).raise_event(row["PartitionKey"], "Nudge", None)
        worker.run(HOURS)
        end = worker.tables.instance_row("main")
        assert worker.complaints == []
        assert end is not None
        assert end["RuntimeStatus"] == "Completed", state.after
        assert Counter(name for name, _ in app.ran) == {"Flaky": 1, "SayHello": 1}, state.after
    assert len(freezer.states) > 7


@pytest.mark.slow
async def test_our_worker_goes_on_wherever_the_rewind_of_the_provider_is_stopped(azurite: Azurite, task_hub: str) -> None:
    ids = [f"main-{n}" for n in range(1, 14)]
    async with ours(azurite, task_hub, _broken_registry()) as hub:
        for instance_id in ids:
            await hub.client.start("SubFlaky", 1, instance_id=instance_id)
        for instance_id in ids:
            await _ends(hub, instance_id, "Failed")
    stopped = [one for n, one in enumerate(ids, 1) if _rewinds_until(azurite, task_hub, one, n)]
    runs = ActivityRuns()
    async with ours(azurite, task_hub, interop_registry(runs)) as hub:
        for instance_id in stopped:
            # Once more, as an operator would; clients refuse it if only the message is missing, the store does not.
            await hub.backend.instances.rewind(InstanceId(instance_id), "repaired")
        for instance_id in ids:
            assert await _ends(hub, instance_id, "Completed") == REPAIRED

    assert 7 < len(stopped) < len(ids)
    assert Counter(name for name, _ in runs.all) == {"Flaky": len(ids), "SayHello": len(ids)}


def _rewinds_until(azurite: Azurite, hub: str, instance_id: str, n: int) -> bool:
    """Rewind with the model's client, which ends before its n-th write; whether it has so many."""
    writes = itertools.count(1)

    def stop(verb: str, _: str) -> None:
        if verb in ("write", "put") and next(writes) == n:
            raise StoppedError

    with their_client(azurite, hub, stop) as client:
        try:
            client.rewind(instance_id, "repaired")
        except StoppedError:
            return True
    return False


@pytest.mark.slow
async def test_what_one_kind_of_worker_finished_is_purged_by_the_other_and_its_id_is_free_again(
    azurite: Azurite, task_hub: str
) -> None:
    large = "x" * 40_000
    async with ours(azurite, task_hub, interop_registry()) as hub:
        with their_client(azurite, task_hub) as client:
            for name in ("a", "b"):
                await hub.client.start("Echo", large, instance_id=name)
                await _ends(hub, name, "Completed")
            client.raise_event("a", "Late", 1)  # on its way while the instance is purged
            assert client.purge("a")
            assert not client.purge("a")
            left = await asyncio.to_thread(_left_of, azurite, task_hub)
            client.start("Echo", "a", "again")
            again = await _ends(hub, "a", "Completed")
            client.start("SubOrch", "c", 1)
            await _ends(hub, "c", "Completed")
            purged = [(await hub.client.purge(name)).deleted for name in ("a", "b", "c", "c-child")]

    assert left == {"History": {"b"}, "Instances": {"b"}}
    assert again == "again"
    assert purged == [1, 1, 1, 1]


def _left_of(azurite: Azurite, hub: str) -> dict[str, set[str]]:
    storage = LiveStorage(azurite.connection_string, hub)
    found = {table: {row["PartitionKey"] for row, _ in storage.all_rows(table)} for table in ("History", "Instances")}
    storage.close()
    return found
