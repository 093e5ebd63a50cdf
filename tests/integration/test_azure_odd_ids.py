"""Ids with characters that keys, blob names and URLs treat in their own way, with small and with large payloads.

Source: specs/azure-storage.md 3.2, 3.3, 4.6; what is stored is read with the plain Azure packages.
"""

from __future__ import annotations

import asyncio
import gzip
from datetime import timedelta
from typing import Any

import pytest
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient
from azure_hub import AzureHub, run_azure_hub, short_settings
from azurite import Azurite
from support.functions import registry_of

from durable_ext.backends.azure_storage.hub_accounts import HubAccounts
from durable_ext.backends.azure_storage.settings import TransportKind
from durable_ext.core.entities.ids import EntityId
from durable_ext.testing.eventually import eventually

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=60)
SMALL, LARGE = "x", "x" * 50_000
STEPS = [".", ".."]
USUAL = ["...", "a.", ".a", " a b ", "%", "%2F", "%252e", "a'b''", '&<>"=+,;', "^", "^0", "a\u2028", "e\u0301"]
LONG = ["x" * 255, "x" * 256, "^" * 256, "%" * 256, "😀" * 128]


def echo(context: Any) -> Any:
    value = yield context.call_activity("same", context.get_input())
    sent = yield context.wait_for_external_event("Go")
    return [value, sent]


def waiting(context: Any) -> Any:
    context.set_custom_status(context.get_input())
    value = yield context.call_activity("same", context.get_input())
    return [value, (yield context.wait_for_external_event(context.get_input()))]


def same(value: str) -> str:
    return value


def keeper(context: Any) -> None:
    context.set_state(context.get_input())


async def lives(hub: AzureHub, instance_id: str, value: str) -> None:
    """An instance of this id starts, gets an event, ends and is found."""
    assert await hub.client.start("echo", value, instance_id) == instance_id
    await hub.client.raise_event(instance_id, "Go", value)

    status = await hub.client.wait_for_completion(instance_id, timeout=PATIENCE)

    assert (status.instance_id, status.output) == (instance_id, [value, value])
    assert len(await hub.client.get_history(instance_id)) > 6


def what_is_left(azurite: Azurite, task_hub: str) -> list[str]:
    with TableServiceClient.from_connection_string(azurite.connection_string) as tables:
        found = [
            str(row["PartitionKey"])
            for table in ("History", "Instances")
            for row in tables.get_table_client(f"{task_hub}{table}").list_entities()
        ]
    with BlobServiceClient.from_connection_string(azurite.connection_string) as blobs:
        return found + list(blobs.get_container_client(f"{task_hub.lower()}-largemessages").list_blob_names())


@pytest.mark.parametrize("transport", TransportKind)
@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(STEPS, id="steps"),
        pytest.param(USUAL, id="usual", marks=pytest.mark.slow),
        pytest.param(LONG, id="long", marks=pytest.mark.slow),
    ],
)
async def test_an_instance_of_any_id_lives_and_is_purged_with_all_it_left(
    azurite: Azurite, task_hub: str, transport: TransportKind, ids: list[str]
) -> None:
    settings = short_settings(azurite, task_hub, transport=transport)
    async with run_azure_hub(settings, registry_of(orchestrators=[echo], activities=[same])) as hub:
        for value in (SMALL, LARGE):
            await asyncio.gather(*(lives(hub, instance_id, value) for instance_id in ids))
            found = [status.instance_id async for status in hub.client.query_all()]
            purged = [await hub.client.purge(instance_id) for instance_id in ids]

            assert sorted(found) == sorted(ids)
            assert [result.deleted for result in purged] == [1] * len(ids)

    assert await asyncio.to_thread(what_is_left, azurite, task_hub) == []


@pytest.mark.parametrize("transport", TransportKind)
async def test_what_is_no_address_may_hold_half_a_character(
    azurite: Azurite, task_hub: str, transport: TransportKind
) -> None:
    """.NET keeps such texts too, with another character in its place; JSON has an escape for it."""
    half = "a\ud800"
    registry = registry_of(orchestrators=[waiting], activities=[same])
    async with run_azure_hub(short_settings(azurite, task_hub, transport=transport), registry) as hub:
        await hub.client.start("waiting", half, "texts", version=half, tags={half: half})
        await hub.client.raise_event("texts", half, half + LARGE)
        ended = await hub.client.wait_for_completion("texts", timeout=PATIENCE)
        await hub.client.start("waiting", half, "reason")
        await hub.client.terminate("reason", half)
        terminated = await hub.client.wait_for_completion("reason", timeout=PATIENCE)

    assert (ended.output, ended.row.version, ended.row.tags) == ([half, half + LARGE], half, {half: half})
    assert terminated.output == half


@pytest.mark.parametrize("key", [".", "%2F", " ", "a@b"])
async def test_an_entity_of_any_key_keeps_a_large_state(azurite: Azurite, task_hub: str, key: str) -> None:
    entity = EntityId("keeper", key)
    async with run_azure_hub(short_settings(azurite, task_hub), registry_of(entities=[keeper])) as hub:
        await hub.client.signal_entity(entity, "set", LARGE)

        async def is_set() -> bool:
            return (await hub.client.read_entity(entity)).exists

        await eventually(is_set, within=PATIENCE)

        assert (await hub.client.read_entity(entity)).state == LARGE


@pytest.mark.parametrize("transport", TransportKind)
async def test_a_payload_of_the_provider_for_an_id_of_dots_is_read(
    azurite: Azurite, task_hub: str, transport: TransportKind
) -> None:
    """Its messages say `./message-...`, and the rules of its URIs leave the dots out where the blob is stored."""
    container = f"{task_hub.lower()}-largemessages"
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        service.create_container(container).upload_blob("message-1-ExecutionStarted.json.gz", gzip.compress(b"text"))
    accounts = HubAccounts(short_settings(azurite, task_hub, transport=transport), None)
    try:
        blobs = accounts.main.blobs
        found = [
            await blobs.download(container, f"{way}message-1-ExecutionStarted.json.gz") for way in ("./", ".\\", "a/../")
        ]
    finally:
        await accounts.close()

    assert [gzip.decompress(content or b"") for content in found] == [b"text"] * 3
