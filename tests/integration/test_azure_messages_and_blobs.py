"""What the plain Azure packages see of messages and blobs beside their content: how long they stay, and what they are.

Source: specs/azure-storage.md 4.1, 4.6, 6.5, 13 (12, 30).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient
from azure_hub import run_azure_hub
from azurite import Azurite
from interop_app import interop_registry

from durable_ext.backends.azure_storage.settings import AzureStorageSettings, TransportKind
from durable_ext.runtime.registry import FunctionRegistry

pytestmark = pytest.mark.azurite

LARGE = '"' + "x" * 50_000 + '"'


@pytest.mark.parametrize("kind", TransportKind)
async def test_messages_never_expire_and_their_blobs_are_plain_bytes(
    azurite: Azurite, task_hub: str, kind: TransportKind
) -> None:
    settings = AzureStorageSettings(
        connection=azurite.connection_string, task_hub=task_hub, partition_count=1, transport=kind
    )
    async with run_azure_hub(settings, FunctionRegistry(), serve=False) as hub:
        await hub.client.start_recorded("Unknown", '"small"', "small")
        await hub.client.start_recorded("Unknown", LARGE, "large")
        messages, blobs = await asyncio.to_thread(_stored, azurite.connection_string, task_hub.lower())

    assert [message.expires_on.year for message in messages] == [9999, 9999]
    assert [(blob.content_settings.content_type, blob.content_settings.content_encoding) for blob in blobs] == [
        ("application/octet-stream", None)
    ]
    assert [(blob.blob_type, blob.metadata) for blob in blobs] == [("BlockBlob", {})]


def _stored(connection: str, hub: str) -> tuple[list[Any], list[Any]]:
    """Return the messages of the only control queue and the blobs of the large payloads."""
    with (
        QueueClient.from_connection_string(connection, f"{hub}-control-00") as queue,
        BlobServiceClient.from_connection_string(connection) as blobs,
    ):
        container = blobs.get_container_client(f"{hub}-largemessages")
        return queue.peek_messages(max_messages=32), list(container.list_blobs(include=["metadata"]))


async def test_a_large_value_is_read_under_another_name_of_its_account(azurite: Azurite, task_hub: str) -> None:
    settings = AzureStorageSettings(connection=azurite.connection_string, task_hub=task_hub)
    elsewhere = replace(settings, connection=azurite.connection_string.replace("127.0.0.1", "localhost"))
    async with run_azure_hub(settings, interop_registry()) as hub:
        instance_id = await hub.client.start("Echo", "x" * 100_000)
        await hub.client.wait_for_completion(instance_id)

    async with run_azure_hub(elsewhere, FunctionRegistry(), serve=False) as hub:
        status = await hub.client.get_status(instance_id)

    assert elsewhere.account.blob_endpoint != settings.account.blob_endpoint
    assert status is not None
    assert status.output == "x" * 100_000
