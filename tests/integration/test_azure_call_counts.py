"""How many storage calls an orchestration of five activities costs, by kind: exact, whatever the machine.

Not counted: polls of queues, leases, and what a client elsewhere reads while it waits. A run that takes over a second
writes its row once a second (design rule R9), so rows are bounded by the time.
"""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta

import pytest
from azure_hub import run_azure_hub
from azurite import Azurite

from durable_ext.aio.clock import SystemClock
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.runtime.settings import LocalActivities, WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import CallCounter
from tests.bench.functions import GREETINGS, bench_registry

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=60)
EMPTY = {"queue.get", "table.upsert_merge"}
IN_PROCESS = {"queue.put": 1, "table.insert": 1, "table.batch": 6, "queue.delete": 1}
PLAIN = {"queue.put": 11, "table.insert": 1, "table.batch": 6, "queue.delete": 11}


def settings_of(azurite: Azurite, task_hub: str) -> AzureStorageSettings:
    return AzureStorageSettings(connection=azurite.connection_string, task_hub=task_hub, partition_count=2)


def is_of_an_instance(call: StorageCall) -> bool:
    return not call.verb.startswith("blob.") and "Partitions" not in call.resource and b"Partitions" not in call.body


def counted(calls: CallCounter) -> Counter[str]:
    return Counter(call.verb for call in calls.trace if is_of_an_instance(call))


async def run_hello5(client: DurableClient) -> None:
    instance_id = await client.start("hello5")
    status = await client.wait_for_completion(instance_id, timeout=PATIENCE)
    assert status.output == GREETINGS


async def deleted(calls: CallCounter, count: int) -> None:
    """The message is deleted after the end was told."""
    await eventually(lambda: counted(calls)["queue.delete"] == count, within=PATIENCE)


@pytest.mark.parametrize(("mode", "expected", "at_most"), [("on", IN_PROCESS, 12), ("off", PLAIN, 43)])
async def test_five_activities_cost_so_many_calls_with_the_client_in_process(
    azurite: Azurite, mode: LocalActivities, expected: dict[str, int], at_most: int
) -> None:
    calls = CallCounter()
    limits = WorkerSettings(local_activities=mode)
    async with run_azure_hub(
        settings_of(azurite, f"CountHub{mode}"), bench_registry(), worker_settings=limits, interceptor=calls
    ) as hub:
        await eventually(lambda: hub.backend.owns(0) and hub.backend.owns(1), within=PATIENCE)
        await run_hello5(hub.client)
        await deleted(calls, expected["queue.delete"])
        calls.reset()
        start = time.monotonic()

        await run_hello5(hub.client)
        await deleted(calls, expected["queue.delete"])

        found, seconds = counted(calls), time.monotonic() - start

    rows = found["table.upsert_merge"]
    assert {verb: number for verb, number in found.items() if verb not in EMPTY} == expected
    assert 1 <= rows <= 2 + seconds
    assert sum(expected.values()) + min(rows, 2) <= at_most


async def test_five_activities_cost_so_many_calls_with_the_client_elsewhere(azurite: Azurite) -> None:
    calls, client_calls = CallCounter(), CallCounter()
    settings = settings_of(azurite, "CountHubElsewhere")
    clock = SystemClock()
    async with (
        run_azure_hub(settings, bench_registry(), interceptor=calls) as hub,
        AzureStorageBackend(settings, clock, interceptor=client_calls) as elsewhere,
    ):
        client = DurableClient(elsewhere.instances, converter=DataConverter(), entity_codec=JsonEntityCodec(), clock=clock)
        await eventually(lambda: hub.backend.owns(0) and hub.backend.owns(1), within=PATIENCE)
        await run_hello5(client)
        await deleted(calls, 1)
        calls.reset()
        client_calls.reset()
        start = time.monotonic()

        await run_hello5(client)
        await deleted(calls, 1)

        found, seconds = counted(calls), time.monotonic() - start

    starting = [call.verb for call in client_calls.trace[:2]]
    rows = found.pop("table.upsert_merge")
    found.pop("queue.get")
    assert starting == ["queue.put", "table.insert"]
    assert found == {"table.query": 1, "table.get": 1, "table.batch": 6, "queue.delete": 1}
    assert 1 <= rows <= 2 + seconds
