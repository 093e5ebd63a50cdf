"""The storage verbs mean the same on both transports, against a real Azurite."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from azurite import Azurite
from support.queue_lengths import queue_length

from durable_ext.backends.azure_storage.large_payloads import LargePayloads
from durable_ext.backends.azure_storage.names import HubNames
from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.blob import LeaseTarget
from durable_ext.backends.azure_storage.transport.connection import StorageTransport, open_transport
from durable_ext.backends.azure_storage.transport.edm import EdmDateTime, EdmOther, EdmValue
from durable_ext.backends.azure_storage.transport.errors import (
    StorageConflictError,
    StorageError,
    StorageNotFoundError,
    StoragePreconditionError,
)
from durable_ext.backends.azure_storage.transport.table import Change, TableChange, literal

pytestmark = pytest.mark.azurite

KEYS = ["plain", "a b", "it's", "x^0y", "日本", "%41", "@counter@key", "+&=;:", "😀", "a\u00c9b"]
TEXTS = ["", "x", "\x7f", "\u0085", "\u2028", "😀", '\\"q\\"', "a\tb", "a\r\nb", "\x01", "-- PUT http", "a\ud800b"]
ONE = "dda8b646-0000-0000-0000-000000000000"
OTHER = "dda8b647-0000-0000-0000-000000000000"


@pytest.fixture(params=["lean", "sdk"])
async def transport(request: pytest.FixtureRequest, azurite: Azurite) -> AsyncIterator[StorageTransport]:
    opened = open_transport(account_from_connection_string(azurite.connection_string), request.param)
    yield opened
    await opened.close()


@pytest.fixture
async def queue(transport: StorageTransport, task_hub: str) -> str:
    name = task_hub.lower()
    await transport.queues.create(name)
    return name


@pytest.fixture
async def table(transport: StorageTransport, task_hub: str) -> str:
    await transport.tables.create(task_hub)
    return task_hub


@pytest.fixture
async def container(transport: StorageTransport, task_hub: str) -> str:
    name = task_hub.lower()
    await transport.blobs.create_container(name)
    return name


async def test_creating_what_exists_does_nothing(
    transport: StorageTransport, queue: str, table: str, container: str
) -> None:
    await transport.queues.create(queue)
    await transport.tables.create(table)
    await transport.blobs.create_container(container)

    assert await transport.queues.exists(queue)
    assert await transport.tables.exists(table)
    assert await transport.blobs.container_exists(container)


async def test_what_was_never_created_does_not_exist(transport: StorageTransport) -> None:
    assert not await transport.queues.exists("nosuchqueue")
    assert not await transport.tables.exists("NoSuchTable")
    assert not await transport.blobs.container_exists("nosuchcontainer")
    await transport.queues.drop("nosuchqueue")
    await transport.tables.drop("NoSuchTable")
    await transport.blobs.drop_container("nosuchcontainer")


async def test_a_message_text_comes_back_unchanged(transport: StorageTransport, queue: str) -> None:
    text = '{"t":"héllo <&> 😀 \\"x\\" \\t"}'
    await transport.queues.put(queue, text)

    found = await transport.queues.get(queue, count=32, visibility=30)

    assert [(message.text, message.dequeue_count) for message in found] == [(text, 1)]


async def test_a_message_that_is_put_invisible_can_be_deleted_with_its_receipt(
    transport: StorageTransport, queue: str
) -> None:
    receipt = await transport.queues.put(queue, "later", invisible_for=100)

    taken = await transport.queues.get(queue, count=1, visibility=30)
    await transport.queues.delete(queue, receipt)

    assert taken == []
    assert await queue_length(transport, queue) == 0


async def test_only_the_newest_receipt_of_a_message_is_good(transport: StorageTransport, queue: str) -> None:
    first = await transport.queues.put(queue, "x", invisible_for=30)
    second = await transport.queues.hide(queue, first, visibility=60)

    with pytest.raises(StorageError):
        await transport.queues.delete(queue, first)
    await transport.queues.delete(queue, second)
    with pytest.raises(StorageNotFoundError):
        await transport.queues.delete(queue, second)


async def test_a_hidden_message_can_be_made_visible_at_once(transport: StorageTransport, queue: str) -> None:
    receipt = await transport.queues.put(queue, "x", invisible_for=60)

    await transport.queues.hide(queue, receipt, visibility=0)

    assert len(await transport.queues.get(queue, count=1, visibility=30)) == 1


@pytest.mark.parametrize("key", KEYS)
async def test_a_row_is_found_under_any_key_with_its_types(transport: StorageTransport, table: str, key: str) -> None:
    entity: dict[str, EdmValue] = {
        "PartitionKey": key,
        "RowKey": "",
        "Number": 5,
        "Flag": True,
        "When": EdmDateTime("2024-05-06T07:08:09.1234567Z"),
        "Text": "tëxt",
        "Long": EdmOther("Edm.Int64", "123456789012"),
    }
    etag = await transport.tables.apply(table, TableChange(Change.INSERT, entity))

    row = await transport.tables.get(table, key, "")
    page = await transport.tables.query(table, f"PartitionKey eq {literal(key)}")

    assert row is not None
    assert (row.entity, row.etag) == (entity, etag)
    assert [(found.entity, found.etag) for found in page.rows] == [(entity, etag)]


async def test_columns_of_other_people_survive_that_a_row_is_read_and_written(
    transport: StorageTransport, table: str
) -> None:
    entity: dict[str, EdmValue] = {
        "PartitionKey": "p",
        "RowKey": "r",
        "Bytes": EdmOther("Edm.Binary", "AAEC/w=="),
        "Long": EdmOther("Edm.Int64", "-5"),
        "Id": EdmOther("Edm.Guid", "c9da6455-213d-42c9-9a79-3e9149a57833"),
        "Double": 1.5,
        "When": EdmDateTime("2024-05-06T07:08:09.1234567Z"),
    }
    lean = open_transport(transport.account, "lean")
    await lean.tables.apply(table, TableChange(Change.INSERT, entity))

    read = await transport.tables.get(table, "p", "r")
    assert read is not None
    await transport.tables.apply(table, TableChange(Change.REPLACE, read.entity, read.etag))
    left = await lean.tables.get(table, "p", "r")
    await lean.close()

    assert left is not None
    assert (read.entity, left.entity) == (entity, entity)


@pytest.mark.parametrize("text", TEXTS)
async def test_a_batch_stores_any_text(transport: StorageTransport, table: str, text: str) -> None:
    changes = [
        TableChange(Change.UPSERT, {"PartitionKey": "p", "RowKey": f"{index:016X}", "Text": text}) for index in range(3)
    ]

    etags = await transport.tables.apply_all(table, changes)

    row = await transport.tables.get(table, "p", "0000000000000002")
    assert row is not None
    assert (row.entity["Text"], row.etag) == (text, etags[2])


async def test_a_stale_etag_is_refused_and_changes_nothing(transport: StorageTransport, table: str) -> None:
    entity: dict[str, EdmValue] = {"PartitionKey": "p", "RowKey": "sentinel", "N": 1}
    stale = await transport.tables.apply(table, TableChange(Change.INSERT, entity))
    await transport.tables.apply(table, TableChange(Change.MERGE, {**entity, "N": 2}, stale))

    with pytest.raises(StoragePreconditionError):
        await transport.tables.apply(table, TableChange(Change.REPLACE, {**entity, "N": 3}, stale))
    with pytest.raises(StoragePreconditionError):
        await transport.tables.apply_all(
            table,
            [
                TableChange(Change.UPSERT, {"PartitionKey": "p", "RowKey": "0"}),
                TableChange(Change.MERGE, {**entity, "N": 3}, stale),
            ],
        )

    page = await transport.tables.query(table, "")
    assert [(row.entity["RowKey"], row.entity.get("N")) for row in page.rows] == [("sentinel", 2)]


async def test_inserting_what_exists_is_a_conflict(transport: StorageTransport, table: str) -> None:
    insert = TableChange(Change.INSERT, {"PartitionKey": "p", "RowKey": "sentinel"})
    await transport.tables.apply(table, insert)

    with pytest.raises(StorageConflictError):
        await transport.tables.apply(table, insert)
    with pytest.raises(StorageConflictError):
        await transport.tables.apply_all(table, [insert])


async def test_a_merge_keeps_other_columns_and_a_replace_does_not(transport: StorageTransport, table: str) -> None:
    entity: dict[str, EdmValue] = {"PartitionKey": "p", "RowKey": "", "Old": "kept"}
    await transport.tables.apply(table, TableChange(Change.INSERT, entity))

    await transport.tables.apply(table, TableChange(Change.UPSERT_MERGE, {"PartitionKey": "p", "RowKey": "", "New": 1}))
    merged = await transport.tables.get(table, "p", "")
    await transport.tables.apply(table, TableChange(Change.REPLACE, {"PartitionKey": "p", "RowKey": "", "New": 2}))
    replaced = await transport.tables.get(table, "p", "")

    assert merged is not None
    assert replaced is not None
    assert (merged.entity.get("Old"), merged.entity["New"]) == ("kept", 1)
    assert ("Old" in replaced.entity, replaced.entity["New"]) == (False, 2)


async def test_pages_follow_each_other_without_gaps(transport: StorageTransport, table: str) -> None:
    await transport.tables.apply_all(
        table, [TableChange(Change.INSERT, {"PartitionKey": "p", "RowKey": f"{index:02d}"}) for index in range(7)]
    )

    found: list[object] = []
    continuation: str | None = None
    while True:
        page = await transport.tables.query(table, "", select=("RowKey",), top=3, continuation=continuation)
        found += [row.entity["RowKey"] for row in page.rows]
        continuation = page.continuation
        if continuation is None:
            break

    assert found == [f"{index:02d}" for index in range(7)]


async def test_a_batch_of_deletes_removes_rows(transport: StorageTransport, table: str) -> None:
    rows = [{"PartitionKey": "p", "RowKey": f"{index}"} for index in range(3)]
    await transport.tables.apply_all(table, [TableChange(Change.INSERT, row) for row in rows])

    await transport.tables.apply_all(table, [TableChange(Change.DELETE, row) for row in rows])

    assert (await transport.tables.query(table, "")).rows == []


@pytest.mark.parametrize("name", ["abc/x y.json.gz", "@c@k/é😀'.gz", "x^0y/%41+&?#", "a\\b/c"])
async def test_a_blob_is_found_under_any_name(transport: StorageTransport, container: str, name: str) -> None:
    await transport.blobs.upload(container, name, b"data")

    content = await transport.blobs.download(container, name)
    again = await transport.blobs.upload_new(container, name, b"other")
    page = await transport.blobs.list(container, name[:1])

    assert (content, again) == (b"data", False)
    assert page.names == [name.replace("\\", "/")]


async def test_a_deleted_blob_is_gone(transport: StorageTransport, container: str) -> None:
    await transport.blobs.upload(container, "x", b"data")

    await transport.blobs.delete(container, "x")
    await transport.blobs.delete(container, "x")

    assert await transport.blobs.download(container, "x") is None


@pytest.mark.parametrize("blob", [None, "lease"])
async def test_a_lease_is_shared_by_its_id_and_refused_to_others(
    transport: StorageTransport, container: str, blob: str | None
) -> None:
    target = LeaseTarget(container, blob)
    await transport.blobs.upload(container, "lease", b"{}")
    await transport.blobs.acquire_lease(target, ONE, 15)

    await transport.blobs.acquire_lease(target, ONE, 15)
    await transport.blobs.renew_lease(target, ONE)
    with pytest.raises(StorageConflictError):
        await transport.blobs.acquire_lease(target, OTHER, 15)

    assert await transport.blobs.is_leased(target)


async def test_a_lease_can_be_taken_over_with_its_id_and_released(transport: StorageTransport, container: str) -> None:
    target = LeaseTarget(container)
    await transport.blobs.acquire_lease(target, ONE, 15)

    await transport.blobs.change_lease(target, ONE, OTHER)
    with pytest.raises(StorageConflictError):
        await transport.blobs.renew_lease(target, ONE)
    await transport.blobs.release_lease(target, OTHER)

    assert not await transport.blobs.is_leased(target)


async def test_a_payload_is_stored_though_its_container_was_deleted_meanwhile(
    transport: StorageTransport, task_hub: str
) -> None:
    names = HubNames(task_hub=task_hub)
    payloads = LargePayloads(transport.blobs, names)
    await payloads.store("one.json.gz", "first")
    await transport.blobs.drop_container(names.large_message_container)

    await payloads.store("two.json.gz", "second")

    assert await payloads.load("two.json.gz") == "second"
