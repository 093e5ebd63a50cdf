"""Clients that count with another number of partitions than the hub has: their messages arrive all the same.

Monitoring tools know a hub by its name and take the default of four. Source: specs/azure-storage.md 2.2, 7.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from azure_hub import AzureHub, run_azure_hub, short_settings
from azurite import Azurite
from interop_app import interop_registry
from support.provider_messages import provider_message

from durable_ext.backends.azure_storage.lease_table import LeaseTable
from durable_ext.backends.azure_storage.partitions import partition_index
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, PartitionManagement
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.transport.table import Change, TableChange
from durable_ext.errors import ConfigurationError
from durable_ext.testing.eventually import eventually

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=30)
LEASE_BLOBS = {
    PartitionManagement.TABLE: (),
    PartitionManagement.SAFE_BLOB: ("intent", "ownership"),
    PartitionManagement.LEGACY_BLOB: ("default",),
}


def settings_of(azurite: Azurite, task_hub: str, partition_count: int, **fields: Any) -> AzureStorageSettings:
    return short_settings(azurite, task_hub, partition_count=partition_count, **fields)


async def visit(transport: StorageTransport, settings: AzureStorageSettings, partition_count: int = 4) -> None:
    """Do what a client of the .NET provider does to a hub before its first operation (specs/azure-storage.md 2)."""
    queues = settings.names.control_queues(partition_count)
    if settings.partition_manager is PartitionManagement.TABLE:
        await LeaseTable(transport.tables, settings.names.partitions_table).create(queues)
    for kind in LEASE_BLOBS[settings.partition_manager]:
        for queue in queues:
            content = f'{{"PartitionId":"{queue}","Owner":null,"Token":null,"Epoch":0}}'
            await transport.blobs.upload_new(settings.names.lease_container, f"{kind}/{queue}", content.encode())
    for queue in queues:
        await transport.queues.create(queue)


async def starts(hub: AzureHub, instance_id: str) -> None:
    await hub.client.start("WaitEvent", None, instance_id)

    async def waits() -> bool:
        return len(await hub.client.get_history(instance_id)) > 2

    await eventually(waits, within=PATIENCE)


def approval(instance_id: str) -> str:
    return provider_message("EventRaised", instance_id, Name="Approval", Input="7", EventType=15)


async def test_a_message_in_the_queue_of_another_workers_partition_reaches_its_instance(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    settings, other_settings = (settings_of(azurite, task_hub, 8) for _ in range(2))
    async with (
        run_azure_hub(settings, interop_registry()) as hub,
        run_azure_hub(other_settings, interop_registry()) as other,
    ):
        await eventually(lambda: len(owned(hub)) == len(owned(other)) == 4, within=PATIENCE)
        waiting = [name for name in (f"waiter-{number}" for number in range(40)) if is_elsewhere(name, hub, other)][:4]
        for instance_id in waiting:
            await starts(hub, instance_id)

        for instance_id in waiting:
            queue = settings.names.control_queue(partition_index(instance_id, 4))
            await transport.queues.put(queue, approval(instance_id))
        ends = [await hub.client.wait_for_completion(instance_id, timeout=PATIENCE) for instance_id in waiting]

    assert [end.output for end in ends] == [7] * 4


def owned(hub: AzureHub) -> list[int]:
    return [partition for partition in range(8) if hub.backend.owns(partition)]


def is_elsewhere(instance_id: str, *hubs: AzureHub) -> bool:
    """Whether one worker has the instance's queue and another the one that a client with four queues takes."""
    right, wrong = partition_index(instance_id, 8), partition_index(instance_id, 4)
    return any(hub.backend.owns(right) and not hub.backend.owns(wrong) for hub in hubs)


@pytest.mark.parametrize("kind", list(PartitionManagement))
async def test_queues_that_a_client_has_added_are_served_too(
    azurite: Azurite, task_hub: str, transport: StorageTransport, kind: PartitionManagement
) -> None:
    settings = settings_of(azurite, task_hub, 1, partition_manager=kind)
    async with run_azure_hub(settings, interop_registry()) as hub:
        waiting = [f"waiter-{number}" for number in range(8)]
        for instance_id in waiting:
            await starts(hub, instance_id)

        await visit(transport, settings)
        for instance_id in waiting:
            queue = settings.names.control_queue(partition_index(instance_id, 4))
            await transport.queues.put(queue, approval(instance_id))
        ends = [await hub.client.wait_for_completion(instance_id, timeout=PATIENCE) for instance_id in waiting]

    assert {partition_index(instance_id, 4) for instance_id in waiting} == {0, 1, 2, 3}
    assert [end.output for end in ends] == [7] * 8


@pytest.mark.parametrize("kind", list(PartitionManagement))
async def test_a_hub_that_a_client_has_visited_is_still_the_hub_that_it_was(
    azurite: Azurite, task_hub: str, transport: StorageTransport, kind: PartitionManagement
) -> None:
    settings = settings_of(azurite, task_hub, 1, partition_manager=kind)
    async with run_azure_hub(settings, interop_registry()) as hub:
        await eventually(lambda: hub.backend.owns(0), within=PATIENCE)
        await visit(transport, settings)
        await eventually(lambda: all(hub.backend.owns(partition) for partition in range(4)), within=PATIENCE)

    async with run_azure_hub(settings_of(azurite, task_hub, 1, partition_manager=kind), interop_registry()) as again:
        started = await again.client.start("HelloSequence", 1)
        end = await again.client.wait_for_completion(started, timeout=PATIENCE)

    assert end.output == ["Hello Tokyo!"]


@pytest.mark.parametrize("wanted", [1, 8])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (PartitionManagement.SAFE_BLOB, PartitionManagement.TABLE),
        (PartitionManagement.TABLE, PartitionManagement.SAFE_BLOB),
        (PartitionManagement.LEGACY_BLOB, PartitionManagement.LEGACY_BLOB),
    ],
)
async def test_another_count_is_refused_whichever_kind_of_leases_the_hub_had(
    azurite: Azurite, task_hub: str, first: PartitionManagement, second: PartitionManagement, wanted: int
) -> None:
    async with run_azure_hub(settings_of(azurite, task_hub, 4, partition_manager=first), interop_registry()) as hub:
        await eventually(lambda: hub.backend.owns(0), within=PATIENCE)

    other = AzureStorageBackend(settings_of(azurite, task_hub, wanted, partition_manager=second))
    with pytest.raises(ConfigurationError, match="partitionCount to 4"):
        await other.open()
    await other.close()


@pytest.mark.parametrize("kind", list(PartitionManagement))
async def test_whoever_is_refused_since_others_served_what_a_client_added_is_told_the_way_out(
    azurite: Azurite, task_hub: str, transport: StorageTransport, kind: PartitionManagement
) -> None:
    settings = settings_of(azurite, task_hub, 1, partition_manager=kind)
    async with run_azure_hub(settings, interop_registry()) as hub:
        await eventually(lambda: hub.backend.owns(0), within=PATIENCE)
    await visit(transport, settings)
    await serve_as_the_provider(transport, settings)

    refused = AzureStorageBackend(settings)
    with pytest.raises(ConfigurationError) as told:
        await refused.open()
    await refused.close()
    place = settings.names.partitions_table if kind is PartitionManagement.TABLE else settings.names.lease_container
    assert "workers have served 4 partitions" in str(told.value)
    assert "the settings say 1" in str(told.value)
    assert f"'{settings.names.control_queue(1)}' to '{settings.names.control_queue(3)}'" in str(told.value)
    assert f"'{place}'" in str(told.value)

    await delete_leases(transport, settings, settings.names.control_queues(4)[1:])
    async with run_azure_hub(settings, interop_registry()) as again:
        started = await again.client.start("HelloSequence", 1)
        end = await again.client.wait_for_completion(started, timeout=PATIENCE)
    assert end.output == ["Hello Tokyo!"]


async def serve_as_the_provider(transport: StorageTransport, settings: AzureStorageSettings) -> None:
    """Leave all leases as a worker of the provider that has served them and was stopped."""
    names = settings.names
    if settings.partition_manager is PartitionManagement.TABLE:
        table = LeaseTable(transport.tables, names.partitions_table)
        served = datetime(2024, 1, 1, tzinfo=timezone.utc)
        await table.write([replace(lease, owned_since=served, expires_at=served) for lease in await table.load()])
    info = f'{{"TaskHubName":"{names.task_hub}","CreatedAt":"2024-05-06T07:08:09Z","PartitionCount":4}}'
    if LEASE_BLOBS[settings.partition_manager]:
        await transport.blobs.upload(names.lease_container, "taskhub.json", info.encode())
    for kind in LEASE_BLOBS[settings.partition_manager]:
        for queue in names.control_queues(4):
            content = f'{{"PartitionId":"{queue}","Owner":null,"Token":null,"Epoch":3}}'
            await transport.blobs.upload(names.lease_container, f"{kind}/{queue}", content.encode())


async def delete_leases(transport: StorageTransport, settings: AzureStorageSettings, queues: Sequence[str]) -> None:
    names = settings.names
    if settings.partition_manager is PartitionManagement.TABLE:
        for queue in queues:
            row = {"PartitionKey": "", "RowKey": queue}
            await transport.tables.apply(names.partitions_table, TableChange(Change.DELETE, row, "*"))
    for kind in LEASE_BLOBS[settings.partition_manager]:
        for queue in queues:
            await transport.blobs.delete(names.lease_container, f"{kind}/{queue}")


# Made by a scale monitor, which takes the default (specs/azure-storage.md 2.1), or by whoever.
@pytest.mark.parametrize(
    "content",
    [
        '{"TaskHubName":"Hub","CreatedAt":"2024-05-06T07:08:09Z","PartitionCount":4}',
        '{"PartitionCount":"four"}',
        "{}",
        "[]",
        "no JSON",
    ],
)
async def test_a_count_that_stands_only_in_a_blob_without_its_queues_means_nothing(
    azurite: Azurite, task_hub: str, transport: StorageTransport, content: str
) -> None:
    settings = settings_of(azurite, task_hub, 8)
    await transport.blobs.create_container(settings.names.lease_container)
    await transport.blobs.upload(settings.names.lease_container, "taskhub.json", content.encode())

    async with AzureStorageBackend(settings) as backend:
        assert await backend.hub.exists()
