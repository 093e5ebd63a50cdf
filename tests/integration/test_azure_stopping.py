"""A worker stops in good time also when it can give nothing back."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta

import pytest
from azurite import Azurite, running_azurite

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, PartitionManagement
from durable_ext.testing.contract_scenes import Scene
from durable_ext.testing.eventually import eventually

pytestmark = pytest.mark.azurite

KINDS = [PartitionManagement.TABLE, pytest.param(PartitionManagement.LEGACY_BLOB, marks=pytest.mark.slow)]
PATIENCE = timedelta(seconds=30)
STOP_SECONDS = 30  # by then its leases have run out anyway


async def open_worker(azurite: Azurite, task_hub: str, kind: PartitionManagement) -> AzureStorageBackend:
    settings = AzureStorageSettings(
        connection=azurite.connection_string, task_hub=task_hub, partition_manager=kind, use_app_lease=False
    )
    backend = AzureStorageBackend(settings)
    await backend.open()
    await backend.start_worker()
    await eventually(lambda: backend.owns(0), within=PATIENCE)
    return backend


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow  # one that is frozen answers nothing either
async def test_a_worker_whose_service_has_gone_stops(task_hub: str, kind: PartitionManagement) -> None:
    with running_azurite() as azurite:
        backend = await open_worker(azurite, task_hub, kind)
        azurite.process.kill()
        azurite.process.wait()

        await asyncio.wait_for(backend.close(), STOP_SECONDS)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_worker_whose_hub_was_deleted_stops(task_hub: str, kind: PartitionManagement) -> None:
    with running_azurite() as azurite:
        backend = await open_worker(azurite, task_hub, kind)
        deleting = AzureStorageBackend(AzureStorageSettings(connection=azurite.connection_string, task_hub=task_hub))
        await deleting.hub.delete()
        await deleting.close()

        await asyncio.wait_for(backend.close(), STOP_SECONDS)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_worker_with_messages_whose_service_is_frozen_stops(task_hub: str, kind: PartitionManagement) -> None:
    with running_azurite() as azurite:
        backend = await open_worker(azurite, task_hub, kind)
        scene = Scene(backend, PATIENCE)
        await scene.start()
        await scene.session()
        azurite.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.wait_for(backend.close(), STOP_SECONDS)
        finally:
            azurite.process.send_signal(signal.SIGCONT)
