"""A hub that somebody deletes while a worker serves it, or whose emulator was emptied: it is made again and served."""

from __future__ import annotations

from datetime import timedelta

import pytest
from azure_hub import AzureHub, run_azure_hub, short_settings
from azurite import Azurite
from interop_app import interop_registry

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, PartitionManagement
from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.backends.azure_storage.transport.errors import StorageConflictError
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.errors import BackendError, InstanceWaitTimeoutError
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=60)
KINDS = [
    PartitionManagement.TABLE,
    pytest.param(PartitionManagement.SAFE_BLOB, marks=pytest.mark.slow),
    pytest.param(PartitionManagement.LEGACY_BLOB, marks=pytest.mark.slow),
]


def settings_of(azurite: Azurite, task_hub: str, kind: PartitionManagement) -> AzureStorageSettings:
    return short_settings(
        azurite,
        task_hub,
        partition_manager=kind,
        lease_interval=timedelta(seconds=3 if kind is PartitionManagement.TABLE else 15),
        lease_acquire_interval=timedelta(seconds=0.5),
        app_lease_renew_interval=timedelta(seconds=1),
    )


async def has_finished(hub: AzureHub) -> bool:
    try:
        instance_id = await hub.client.start("HelloSequence", 1)
        end = await hub.client.wait_for_completion(instance_id, timeout=timedelta(seconds=10))
    except (BackendError, InstanceWaitTimeoutError):  # one that was started in that moment may wait for a minute
        return False
    return bool(end.output == ["Hello Tokyo!"])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_hub_that_was_deleted_elsewhere_is_made_again(
    azurite: Azurite, task_hub: str, kind: PartitionManagement, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(azurite, task_hub, kind)
    async with run_azure_hub(settings, interop_registry()) as hub:
        assert await has_finished(hub)
        deleting = AzureStorageBackend(settings_of(azurite, task_hub, kind))
        await deleting.hub.delete()
        await deleting.close()

        await eventually(lambda: "made again" in caplog.text, within=PATIENCE)
        await eventually(lambda: has_finished(hub), within=PATIENCE)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_hub_whose_restoration_fails_halfway_is_completed(
    azurite: Azurite, task_hub: str, kind: PartitionManagement, caplog: pytest.LogCaptureFixture
) -> None:
    refusals, told_early = 0, False

    async def refuses(call: StorageCall, send: Send) -> HttpAnswer:
        nonlocal refusals, told_early
        if refusals and call.verb == "table.create" and b"History" in call.body:
            refusals -= 1
            told_early = "made again" in caplog.text
            raise StorageConflictError(call="table.create", status=409, code="TableBeingDeleted")
        return await send()

    async with run_azure_hub(settings_of(azurite, task_hub, kind), interop_registry(), interceptor=refuses) as hub:
        assert await has_finished(hub)
        refusals = 1
        deleting = AzureStorageBackend(settings_of(azurite, task_hub, kind))
        await deleting.hub.delete()
        await deleting.close()

        await eventually(lambda: "made again" in caplog.text, within=PATIENCE)
        await eventually(lambda: has_finished(hub), within=PATIENCE)
        assert (refusals, told_early) == (0, False)


async def test_a_hub_that_its_own_process_deletes_stays_away(azurite: Azurite, task_hub: str) -> None:
    async with run_azure_hub(settings_of(azurite, task_hub, PartitionManagement.TABLE), interop_registry()) as hub:
        assert await has_finished(hub)
        await hub.backend.hub.delete()
        await eventually(lambda: not any(map(hub.backend.owns, range(4))), within=PATIENCE)

        assert not await hub.backend.hub.exists()
        assert await queues_of(azurite, hub.backend) == []


async def queues_of(azurite: Azurite, backend: AzureStorageBackend) -> list[str]:
    transport = open_lean_transport(account_from_connection_string(azurite.connection_string))
    names = backend._settings.names
    try:
        every = (names.work_item_queue, *names.control_queues(4))
        return [name for name in every if await transport.queues.exists(name)]
    finally:
        await transport.close()
