"""What a purge leaves, seen with the plain Azure packages: nothing of what it deleted, everything of the others.

Source: specs/azure-storage.md 9.6.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient
from azure_hub import run_azure_hub, short_settings
from azurite import Azurite
from interop_app import interop_registry
from support.functions import registry_of

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.errors import StorageRefusedError
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.client.opening import open_client
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import ExecutionStarted, OrchestrationStatus
from durable_ext.core.instances import InstanceFilter
from durable_ext.core.messages import InstanceId
from durable_ext.errors import InvalidInstanceStateError
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=60)
COMPLETED = frozenset({OrchestrationStatus.COMPLETED})


def settings_of(azurite: Azurite, task_hub: str) -> AzureStorageSettings:
    return short_settings(azurite, task_hub)


def rows_by_instance(azurite: Azurite, task_hub: str) -> tuple[Counter[str], Counter[str]]:
    with TableServiceClient.from_connection_string(azurite.connection_string) as service:
        history, instances = (
            Counter(row["PartitionKey"] for row in service.get_table_client(f"{task_hub}{table}").list_entities())
            for table in ("History", "Instances")
        )
    return history, instances


def blobs(azurite: Azurite, task_hub: str) -> list[str]:
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        return list(service.get_container_client(f"{task_hub.lower()}-largemessages").list_blob_names())


async def test_long_histories_and_large_values_of_ended_instances_go_and_running_ones_stay(
    azurite: Azurite, task_hub: str
) -> None:
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        for name, value, instance_id in (("FanOut", 150, "wide"), ("Echo", "x" * 100_000, "large")):
            await hub.client.start(name, value, instance_id)
            await hub.client.wait_for_completion(instance_id, timeout=PATIENCE)
        await hub.client.start("WaitEvent", "y" * 100_000, "running")

        async def runs() -> bool:
            return len(await hub.client.get_history("running")) > 2

        await eventually(runs, within=PATIENCE)
        before, _ = await asyncio.to_thread(rows_by_instance, azurite, task_hub)

        result = await hub.client.purge_by(created_from=datetime(2020, 1, 1, tzinfo=timezone.utc))
        history, instances = await asyncio.to_thread(rows_by_instance, azurite, task_hub)
        left = await asyncio.to_thread(blobs, azurite, task_hub)

    assert before["wide"] > 300
    assert (result.deleted, result.complete) == (2, True)
    assert set(history) == set(instances) == {"running"}
    assert {name.split("/")[0] for name in left} == {"running"}


async def test_a_purge_by_filter_goes_through_all_pages_and_obeys_every_condition(azurite: Azurite, task_hub: str) -> None:
    settings = settings_of(azurite, task_hub)
    async with run_azure_hub(settings, interop_registry()):
        pass
    old, new = datetime(2024, 1, 1, tzinfo=timezone.utc), datetime(2025, 1, 1, tzinfo=timezone.utc)
    wanted = [(f"old-{number:03d}", old, "Completed") for number in range(230)]
    others = [("new", new, "Completed"), ("failed", old, "Failed"), ("runs", old, "Running"), ("@counter@a", old, "Running")]
    await asyncio.to_thread(insert_instances, azurite, task_hub, [*wanted, *others])

    async with open_client(settings) as client:
        result = await client.purge_by(created_from=old, created_to=old, runtime_status=COMPLETED)
        rest = await client.purge_by(created_from=old)

    _, instances = await asyncio.to_thread(rows_by_instance, azurite, task_hub)
    assert (result.deleted, rest.deleted) == (230, 2)
    assert set(instances) == {"runs", "@counter@a"}


@pytest.mark.parametrize(
    ("verb", "table"), [("table.query", "History"), ("table.get", "Instances"), ("table.batch", ""), ("table.delete", "")]
)
async def test_an_instance_that_is_started_again_while_it_is_purged_goes_on(
    azurite: Azurite, task_hub: str, verb: str, table: str
) -> None:
    settings = settings_of(azurite, task_hub)
    async with run_azure_hub(settings, interop_registry()) as hub:
        await hub.client.start("HelloSequence", 2, "again")
        await hub.client.wait_for_completion("again", timeout=PATIENCE)
        restarted: list[str] = []

        async def runs() -> bool:
            history = await hub.client.get_history("again")
            return any(isinstance(event, ExecutionStarted) and event.name == "WaitEvent" for event in history)

        async def start_again(call: StorageCall, send: Send) -> HttpAnswer:
            if call.verb == verb and table in call.resource and not restarted:
                restarted.append(await hub.client.start("WaitEvent", None, "again"))
                await eventually(runs, within=PATIENCE)
            return await send()

        async with AzureStorageBackend(replace(settings, worker_id="purger"), interceptor=start_again) as purger:
            result = await purger.instances.purge_instances(InstanceFilter(statuses=COMPLETED))
        await hub.client.raise_event("again", "Approval", 7)
        end = await hub.client.wait_for_completion("again", timeout=PATIENCE)

    assert (result.deleted, end.output) == (0, 7)


@pytest.mark.parametrize(
    ("verb", "table"),
    [
        pytest.param("table.get", "Instances", marks=pytest.mark.slow),
        pytest.param("table.batch", "", marks=pytest.mark.slow),
        ("table.delete", ""),
    ],
)
async def test_an_entity_that_works_while_it_is_purged_leaves_nothing_or_all_that_it_needs(
    azurite: Azurite, task_hub: str, verb: str, table: str
) -> None:
    settings, counter = settings_of(azurite, task_hub), EntityId("counter", "busy")
    worked: list[str] = []
    async with run_azure_hub(settings, counting()) as hub:

        async def counts_to(*numbers: int) -> bool:
            return (await hub.client.read_entity(counter)).state in numbers

        async def work_first(call: StorageCall, send: Send) -> HttpAnswer:
            if call.verb == verb and table in call.resource and not worked:
                worked.append(call.resource)
                await asyncio.gather(*(hub.client.signal_entity(counter, "add", 1) for _ in range(8)))
                await eventually(lambda: counts_to(8, 9), within=PATIENCE)  # 8 if its state was gone by then
            return await send()

        await hub.client.signal_entity(counter, "add", 1)
        await eventually(lambda: counts_to(1), within=PATIENCE)
        async with AzureStorageBackend(replace(settings, worker_id="purger"), interceptor=work_first) as purger:
            result = await purger.instances.purge_instance(InstanceId(counter.instance_id))
        history, instances = await asyncio.to_thread(rows_by_instance, azurite, task_hub)
        await hub.client.signal_entity(counter, "add", 1)
        await eventually(lambda: counts_to(1), within=PATIENCE)

    assert len(worked) == 1
    assert (result.deleted, set(history), set(instances)) == (1, set(), set())


def counting() -> FunctionRegistry:
    def counter(context: Any) -> None:
        context.set_state(context.get_state(lambda: 0) + context.get_input())

    return registry_of(entities=[counter])


async def test_an_instance_that_cannot_be_purged_does_not_keep_the_others(azurite: Azurite, task_hub: str) -> None:
    settings = settings_of(azurite, task_hub)
    old = datetime(2024, 1, 1, tzinfo=timezone.utc)
    async with run_azure_hub(settings, interop_registry()):
        pass
    await asyncio.to_thread(insert_instances, azurite, task_hub, [(name, old, "Completed") for name in "abc"])

    async def refuse(call: StorageCall, send: Send) -> HttpAnswer:
        if call.verb == "table.delete" and "PartitionKey='b'" in call.resource:
            raise StorageRefusedError(call=call.verb, status=400, code="InvalidInput")
        return await send()

    async with AzureStorageBackend(settings, interceptor=refuse) as purger:
        result = await purger.instances.purge_instances(InstanceFilter(statuses=COMPLETED))

    _, instances = await asyncio.to_thread(rows_by_instance, azurite, task_hub)
    assert (result.deleted, result.complete, set(instances)) == (2, False, {"b"})


@pytest.mark.parametrize("by_filter", [False, True])
@pytest.mark.parametrize("same", ["not", "but for its letters"])
async def test_an_ended_instance_goes_though_its_row_names_another_run(
    azurite: Azurite, task_hub: str, same: str, by_filter: bool
) -> None:
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        await hub.client.start("HelloSequence", 2, "odd")
        end = await hub.client.wait_for_completion("odd", timeout=PATIENCE)
        execution_id = "former" if same == "not" else (end.execution_id or "").upper()
        await asyncio.to_thread(merge_row, azurite, task_hub, {"PartitionKey": "odd", "ExecutionId": execution_id})

        result = await (hub.client.purge_by() if by_filter else asyncio.wait_for(hub.client.purge("odd"), 10))

    history, instances = await asyncio.to_thread(rows_by_instance, azurite, task_hub)
    assert (result.deleted, result.complete, set(history), set(instances)) == (1, True, set(), set())


async def test_an_instance_whose_row_is_of_a_run_before_the_one_that_goes_on_is_told_to_run(
    azurite: Azurite, task_hub: str
) -> None:
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        await hub.client.start("WaitEvent", None, "odd")

        async def runs() -> bool:
            status = await hub.client.get_status("odd")
            return status is not None and status.runtime_status is OrchestrationStatus.RUNNING

        await eventually(runs, within=PATIENCE)
        former = {"PartitionKey": "odd", "ExecutionId": "former", "RuntimeStatus": "Completed"}
        await asyncio.to_thread(merge_row, azurite, task_hub, former)

        with pytest.raises(InvalidInstanceStateError, match="Running"):
            await asyncio.wait_for(hub.client.purge("odd"), 10)
        by_filter = await hub.client.purge_by()
        now_right = {"PartitionKey": "odd", "RuntimeStatus": "Running"}
        await asyncio.to_thread(merge_row, azurite, task_hub, now_right)
        await hub.client.raise_event("odd", "Approval", 7)
        end = await hub.client.wait_for_completion("odd", timeout=PATIENCE)

    assert (by_filter.deleted, by_filter.complete) == (0, False)
    assert end.output == 7


def merge_row(azurite: Azurite, task_hub: str, columns: dict[str, str]) -> None:
    with TableServiceClient.from_connection_string(azurite.connection_string) as service:
        service.get_table_client(f"{task_hub}Instances").update_entity({**columns, "RowKey": ""})


def insert_instances(azurite: Azurite, task_hub: str, instances: list[tuple[str, datetime, str]]) -> None:
    with TableServiceClient.from_connection_string(azurite.connection_string) as service:
        table = service.get_table_client(f"{task_hub}Instances")
        for instance_id, created, status in instances:
            row = {"PartitionKey": instance_id, "RowKey": "", "Name": "X", "RuntimeStatus": status, "CreatedTime": created}
            table.create_entity({**row, "LastUpdatedTime": created, "TaskHubName": task_hub})
