"""What clients and the log are told while a hub is away: deleted by somebody, and not made again yet."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient
from azure_hub import run_azure_hub
from azurite import Azurite
from interop_app import interop_registry

from durable_ext.backends.azure_storage.app_lease import app_lease_id
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, PartitionManagement, TransportKind
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.transport.table import Change, TableChange
from durable_ext.core.instances import InstanceFilter
from durable_ext.core.messages import InstanceId
from durable_ext.errors import BackendUnavailableError
from durable_ext.http.management import ManagementApi
from durable_ext.http.messages import HttpRequestValue
from durable_ext.http.urls import ManagementUrls
from durable_ext.testing.contract_scenes import start_event
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import CallCounter

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=60)
ORIGIN = "http://localhost:7071/runtime/webhooks/durabletask"


def settings_of(azurite: Azurite, task_hub: str, kind: PartitionManagement) -> AzureStorageSettings:
    return AzureStorageSettings(
        connection=azurite.connection_string,
        task_hub=task_hub,
        partition_manager=kind,
        max_queue_polling_interval=timedelta(seconds=0.2),
        app_name="Ours",
        lease_interval=timedelta(seconds=3 if kind is PartitionManagement.TABLE else 15),
        lease_acquire_interval=timedelta(seconds=0.5),
        app_lease_renew_interval=timedelta(seconds=1),
    )


@pytest.mark.parametrize("kind", list(PartitionManagement))
async def test_starts_while_a_hub_is_made_again_are_503(
    azurite: Azurite, task_hub: str, kind: PartitionManagement, caplog: pytest.LogCaptureFixture
) -> None:
    statuses: Counter[int] = Counter()
    async with run_azure_hub(settings_of(azurite, task_hub, kind), interop_registry()) as hub:
        api = ManagementApi(hub.client, ManagementUrls(base_url=ORIGIN, task_hub=task_hub))
        route = "/orchestrators/HelloSequence"
        request = HttpRequestValue(
            method="POST",
            url=ORIGIN + route,
            path=route,
            headers={"content-type": "application/json"},
            body=b"1",
        )

        async def starting() -> None:
            while True:
                statuses[(await api.handle(request, route)).status] += 1
                await asyncio.sleep(0)

        clients = [asyncio.ensure_future(starting()) for _ in range(2)]
        await eventually(lambda: statuses[202] > 0, within=PATIENCE)
        deleting = AzureStorageBackend(settings_of(azurite, task_hub, kind))
        await deleting.hub.delete()
        await deleting.close()
        await eventually(lambda: "made again" in caplog.text, within=PATIENCE)
        before = statuses[202]
        await eventually(lambda: statuses[202] > before, within=PATIENCE)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    assert set(statuses) <= {202, 503}
    assert statuses[503] > 0
    assert "internal error" not in caplog.text
    assert "<?xml" not in caplog.text


@pytest.mark.parametrize(
    ("kind", "leases"), [(PartitionManagement.TABLE, "Partitions"), (PartitionManagement.SAFE_BLOB, "-leases")]
)
async def test_a_hub_has_its_queues_tables_and_containers_and_none_of_them_once_it_is_deleted(
    azurite: Azurite, task_hub: str, kind: PartitionManagement, leases: str
) -> None:
    settings = settings_of(azurite, task_hub, kind)
    async with run_azure_hub(settings, interop_registry()) as hub:
        await eventually(lambda: hub.backend.owns(0), within=PATIENCE)
        await hub.client.start_recorded("Unknown", '"' + "x" * 50_000 + '"', "large")
    before = await asyncio.to_thread(_resources, azurite, task_hub)

    async with AzureStorageBackend(settings) as deleting:
        await deleting.hub.delete()

    assert before == sorted(
        [f"-control-{index:02d}" for index in range(settings.partition_count)]
        + ["-workitems", "History", "Instances", leases, "-applease", "-largemessages"]
    )
    assert await asyncio.to_thread(_resources, azurite, task_hub) == []


def _resources(azurite: Azurite, task_hub: str) -> list[str]:
    """Return the names of all queues, tables and containers of a hub without the hub's, as the plain packages list them."""
    connection = azurite.connection_string
    with (
        QueueServiceClient.from_connection_string(connection) as queues,
        TableServiceClient.from_connection_string(connection) as tables,
        BlobServiceClient.from_connection_string(connection) as blobs,
    ):
        names = [str(one.name) for one in queues.list_queues()]
        names += [one.name for one in tables.list_tables()]
        names += [str(one.name) for one in blobs.list_containers()]
    hubs = {name: task_hub.lower() if "-" in name else task_hub for name in names}  # tables keep its case
    return sorted(name.removeprefix(hub) for name, hub in hubs.items() if name.startswith(hub))


async def test_the_app_lease_of_another_application_outlives_the_hub(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    settings = settings_of(azurite, task_hub, PartitionManagement.TABLE)
    async with run_azure_hub(settings, interop_registry()) as hub:
        await eventually(lambda: hub.backend.owns(0), within=PATIENCE)

    async with AzureStorageBackend(replace(settings, app_name="Theirs")) as deleting:
        await deleting.hub.delete()

    assert await transport.blobs.container_exists(settings.names.app_lease_container)


async def delete_leases(transport: StorageTransport, settings: AzureStorageSettings, partition: int) -> None:
    names = settings.names
    queue = names.control_queue(partition)
    if settings.partition_manager is PartitionManagement.TABLE:
        key = {"PartitionKey": "", "RowKey": queue}
        await transport.tables.apply(names.partitions_table, TableChange(Change.DELETE, key))
        return
    for kind in ("intent", "ownership", "default"):
        await transport.blobs.delete(names.lease_container, f"{kind}/{queue}")


@pytest.mark.parametrize("kind", list(PartitionManagement))
async def test_a_lease_that_somebody_has_deleted_by_hand_is_made_again(
    azurite: Azurite,
    task_hub: str,
    transport: StorageTransport,
    kind: PartitionManagement,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = settings_of(azurite, task_hub, kind)
    async with AzureStorageBackend(settings) as making:
        assert await making.hub.exists()
    await delete_leases(transport, settings, 2)
    other = AzureStorageBackend(settings)  # has looked at the hub before the lease was deleted
    await other.open()
    await delete_leases(transport, settings, 2)
    await other.start_worker()

    await eventually(lambda: all(map(other.owns, range(4))), within=PATIENCE)

    assert "leases of task hub" in caplog.text
    assert "made again, without what was in it" not in caplog.text
    await other.close()


async def test_an_app_lease_whose_container_was_deleted_is_taken_again_without_a_word(
    azurite: Azurite, task_hub: str, transport: StorageTransport, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(azurite, task_hub, PartitionManagement.TABLE)
    container, held = settings.names.app_lease_container, app_lease_id("Ours")
    async with run_azure_hub(settings, interop_registry()) as hub:
        await eventually(lambda: hub.backend.owns(0), within=PATIENCE)
        await transport.blobs.drop_container(container, lease_id=held)

        async def is_taken_again() -> bool:
            return b"OwnerId" in (await transport.blobs.download(container, settings.names.app_lease_blob) or b"")

        await eventually(is_taken_again, within=PATIENCE)
        assert hub.backend.owns(0)

    assert not [each for each in caplog.records if "app lease" in each.getMessage() or "app_lease" in each.getMessage()]


async def test_an_app_that_waits_for_a_lease_whose_container_was_deleted_gets_it(
    azurite: Azurite, task_hub: str, transport: StorageTransport, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(azurite, task_hub, PartitionManagement.TABLE)
    waiting = AzureStorageBackend(settings)
    await waiting.open()
    await transport.blobs.drop_container(settings.names.app_lease_container)
    await waiting.start_worker()

    await eventually(lambda: waiting.owns(0), within=PATIENCE)

    assert "could not be taken" not in caplog.text
    await waiting.close()


@pytest.mark.parametrize("kind", list(TransportKind))
async def test_a_process_without_a_worker_makes_a_hub_again_that_somebody_has_deleted(
    azurite: Azurite, task_hub: str, kind: TransportKind, caplog: pytest.LogCaptureFixture
) -> None:
    settings = replace(settings_of(azurite, task_hub, PartitionManagement.TABLE), transport=kind)
    client, other = AzureStorageBackend(settings), AzureStorageBackend(settings)
    await client.open()
    await client.instances.create_instance(start_event("first"), reject=frozenset())
    await other.hub.delete()

    with pytest.raises(BackendUnavailableError):
        await client.instances.create_instance(start_event("second"), reject=frozenset())
    await client.instances.create_instance(start_event("third"), reject=frozenset())

    found = await client.instances.query_instances(InstanceFilter())
    assert [row.instance_id for row in found.rows] == ["third"]
    assert await other.hub.exists()
    assert [getattr(record, "event", "") for record in caplog.records].count("hub_gone") == 1
    await client.close()
    await other.close()


async def test_a_control_queue_that_somebody_has_deleted_by_hand_is_made_again_by_a_start(
    azurite: Azurite, task_hub: str, transport: StorageTransport, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(azurite, task_hub, PartitionManagement.TABLE)
    async with AzureStorageBackend(settings) as client:
        for partition in range(settings.partition_count):
            await transport.queues.drop(settings.names.control_queue(partition))

        with pytest.raises(BackendUnavailableError):
            await client.instances.create_instance(start_event("first"), reject=frozenset())
        await client.instances.create_instance(start_event("second"), reject=frozenset())

    assert "hub_gone" not in [getattr(record, "event", "") for record in caplog.records]


def made(calls: CallCounter) -> int:
    return sum(count for verb, count in calls.by_verb.items() if "create" in verb)


async def test_calls_that_find_all_that_a_hub_has_do_not_look_for_it_again(azurite: Azurite, task_hub: str) -> None:
    calls = CallCounter()
    settings = settings_of(azurite, task_hub, PartitionManagement.TABLE)
    async with AzureStorageBackend(settings, interceptor=calls) as client:
        assert await client.instances.get_instance(InstanceId("nobody")) is None
        assert (await client.instances.purge_instance(InstanceId("nobody"))).deleted == 0
        before = made(calls)
        assert before > 0

        await client.instances.create_instance(start_event("first"), reject=frozenset())

        assert made(calls) == before
