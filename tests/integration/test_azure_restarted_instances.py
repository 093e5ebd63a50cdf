"""An instance started again under its id, and messages that reach a worker before the new start does.

Source: specs/azure-storage.md 6.6, 8.3, 8.6.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from azure.data.tables import TableServiceClient
from azure_hub import SHORT_LOCKS, run_azure_hub, short_settings
from azurite import Azurite
from interop_app import interop_registry
from support.functions import registry_of
from support.provider_messages import provider_message

from durable_ext.backends.azure_storage.partitions import partition_index
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.client.client import DurableClient
from durable_ext.client.opening import open_client
from durable_ext.core.events import OrchestrationStatus
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import FailingTransport, When

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


@pytest.mark.slow  # a lease and a lock must run out
async def test_a_child_whose_id_is_used_again_hears_its_client_although_its_worker_died_between_history_and_row(
    azurite: Azurite, task_hub: str
) -> None:
    may_end = asyncio.Event()

    async def work(number: int) -> int:
        await may_end.wait()
        return number

    def kid(context: Any) -> Any:
        context.set_custom_status(f"of {context.get_input()}")
        if context.get_input() == "first":
            return "first"
        value = yield context.wait_for_external_event("go")
        return [value, (yield context.call_activity("work", 1))]

    def parent(context: Any) -> Any:
        return (yield context.call_sub_orchestrator("kid", context.get_input(), "kid"))

    functions = registry_of(orchestrators=[kid, parent], activities=[work])
    settings = short_settings(azurite, task_hub, use_app_lease=False, **SHORT_LOCKS)
    dying = FailingTransport(
        1, When.BEFORE, lambda call: call.verb == "table.upsert_merge" and "PartitionKey='kid'" in call.resource
    )
    async with run_azure_hub(settings, functions, interceptor=dying, drain=timedelta(0)) as hub:
        await hub.client.start("parent", "first", "p1")
        await hub.client.wait_for_completion("p1", timeout=PATIENCE)
        await eventually(lambda: _shows(hub.client, "kid", OrchestrationStatus.COMPLETED, '"of first"'), within=PATIENCE)
        dying.armed = True
        await hub.client.start("parent", "second", "p2")
        await asyncio.wait_for(dying.died.wait(), PATIENCE.total_seconds())
        dying.bury()
        await hub.backend.abort()

    await _set_clock_of_row_ahead(azurite, task_hub, "kid")
    async with run_azure_hub(settings, functions) as hub:
        await eventually(lambda: _shows(hub.client, "kid", OrchestrationStatus.RUNNING, '"of second"'), within=PATIENCE)
        await hub.client.raise_event("kid", "go", 7)
        may_end.set()
        end = await hub.client.wait_for_completion("p2", timeout=PATIENCE)

    assert end.output == [7, 1]


async def _shows(client: DurableClient, instance_id: str, status: OrchestrationStatus, custom_status: str) -> bool:
    found = await client.get_status(instance_id)
    return found is not None and (found.row.status, found.row.custom_status) == (status, custom_status)


async def _set_clock_of_row_ahead(azurite: Azurite, task_hub: str, instance_id: str) -> None:
    """As if the worker of the former run, or its client, had a clock that is an hour ahead."""

    def write() -> None:
        with TableServiceClient.from_connection_string(azurite.connection_string) as service:
            later = datetime.now(timezone.utc) + timedelta(hours=1)
            row = {"PartitionKey": instance_id, "RowKey": "", "CreatedTime": later, "LastUpdatedTime": later}
            service.get_table_client(f"{task_hub}Instances").update_entity(row)

    await asyncio.to_thread(write)


@pytest.mark.slow  # a lease and a lock must run out
async def test_what_continues_as_new_and_ends_at_once_is_shown_although_its_worker_died_between_history_and_row(
    azurite: Azurite, task_hub: str
) -> None:
    def twice(context: Any) -> Any:
        if context.get_input() == 2:
            return "done"
        context.continue_as_new(2)
        return None
        yield

    functions = registry_of(orchestrators=[twice])
    settings = short_settings(azurite, task_hub, use_app_lease=False, **SHORT_LOCKS)
    dying = FailingTransport(1, When.BEFORE, lambda call: call.verb == "table.upsert_merge" and "Instances" in call.resource)
    async with run_azure_hub(settings, functions, interceptor=dying, drain=timedelta(0)) as hub:
        dying.armed = True
        await hub.client.start("twice", 1, "i")
        await asyncio.wait_for(dying.died.wait(), PATIENCE.total_seconds())
        dying.bury()
        await hub.backend.abort()

    async with run_azure_hub(settings, functions) as hub:
        end = await hub.client.wait_for_completion("i", timeout=PATIENCE)

    assert end.output == "done"


@pytest.mark.slow  # a lease and a lock must run out
async def test_the_row_of_a_child_whose_id_is_used_again_is_repaired_after_a_death_between_history_and_row(
    azurite: Azurite, task_hub: str
) -> None:
    def kid(context: Any) -> Any:
        return context.get_input()
        yield

    def parent(context: Any) -> Any:
        return (yield context.call_sub_orchestrator("kid", context.get_input(), "kid"))

    functions = registry_of(orchestrators=[kid, parent])
    settings = short_settings(azurite, task_hub, use_app_lease=False, **SHORT_LOCKS)
    dying = FailingTransport(
        1, When.BEFORE, lambda call: call.verb == "table.upsert_merge" and "PartitionKey='kid'" in call.resource
    )
    async with run_azure_hub(settings, functions, interceptor=dying, drain=timedelta(0)) as hub:
        await hub.client.start("parent", "first", "p1")
        await hub.client.wait_for_completion("p1", timeout=PATIENCE)
        former = await hub.client.get_status("kid")
        dying.armed = True
        await hub.client.start("parent", "second", "p2")
        await asyncio.wait_for(dying.died.wait(), PATIENCE.total_seconds())
        dying.bury()
        await hub.backend.abort()

    async with run_azure_hub(settings, functions) as hub:

        async def is_repaired() -> bool:
            status = await hub.client.get_status("kid")
            assert status is not None
            return status.output == "second"

        await eventually(is_repaired, within=timedelta(seconds=15))
        kid_status = await hub.client.get_status("kid")
        purged = await hub.client.purge("kid")

    assert former is not None
    assert kid_status is not None
    assert kid_status.execution_id != former.execution_id
    assert kid_status.row.created_at > former.row.created_at
    assert (kid_status.input, kid_status.runtime_status) == ('"second"', OrchestrationStatus.COMPLETED)
    assert purged.deleted == 1
