"""An instance started again under its id, and messages that reach a worker before the new start does.

Source: specs/azure-storage.md 6.6, 8.3, 8.6.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from azure_hub import run_azure_hub, short_settings
from azurite import Azurite
from interop_app import interop_registry
from support.provider_messages import provider_message

from durable_ext.backends.azure_storage.partitions import partition_index
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.client.client import DurableClient
from durable_ext.client.opening import open_client
from durable_ext.core.events import OrchestrationStatus
from durable_ext.testing.eventually import eventually

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=30)
LATE_SECONDS = 2


@pytest.fixture
def settings(azurite: Azurite, task_hub: str) -> AzureStorageSettings:
    return short_settings(azurite, task_hub)


async def end_of_first_run(settings: AzureStorageSettings) -> str:
    """Leave an ended instance that no longer waits for its timer; return its execution id."""
    async with run_azure_hub(settings, interop_registry()) as hub:
        await hub.client.start("EventOrTimer", 600, "again")
        await hub.client.raise_event("again", "Approval", 1)
        end = await hub.client.wait_for_completion("again", timeout=PATIENCE)
    assert end.execution_id is not None
    return end.execution_id


async def start_again_slowly(settings: AzureStorageSettings, transport: StorageTransport, client: DurableClient) -> None:
    """Start it again, and let the start message appear after everything else that is in the queue."""
    await client.start("EventOrTimer", 600, "again")
    taken = await transport.queues.get(control_queue(settings), count=32, visibility=LATE_SECONDS)
    assert len(taken) == 1


def control_queue(settings: AzureStorageSettings) -> str:
    return settings.names.control_queue(partition_index("again", settings.partition_count))


async def test_a_timer_of_the_former_run_does_not_undo_the_new_start(
    settings: AzureStorageSettings, transport: StorageTransport
) -> None:
    former = await end_of_first_run(settings)
    async with open_client(settings) as client:
        await start_again_slowly(settings, transport, client)
    fired = provider_message(
        "TimerFired", "again", former, ("again", former), TimerId=0, FireAt="2026-11-21T10:50:10Z", EventType=11
    )
    await transport.queues.put(control_queue(settings), fired)

    async with run_azure_hub(settings, interop_registry()) as hub:
        await eventually(lambda: _runs_again(hub.client), within=PATIENCE)
        await hub.client.raise_event("again", "Approval", 2)
        end = await hub.client.wait_for_completion("again", timeout=PATIENCE)

    assert (end.runtime_status, end.output) == (OrchestrationStatus.COMPLETED, 2)


async def _runs_again(client: DurableClient) -> bool:
    status = await client.get_status("again")
    return status is not None and status.runtime_status is OrchestrationStatus.RUNNING


async def test_an_event_for_the_new_run_waits_for_its_start(
    settings: AzureStorageSettings, transport: StorageTransport
) -> None:
    await end_of_first_run(settings)
    async with open_client(settings) as client:
        await start_again_slowly(settings, transport, client)
        await client.raise_event("again", "Approval", 2)

    async with run_azure_hub(settings, interop_registry()) as hub:
        end = await hub.client.wait_for_completion("again", timeout=PATIENCE)

    assert (end.runtime_status, end.output) == (OrchestrationStatus.COMPLETED, 2)


async def test_a_new_run_that_is_terminated_before_it_starts_does_not_start(
    settings: AzureStorageSettings, transport: StorageTransport
) -> None:
    await end_of_first_run(settings)
    async with open_client(settings) as client:
        await start_again_slowly(settings, transport, client)
        await client.terminate("again", "not after all")

    async with run_azure_hub(settings, interop_registry()) as hub:
        end = await hub.client.wait_for_completion("again", timeout=PATIENCE)

    assert (end.runtime_status, end.row.output) == (OrchestrationStatus.TERMINATED, "not after all")
