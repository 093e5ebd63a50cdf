"""With `fetchLargeMessagesAutomatically: false` a status shows where a large value is; what needs the value still gets it.

Source: specs/azure-storage.md 6.5, 10.7, 11.
"""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from azure_hub import run_azure_hub, short_settings
from azurite import Azurite
from interop_app import interop_registry

from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import ExecutionStarted
from durable_ext.testing.eventually import eventually

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=30)
LARGE = "x" * 100_000


@pytest.fixture
def settings(azurite: Azurite, task_hub: str) -> AzureStorageSettings:
    return short_settings(azurite, task_hub, fetch_large_messages=False)


async def test_a_status_shows_the_address_of_a_large_value(settings: AzureStorageSettings) -> None:
    async with run_azure_hub(settings, interop_registry()) as hub:
        instance_id = await hub.client.start("Echo", LARGE)
        await hub.client.wait_for_completion(instance_id, timeout=PATIENCE)
        status = await hub.client.get_status(instance_id)

    assert status is not None
    for shown in (status.row.input, status.row.output):
        assert shown is not None
        assert shown.startswith("http://127.0.0.1")
        assert shown.endswith(".json.gz")


async def test_a_restart_has_the_large_input_and_not_its_address(settings: AzureStorageSettings) -> None:
    async with run_azure_hub(settings, interop_registry()) as hub:
        first = await hub.client.start("Echo", LARGE)
        await hub.client.wait_for_completion(first, timeout=PATIENCE)
        again = await hub.client.restart(first)
        await hub.client.wait_for_completion(again, timeout=PATIENCE)
        history = await hub.client.get_history(again)

    started = next(event for event in history if isinstance(event, ExecutionStarted))
    assert json.loads(json.loads(started.input or "")) == LARGE


async def test_a_large_state_of_an_entity_is_read(settings: AzureStorageSettings) -> None:
    entity = EntityId("Counter", "large")
    async with run_azure_hub(settings, interop_registry()) as hub:
        await hub.client.signal_entity(entity, "set", LARGE)

        async def is_set() -> bool:
            return (await hub.client.read_entity(entity)).exists

        await eventually(is_set, within=PATIENCE)
        snapshot = await hub.client.read_entity(entity)
        await hub.client.signal_entity(entity, "add", "y")

        async def is_longer() -> bool:
            return len((await hub.client.read_entity(entity)).state) == len(LARGE) + 1

        await eventually(is_longer, within=PATIENCE)

    assert snapshot.state == LARGE
