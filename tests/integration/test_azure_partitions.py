"""Several workers on one hub, with each kind of partition leases: balance, hand-over, takeover."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta

import pytest
from azure_hub import SHORT_LOCKS, run_azure_hub, short_settings
from azurite import Azurite
from interop_app import interop_registry

from durable_ext.backends.azure_storage.lease_table import LeaseTable
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, PartitionManagement
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.backends.azure_storage.worker_ids import new_worker_id
from durable_ext.errors import ConfigurationError
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite

KINDS = list(PartitionManagement)
PATIENCE = timedelta(seconds=40)


@pytest.fixture(params=KINDS, ids=[kind.value for kind in KINDS])
def kind(request: pytest.FixtureRequest) -> PartitionManagement:
    found: PartitionManagement = request.param
    return found


def settings_of(azurite: Azurite, task_hub: str, kind: PartitionManagement, **fields: object) -> AzureStorageSettings:
    values = {
        **SHORT_LOCKS,
        # Blob leases last 15 s at least.
        "lease_interval": timedelta(seconds=3 if kind is PartitionManagement.TABLE else 15),
        "lease_acquire_interval": timedelta(seconds=0.5),
        **fields,
    }
    return short_settings(azurite, task_hub, partition_manager=kind, **values)


async def open_worker(settings: AzureStorageSettings) -> AzureStorageBackend:
    backend = AzureStorageBackend(settings)
    await backend.open()
    await backend.start_worker()
    return backend


def owned(backend: AzureStorageBackend) -> list[int]:
    return [partition for partition in range(4) if backend.owns(partition)]


async def test_a_worker_alone_gets_every_partition(azurite: Azurite, task_hub: str, kind: PartitionManagement) -> None:
    backend = await open_worker(settings_of(azurite, task_hub, kind))

    await eventually(lambda: owned(backend) == [0, 1, 2, 3], within=PATIENCE)

    await backend.close()


async def test_a_second_worker_gets_half_and_the_first_takes_it_back_when_it_leaves(
    azurite: Azurite, task_hub: str, kind: PartitionManagement
) -> None:
    first = await open_worker(settings_of(azurite, task_hub, kind))
    await eventually(lambda: len(owned(first)) == 4, within=PATIENCE)

    second = await open_worker(settings_of(azurite, task_hub, kind))
    await eventually(lambda: (len(owned(first)), len(owned(second))) == (2, 2), within=PATIENCE)
    assert sorted(owned(first) + owned(second)) == [0, 1, 2, 3]
    await second.close()
    await eventually(lambda: len(owned(first)) == 4, within=PATIENCE)

    await first.close()


@pytest.mark.parametrize(
    "kind",
    [
        PartitionManagement.TABLE,
        pytest.param(PartitionManagement.SAFE_BLOB, marks=pytest.mark.slow),
        pytest.param(PartitionManagement.LEGACY_BLOB, marks=pytest.mark.slow),
    ],
)
async def test_partitions_of_a_dead_worker_are_taken_over(
    azurite: Azurite, task_hub: str, kind: PartitionManagement
) -> None:
    first = await open_worker(settings_of(azurite, task_hub, kind))
    await eventually(lambda: len(owned(first)) == 4, within=PATIENCE)
    await first.abort()

    second = await open_worker(settings_of(azurite, task_hub, kind))

    await eventually(lambda: len(owned(second)) == 4, within=PATIENCE)
    await second.close()


async def test_leases_of_a_process_that_has_ended_here_are_taken_over_long_before_they_run_out(
    azurite: Azurite, task_hub: str, kind: PartitionManagement
) -> None:
    says_its_id = f"import {new_worker_id.__module__} as ids; print(ids.new_worker_id())"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", says_its_id, stdout=subprocess.PIPE)
    ended = (await process.communicate())[0].decode().strip()
    minute = timedelta(seconds=60)
    former = await open_worker(settings_of(azurite, task_hub, kind, worker_id=ended, lease_interval=minute))
    await eventually(lambda: owned(former) == [0, 1, 2, 3], within=PATIENCE)
    await former.abort()

    backend = await open_worker(settings_of(azurite, task_hub, kind, lease_interval=minute))

    # The shortest lease, that of an ownership blob, would hold for 15 s.
    await eventually(lambda: owned(backend) == [0, 1, 2, 3], within=timedelta(seconds=10))
    await backend.close()


async def test_orchestrations_go_on_while_partitions_change_hands(
    azurite: Azurite, task_hub: str, kind: PartitionManagement
) -> None:
    settings = settings_of(azurite, task_hub, kind)
    async with run_azure_hub(settings, interop_registry()) as hub:
        started = [await hub.client.start("HelloSequence", 5) for _ in range(10)]
        async with run_azure_hub(settings_of(azurite, task_hub, kind), interop_registry()) as other:
            started += [await other.client.start("HelloSequence", 5) for _ in range(10)]
            await asyncio.gather(*(hub.client.wait_for_completion(one, timeout=PATIENCE) for one in started[:5]))
        ends = await asyncio.gather(*(hub.client.wait_for_completion(one, timeout=PATIENCE) for one in started))

    assert [end.runtime_status.value for end in ends] == ["Completed"] * 20


@pytest.mark.parametrize(
    "kind",
    [
        PartitionManagement.TABLE,
        pytest.param(PartitionManagement.SAFE_BLOB, marks=pytest.mark.slow),
        pytest.param(PartitionManagement.LEGACY_BLOB, marks=pytest.mark.slow),
    ],
)
async def test_one_two_and_four_workers_share_the_partitions_while_orchestrations_go_on(
    azurite: Azurite, task_hub: str, kind: PartitionManagement
) -> None:
    settings = settings_of(azurite, task_hub, kind)
    async with AsyncExitStack() as one, run_azure_hub(settings, interop_registry()) as hub:
        workers = [hub.backend]
        started: list[str] = []

        async def are_shared() -> None:
            await eventually(lambda: _shares(workers) == sorted([4 // len(workers)] * len(workers)), within=PATIENCE)
            started.extend([await hub.client.start("HelloSequence", 2) for _ in range(6)])

        await are_shared()
        for more in (1, 2):
            for _ in range(more):
                joined = await one.enter_async_context(
                    run_azure_hub(replace(settings, worker_id=f"worker-{len(workers)}"), interop_registry())
                )
                workers.append(joined.backend)
            await are_shared()
        await one.aclose()
        del workers[1:]
        await are_shared()

        ends = [await hub.client.wait_for_completion(instance_id, timeout=PATIENCE) for instance_id in started]

    assert [end.output for end in ends] == [["Hello Tokyo!", "Hello Seattle!"]] * 24


def _shares(workers: list[AzureStorageBackend]) -> list[int]:
    return sorted(len(owned(worker)) for worker in workers)


async def test_another_partition_count_is_refused_with_the_number_to_set(azurite: Azurite, task_hub: str) -> None:
    first = await open_worker(settings_of(azurite, task_hub, PartitionManagement.TABLE))
    await eventually(lambda: len(owned(first)) == 4, within=PATIENCE)
    other = AzureStorageBackend(settings_of(azurite, task_hub, PartitionManagement.TABLE, partition_count=2))

    with pytest.raises(ConfigurationError, match=r"partitionCount to 4"):
        await other.open()

    await other.close()
    await first.close()


@pytest.mark.parametrize(
    ("first_kind", "second_kind"),
    [
        (PartitionManagement.TABLE, PartitionManagement.SAFE_BLOB),
        (PartitionManagement.SAFE_BLOB, PartitionManagement.TABLE),
    ],
)
async def test_live_leases_of_the_other_kind_are_refused(
    azurite: Azurite, task_hub: str, first_kind: PartitionManagement, second_kind: PartitionManagement
) -> None:
    first = await open_worker(settings_of(azurite, task_hub, first_kind))
    await eventually(lambda: len(owned(first)) == 4, within=PATIENCE)
    other = AzureStorageBackend(settings_of(azurite, task_hub, second_kind))

    with pytest.raises(ConfigurationError, match="useTablePartitionManagement"):
        await other.open()

    await other.close()
    await first.close()


async def test_a_foreign_app_gets_no_work_and_says_whose_hub_it_is(
    azurite: Azurite, task_hub: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = await open_worker(settings_of(azurite, task_hub, PartitionManagement.TABLE, app_name="one"))
    await eventually(lambda: len(owned(first)) == 4, within=PATIENCE)

    other = await open_worker(settings_of(azurite, task_hub, PartitionManagement.TABLE, app_name="other"))
    await eventually(lambda: "Another application" in caplog.text, within=PATIENCE)

    assert owned(other) == []
    await other.close()
    await first.close()


async def test_an_app_that_is_made_primary_takes_the_hub_over(azurite: Azurite, task_hub: str) -> None:
    lease = {"app_lease_renew_interval": timedelta(seconds=0.5), "app_lease_acquire_interval": timedelta(minutes=5)}
    settings = {
        name: settings_of(azurite, task_hub, PartitionManagement.TABLE, app_name=name, **lease) for name in ("one", "other")
    }
    first = await open_worker(settings["one"])
    await eventually(lambda: len(owned(first)) == 4, within=PATIENCE)
    other = await open_worker(settings["other"])

    asked = await other.hub.make_primary()
    await eventually(lambda: len(owned(other)) == 4, within=PATIENCE)

    assert asked
    assert owned(first) == []
    await other.close()
    await first.close()


async def test_without_an_app_lease_nobody_is_made_primary(azurite: Azurite, task_hub: str) -> None:
    worker = await open_worker(settings_of(azurite, task_hub, PartitionManagement.TABLE, use_app_lease=False))

    assert not await worker.hub.make_primary()
    await worker.close()


async def test_a_worker_that_stops_while_it_asks_for_partitions_leaves_no_wish_behind(
    azurite: Azurite, task_hub: str
) -> None:
    settings = settings_of(azurite, task_hub, PartitionManagement.TABLE)
    first = await open_worker(settings)
    await eventually(lambda: len(owned(first)) == 4, within=PATIENCE)
    asks, goes_on = asyncio.Event(), asyncio.Event()

    async def hold_back(call: StorageCall, send: Send) -> HttpAnswer:
        if call.verb == "table.batch" and b"NextOwner" in call.body:
            asks.set()
            await goes_on.wait()
        return await send()

    second = AzureStorageBackend(replace(settings, worker_id="second"), interceptor=hold_back)
    await second.open()
    await second.start_worker()
    await asyncio.wait_for(asks.wait(), PATIENCE.total_seconds())
    closing = asyncio.create_task(second.close())
    await eventually(lambda: second._leases._stopping, "it does not begin to stop", within=PATIENCE)
    goes_on.set()
    await closing

    transport = open_lean_transport(settings.account)
    leases = await LeaseTable(transport.tables, settings.names.partitions_table).load()
    await transport.close()
    await first.close()
    assert {(lease.owner, lease.next_owner) for lease in leases} == {(settings.worker_id, None)}
