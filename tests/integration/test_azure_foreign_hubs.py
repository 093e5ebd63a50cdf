"""What other writers, and payloads at the limits, leave in a hub: read, kept, and never a stopped worker.

Source: specs/azure-storage.md 4.6, 5.6, 5.8, 6.5, 9.6.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from azure_hub import SHORT_LOCKS, AzureHub, run_azure_hub, short_settings
from azurite import Azurite
from frozen_hub import frozen_hubs, load_hub
from interop_app import interop_registry
from support.queue_lengths import queue_length

from durable_ext.aio.clock import SystemClock
from durable_ext.backends.azure_storage.key_encoding import escape_key
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, PartitionManagement, TransportKind
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.transport.edm import EdmDateTime, EdmOther, EdmValue, Entity
from durable_ext.backends.azure_storage.transport.table import Change, TableChange
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.events import ExecutionStarted, OrchestrationStatus
from durable_ext.core.instances import InstanceRow
from durable_ext.core.messages import ExecutionId, InstanceId, OrchestrationInstance
from durable_ext.core.orchestrators import OrchestratorDefinition
from durable_ext.core.timestamps import ticks_from_datetime
from durable_ext.errors import DamagedPayloadError, PayloadTooLargeError
from durable_ext.runtime.registry import ActivityDefinition, FunctionRegistry
from durable_ext.runtime.settings import LocalActivities, WorkerSettings
from durable_ext.testing.eventually import eventually

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=60)
WIDE_TEXT = "語" * 30_000


def settings_of(azurite: Azurite, task_hub: str) -> AzureStorageSettings:
    return short_settings(azurite, task_hub, partition_count=1, **SHORT_LOCKS)


def wide_registry() -> FunctionRegistry:
    def many(context: Any) -> Any:
        found = yield context.task_all([context.call_activity("Wide", number) for number in range(context.get_input())])
        return sum(len(text) for text in found)

    async def wide(_: int) -> str:
        return WIDE_TEXT

    registry = FunctionRegistry()
    registry.add_orchestrator(OrchestratorDefinition(name="Many", function=many))
    registry.add_activity(ActivityDefinition(name="Wide", call=wide, is_async=True))
    return registry


@pytest.mark.parametrize("mode", ["off", "on"])
async def test_results_in_a_script_of_many_bytes_are_stored_in_batches_that_the_service_takes(
    azurite: Azurite, task_hub: str, mode: LocalActivities
) -> None:
    async with run_azure_hub(
        settings_of(azurite, task_hub), wide_registry(), worker_settings=WorkerSettings(local_activities=mode)
    ) as hub:
        started = await hub.client.start("Many", 70)
        ended = await hub.client.wait_for_completion(started, timeout=PATIENCE)

    assert (ended.runtime_status, ended.output) == (OrchestrationStatus.COMPLETED, 70 * len(WIDE_TEXT))


DAMAGED = {
    "bad/no-gzip": b"\x1f\x8bwhatever else it is",
    "bad/cut-off": gzip.compress(b"x" * 100_000)[:40],
    "bad/no-utf-8": gzip.compress(b'{"TaskMessage":"\xff\xfe"}'),
    "bad/no-json": b"",
}


async def test_blobs_that_are_damaged_and_endless_nesting_stop_no_worker(
    azurite: Azurite, task_hub: str, transport: StorageTransport, caplog: pytest.LogCaptureFixture
) -> None:
    low = task_hub.lower()
    texts = [f'{{"TaskMessage":null,"CompressedBlobName":"{name}"}}' for name in DAMAGED]
    texts += ['{"CompressedBlobName":5}', '{"TaskMessage":' + "[" * 20_000]
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        await transport.blobs.create_container(f"{low}-largemessages")
        for name, content in DAMAGED.items():
            await transport.blobs.upload(f"{low}-largemessages", name, content)
        for queue in (f"{low}-control-00", f"{low}-workitems"):
            for text in texts:
                await transport.queues.put(queue, text)
            all_read = partial(_are_unreadable, caplog, queue, len(texts))
            await eventually(all_read, within=PATIENCE, message=f"{queue} was not read")

        await _finishes_work_that_others_send(hub, azurite, task_hub)


def _are_unreadable(caplog: pytest.LogCaptureFixture, queue: str, count: int) -> bool:
    """Whether the worker has taken so many messages of a queue and said of each that it cannot read it."""
    told = [each.__dict__ for each in caplog.records if each.__dict__.get("event") == "message_unreadable"]
    return len({each["message_id"] for each in told if each["queue"] == queue}) == count


async def _finishes_work_that_others_send(hub: AzureHub, azurite: Azurite, task_hub: str) -> None:
    """Through the queues: a client of another process cannot hand anything over in memory."""
    backend = AzureStorageBackend(settings_of(azurite, task_hub), SystemClock())
    await backend.open()
    try:
        client = DurableClient(
            backend.instances, converter=DataConverter(), entity_codec=JsonEntityCodec(), clock=SystemClock()
        )
        started = await client.start("HelloSequence", 2)
        ended = await client.wait_for_completion(started, timeout=PATIENCE)
        assert ended.runtime_status is OrchestrationStatus.COMPLETED
    finally:
        await backend.close()


async def test_an_instance_whose_payload_is_damaged_harms_no_other(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    settings = settings_of(azurite, task_hub)
    container = f"{task_hub.lower()}-largemessages"
    async with run_azure_hub(settings, interop_registry()) as hub:
        await hub.client.start("WaitEvent", "x" * 50_000, "damaged")
        await eventually(lambda: _waits(hub, "damaged"), within=PATIENCE)
    for name in (await transport.blobs.list(container, "damaged/")).names:
        await transport.blobs.upload(container, name, DAMAGED["bad/no-gzip"])

    async with run_azure_hub(settings, interop_registry()) as hub:
        await hub.client.raise_event("damaged", "Approval", {"ok": True})
        await hub.client.start("HelloSequence", 2, "whole")
        ended = await hub.client.wait_for_completion("whole", timeout=PATIENCE)
        listed = [status async for status in hub.client.query_all()]
        with pytest.raises(DamagedPayloadError, match="damaged/"):
            await hub.client.get_status("damaged")

    assert ended.runtime_status is OrchestrationStatus.COMPLETED
    assert {status.instance_id for status in listed} == {"damaged", "whole"}


async def _waits(hub: AzureHub, instance_id: str) -> bool:
    return len(await hub.backend.instances.get_history(InstanceId(instance_id))) >= 3


async def test_rows_that_no_provider_writes_do_not_hide_the_sentinel(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    settings = settings_of(azurite, task_hub)
    async with run_azure_hub(settings, interop_registry()) as hub:
        await hub.client.start("WaitEvent", None, "marked")
        await eventually(lambda: _waits(hub, "marked"), within=PATIENCE)
    for row_key in ("!first", "Note", "zzz"):
        note: Entity = {"PartitionKey": "marked", "RowKey": row_key, "Note": "of a tool"}
        await transport.tables.apply(f"{task_hub}History", TableChange(Change.INSERT, note))

    async with run_azure_hub(settings, interop_registry()) as hub:
        await hub.client.raise_event("marked", "Approval", {"ok": True})
        ended = await hub.client.wait_for_completion("marked", timeout=PATIENCE)

    rows = (await transport.tables.query(f"{task_hub}History", "PartitionKey eq 'marked'")).rows
    assert ended.output == {"ok": True}
    assert [row.entity["RowKey"] for row in rows if "Note" in row.entity] == ["!first", "Note", "zzz"]


async def test_a_purge_keeps_the_payloads_of_an_instance_whose_id_goes_on_after_a_slash(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    container = f"{task_hub.lower()}-largemessages"
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        await hub.client.start("Echo", "x" * 50_000, "order")
        await hub.client.wait_for_completion("order", timeout=PATIENCE)
        others = "order/42/message-0f0e0d0c0b0a09080706050403020100-ExecutionStarted.json.gz"
        await transport.blobs.upload(container, others, gzip.compress(b"{}"))
        assert len((await transport.blobs.list(container, "order/")).names) > 1

        await hub.client.purge("order")

        assert (await transport.blobs.list(container, "order/")).names == [others]


async def test_tags_of_any_length_are_stored_with_the_row(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    tags = {"note": "å" * 40_000}
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        await hub.client.start("WaitEvent", None, "tagged", tags=tags)
        await eventually(lambda: _waits(hub, "tagged"), within=PATIENCE)
        row = await hub.backend.instances.get_instance(InstanceId("tagged"))

    assert row is not None
    assert row.tags == tags
    stored = await transport.tables.get(f"{task_hub}Instances", "tagged", "")
    assert stored is not None
    assert (stored.entity["Tags"], stored.entity["TagsBlobName"]) == ("", _one_blob(stored.entity["TagsBlobName"]))


def _one_blob(name: EdmValue) -> str:
    assert re.fullmatch(r"tagged/history--Tags-[0-9A-F]{8}-Tags\.json\.gz", str(name))
    return str(name)


async def test_the_hub_blob_has_the_text_of_the_provider(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    settings = replace(settings_of(azurite, task_hub), partition_manager=PartitionManagement.SAFE_BLOB)
    async with run_azure_hub(settings, interop_registry()):
        content = await transport.blobs.download(f"{task_hub.lower()}-leases", "taskhub.json")

    assert content is not None
    created = json.loads(content)["CreatedAt"]
    assert content.decode() == f'{{"TaskHubName":"{task_hub}","CreatedAt":"{created}","PartitionCount":1}}'
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,6}[1-9])?Z", created)


@pytest.mark.parametrize("mode", ["off", "on"])
async def test_an_eternal_orchestration_with_a_large_input_keeps_the_blobs_of_one_generation(
    azurite: Azurite, task_hub: str, transport: StorageTransport, mode: LocalActivities
) -> None:
    def eternal(context: Any) -> Any:
        left, ballast = context.get_input()
        yield context.call_activity("Wide", 1)
        if left:
            context.continue_as_new([left - 1, ballast])
        return left

    registry = wide_registry()
    registry.add_orchestrator(OrchestratorDefinition(name="Eternal", function=eternal))
    async with run_azure_hub(
        settings_of(azurite, task_hub), registry, worker_settings=WorkerSettings(local_activities=mode)
    ) as hub:
        await hub.client.start("Eternal", [5, "x" * 40_000], "eternal")
        await hub.client.wait_for_completion("eternal", timeout=PATIENCE)
        row = await transport.tables.get(f"{task_hub}Instances", "eternal", "")
        names = (await transport.blobs.list(f"{task_hub.lower()}-largemessages", "eternal/history-")).names

    assert row is not None
    inputs = [name for name in names if name.endswith("-Input.json.gz") and not name.startswith("eternal/history--")]
    started = re.compile(r"eternal/history-0000000000000001-ExecutionStarted-[0-9A-F]{8}-Input\.json\.gz")
    assert [bool(started.fullmatch(name)) for name in inputs] == [True]
    assert str(row.entity["Input"]).endswith(inputs[0])
    assert len([name for name in names if name.startswith("eternal/history--")]) <= 1  # the client's, of the first start


UNUSUAL_IDS = [
    *("order/42", "back\\slash", "a#b", "what?", "100%", "%41", "a^2b", "caret^", "tab\there", "\x7f\x9f", "O'Brien"),
    *('say "hi"', "a&b<c>", "+plus=", "two  words", " led", "comma,semi;colon:", "héllo", "日本", "😀", "user@example.com"),
    *("e\u0301", "\u2028", "~.-_", "a..b", "L" * 250),
]


@pytest.mark.parametrize("transport_kind", [TransportKind.LEAN, pytest.param(TransportKind.SDK, marks=pytest.mark.slow)])
async def test_large_payloads_of_unusual_ids_are_found_again_and_purged(
    azurite: Azurite, task_hub: str, transport: StorageTransport, transport_kind: TransportKind
) -> None:
    settings = replace(settings_of(azurite, task_hub), transport=transport_kind)
    container = f"{task_hub.lower()}-largemessages"
    off = WorkerSettings(local_activities="off")
    async with run_azure_hub(settings, interop_registry(), worker_settings=off) as hub:
        store = hub.backend.instances
        for number, instance_id in enumerate(UNUSUAL_IDS):
            await store.create_instance(_large_start(instance_id, f"e{number}"), reject=frozenset())
        for instance_id in UNUSUAL_IDS:
            ended = await eventually(partial(_ended, hub, instance_id), within=PATIENCE)
            assert (ended.status, ended.output) == (OrchestrationStatus.COMPLETED, '"' + "x" * 50_000 + '"')
        names = {re.sub(r"(?<=-)[0-9a-fA-F]{8,32}(?=-)", "N", name) for name in await _all_names(transport, container)}
        assert len(names) == 6 * len(UNUSUAL_IDS)
        for instance_id in UNUSUAL_IDS:
            message = instance_id.replace("\\", "/") + "/message-N"
            column = escape_key(instance_id) + "/history-N"
            assert {
                f"{column}-ExecutionCompleted-N-Result.json.gz",
                f"{column}-ExecutionStarted-N-Input.json.gz",
                f"{column}-TaskCompleted-N-Result.json.gz",
                f"{message}-ExecutionStarted.json.gz",
                f"{message}-TaskCompleted.json.gz",
                f"{message}-TaskScheduled.json.gz",
            } <= names

        for instance_id in UNUSUAL_IDS:
            assert (await store.purge_instance(InstanceId(instance_id))).deleted == 1
        assert await _all_names(transport, container) == []


def _large_start(instance_id: str, execution_id: str) -> ExecutionStarted:
    now = ticks_from_datetime(datetime.now(timezone.utc))
    target = OrchestrationInstance(instance_id=InstanceId(instance_id), execution_id=ExecutionId(execution_id))
    given = json.dumps(json.dumps("x" * 50_000))
    return ExecutionStarted(timestamp=now, instance=target, name="Echo", version="", input=given)


async def _ended(hub: AzureHub, instance_id: str) -> InstanceRow | None:
    row = await hub.backend.instances.get_instance(InstanceId(instance_id))
    return row if row is not None and row.status.is_terminal else None


async def _all_names(transport: StorageTransport, container: str) -> list[str]:
    return (await transport.blobs.list(container, "")).names


async def test_a_tracking_store_has_the_tables_and_blobs_under_its_own_prefix(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    settings = replace(
        settings_of(azurite, task_hub), tracking_connection=azurite.connection_string, tracking_prefix=f"Track{task_hub}"
    )
    async with run_azure_hub(settings, interop_registry()) as hub:
        await hub.client.start("Echo", "x" * 50_000, "tracked")
        ended = await hub.client.wait_for_completion("tracked", timeout=PATIENCE)
        listed = [status.instance_id async for status in hub.client.query_all()]
        tables = {name: await transport.tables.exists(name) for name in _table_names(task_hub)}
        await hub.client.purge("tracked")

    assert (ended.output, listed) == ("x" * 50_000, ["tracked"])
    assert tables == {
        f"Track{task_hub}History": True,
        f"Track{task_hub}Instances": True,
        f"{task_hub}History": False,
        f"{task_hub}Instances": False,
        f"{task_hub}Partitions": True,
    }
    assert await _all_names(transport, f"{task_hub.lower()}-largemessages") == []


def _table_names(task_hub: str) -> list[str]:
    tracked = [f"{prefix}{table}" for prefix in (f"Track{task_hub}", task_hub) for table in ("History", "Instances")]
    return [*tracked, f"{task_hub}Partitions"]


NOVELTIES: dict[str, EdmValue] = {
    "Novelty": "of a newer writer",
    "NoveltyLong": EdmOther("Edm.Int64", "12345678901"),
    "NoveltyGuid": EdmOther("Edm.Guid", "0f0e0d0c-0b0a-0908-0706-050403020100"),
    "NoveltyBytes": EdmOther("Edm.Binary", "AAEC"),
    "NoveltyReal": 1.5,
    "NoveltyTime": EdmDateTime("2024-05-06T07:08:09.1234567Z"),
}


async def test_what_newer_writers_have_added_survives_a_whole_run(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    (frozen,) = (one for one in frozen_hubs() if one.name == "hello-result-queued")
    await load_hub(frozen, transport, task_hub, max_delay=1)
    before = {name: await _rows(transport, task_hub + name) for name in ("History", "Instances", "Partitions")}
    for name, rows in before.items():
        for row in rows:
            await transport.tables.apply(task_hub + name, TableChange(Change.UPSERT_MERGE, _keys(row) | NOVELTIES))
    last = before["History"][-2]
    newer: Entity = {
        **last,
        "RowKey": f"{int(str(last['RowKey']), 16) + 1:016X}",
        "EventType": "SomethingNew",
        **NOVELTIES,
    }
    await transport.tables.apply(f"{task_hub}History", TableChange(Change.INSERT, newer))

    settings = replace(settings_of(azurite, task_hub), partition_count=4, app_name="peer")
    async with run_azure_hub(settings, interop_registry()) as hub:
        ended = await hub.client.wait_for_completion("hello-1", timeout=PATIENCE)

    assert ended.runtime_status is OrchestrationStatus.COMPLETED
    for name, rows in before.items():
        after = {str(row["RowKey"]): row for row in await _rows(transport, task_hub + name)}
        for row in rows:
            assert NOVELTIES.items() <= after[str(row["RowKey"])].items(), (name, row["RowKey"])
        assert name != "History" or after[str(newer["RowKey"])] == newer


async def _rows(transport: StorageTransport, table: str) -> list[dict[str, EdmValue]]:
    return [row.entity for row in (await transport.tables.query(table, "")).rows]


def _keys(row: dict[str, EdmValue]) -> dict[str, EdmValue]:
    return {name: row[name] for name in ("PartitionKey", "RowKey")}


async def test_a_version_that_no_column_holds_starts_nothing(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry(), serve=False) as hub:
        with pytest.raises(PayloadTooLargeError, match="version"):
            await hub.client.start("HelloSequence", 2, "long", version="v" * 40_000)

        assert await hub.client.get_status("long") is None
        assert await queue_length(transport, f"{task_hub.lower()}-control-00") == 0


async def test_a_rewind_for_a_reason_that_no_column_holds_changes_nothing(azurite: Azurite, task_hub: str) -> None:
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        await hub.client.start("Failing", "x", "failed")
        await hub.client.wait_for_completion("failed", timeout=PATIENCE)
        before = await hub.backend.instances.get_history(InstanceId("failed"))

        with pytest.raises(PayloadTooLargeError, match="reason"):
            await hub.client.rewind("failed", "r" * 40_000)

        assert await hub.backend.instances.get_history(InstanceId("failed")) == before
