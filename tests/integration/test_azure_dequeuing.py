"""How many control messages a worker takes: specs/azure-storage.md 8.2 and 11."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from azure.storage.queue import QueueClient
from azure_hub import short_settings
from azurite import Azurite

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.client.opening import open_client
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import CallCounter

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=30)


def visible(azurite: Azurite, queue: str) -> int:
    with QueueClient.from_connection_string(azurite.connection_string, queue) as client:
        return len(client.peek_messages(max_messages=32))


async def test_a_worker_with_a_full_buffer_leaves_the_rest_to_others(azurite: Azurite, task_hub: str) -> None:
    settings = short_settings(
        azurite,
        task_hub,
        partition_count=1,
        control_queue_batch_size=2,
        control_queue_buffer_threshold=5,
    )
    queue = settings.names.control_queue(0)
    calls = CallCounter()
    backend = AzureStorageBackend(settings, interceptor=calls)
    await backend.open()
    async with open_client(settings) as client:
        for number in range(20):
            await client.start("Anything", None, f"waits-{number}")

    await backend.start_worker()  # nobody takes the sessions that it makes
    await eventually(lambda: calls.by_verb["queue.get"] == 3, within=PATIENCE)
    await eventually(lambda: calls.by_verb["table.query"] >= 6, within=PATIENCE)  # time enough for another get

    assert calls.by_verb["queue.get"] == 3
    assert await asyncio.to_thread(visible, azurite, queue) == 20 - 6
    await backend.close()
    assert await asyncio.to_thread(visible, azurite, queue) == 20
