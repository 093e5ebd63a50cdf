"""The same verbs on the Azure SDK packages: slower, but with everything the SDKs know (proxies, every credential).

Imported only when host.json asks for it (`storageProvider.transport`).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final
from urllib.parse import quote

import orjson
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.data.tables import EdmType, EntityProperty, UpdateMode
from azure.data.tables.aio import TableServiceClient
from azure.storage.blob.aio import BlobLeaseClient, BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from durable_ext.backends.azure_storage.transport.account import Sas, Service, SharedKey, StorageAccount
from durable_ext.backends.azure_storage.transport.aiohttp_wire import AiohttpWire
from durable_ext.backends.azure_storage.transport.blob import BlobPage, LeaseTarget
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.transport.edm import EdmDateTime, EdmOther, EdmValue, Row
from durable_ext.backends.azure_storage.transport.errors import (
    StorageConflictError,
    StorageNotFoundError,
    StoragePreconditionError,
)
from durable_ext.backends.azure_storage.transport.health import StorageHealth
from durable_ext.backends.azure_storage.transport.identity import credential_of
from durable_ext.backends.azure_storage.transport.queue import MessageReceipt, QueueMessage
from durable_ext.backends.azure_storage.transport.sdk_answers import SdkAnswers
from durable_ext.backends.azure_storage.transport.sdk_http import KeepAliveSdkTransport
from durable_ext.backends.azure_storage.transport.table import Change, TableChange, TablePage
from durable_ext.backends.azure_storage.transport.wire import open_wire

_LEASE_SECONDS_FOREVER: Final = -1
_TIMEOUT: Final = timedelta(seconds=60)
_MAX_CONNECTIONS: Final = 100


class SdkQueues:
    """`QueueVerbs` on azure-storage-queue."""

    def __init__(self, service: QueueServiceClient, health: StorageHealth) -> None:
        self._service, self._answers = service, SdkAnswers(Service.QUEUE, health)
        self._clients: dict[str, Any] = {}

    def _client(self, queue: str) -> Any:
        client = self._clients.get(queue)
        if client is None:
            client = self._clients[queue] = self._service.get_queue_client(queue)
        return client

    async def create(self, queue: str) -> None:
        try:
            async with self._answers.translated(f"queue.create /{queue}"):
                await self._client(queue).create_queue()
        except StorageConflictError as exc:
            if exc.code != "QueueAlreadyExists":
                raise

    async def exists(self, queue: str) -> bool:
        try:
            async with self._answers.translated(f"queue.exists /{queue}"):
                await self._client(queue).get_queue_properties()
        except StorageNotFoundError:
            return False
        return True

    async def drop(self, queue: str) -> None:
        try:
            async with self._answers.translated(f"queue.drop /{queue}"):
                await self._client(queue).delete_queue()
        except StorageNotFoundError:
            return

    async def put(self, queue: str, text: str, *, invisible_for: int = 0) -> MessageReceipt:
        tries = 1

        def tried_again(**_: Any) -> None:
            nonlocal tries
            tries += 1

        async with self._answers.translated(f"queue.put /{queue}"):
            sent = await self._client(queue).send_message(
                text, visibility_timeout=invisible_for or None, time_to_live=_LEASE_SECONDS_FOREVER, retry_hook=tried_again
            )
        return MessageReceipt(sent.id, sent.pop_receipt, may_have_twin=tries > 1)

    async def get(self, queue: str, *, count: int, visibility: int) -> list[QueueMessage]:
        found: list[QueueMessage] = []
        async with self._answers.translated(f"queue.get /{queue}"):
            pages = self._client(queue).receive_messages(
                messages_per_page=count, max_messages=count, visibility_timeout=visibility
            )
            async for message in pages:
                found.append(
                    QueueMessage(
                        message_id=message.id,
                        pop_receipt=message.pop_receipt,
                        text=message.content,
                        dequeue_count=message.dequeue_count,
                        inserted=message.inserted_on,
                        next_visible=message.next_visible_on,
                    )
                )
        return found

    async def hide(self, queue: str, receipt: MessageReceipt, *, visibility: int, text: str | None = None) -> MessageReceipt:
        async with self._answers.translated(f"queue.update /{queue}"):
            updated = await self._client(queue).update_message(
                receipt.message_id, receipt.pop_receipt, content=text, visibility_timeout=visibility
            )
        return MessageReceipt(receipt.message_id, updated.pop_receipt)

    async def delete(self, queue: str, receipt: MessageReceipt) -> None:
        async with self._answers.translated(f"queue.delete /{queue}"):
            await self._client(queue).delete_message(receipt.message_id, receipt.pop_receipt)

    async def length(self, queue: str) -> int:
        async with self._answers.translated(f"queue.length /{queue}"):
            properties = await self._client(queue).get_queue_properties()
        return int(properties.approximate_message_count or 0)


class SdkTables:
    """`TableVerbs` on azure-data-tables."""

    def __init__(self, service: TableServiceClient, health: StorageHealth) -> None:
        self._service, self._answers = service, SdkAnswers(Service.TABLE, health)
        self._clients: dict[str, Any] = {}

    def _client(self, table: str) -> Any:
        client = self._clients.get(table)
        if client is None:
            client = self._clients[table] = self._service.get_table_client(table)
        return client

    async def create(self, table: str) -> None:
        async with self._answers.translated(f"table.create /{table}"):
            await self._service.create_table_if_not_exists(table)

    async def exists(self, table: str) -> bool:
        try:
            await self.query(table, "", top=1)
        except StorageNotFoundError:
            return False
        return True

    async def drop(self, table: str) -> None:
        try:
            async with self._answers.translated(f"table.drop /{table}"):
                await self._service.delete_table(table)
        except StorageNotFoundError:
            return

    async def get(self, table: str, key: str, row_key: str, *, select: Sequence[str] = ()) -> Row | None:
        try:
            async with self._answers.translated(f"table.get /{table}"):
                entity = await self._client(table).get_entity(key, row_key, select=list(select) or None)
        except StorageNotFoundError:
            return None
        return _row(entity)

    async def query(
        self, table: str, where: str, *, select: Sequence[str] = (), top: int | None = None, continuation: str | None = None
    ) -> TablePage:
        token: Any = None
        if continuation is not None:
            keys = orjson.loads(continuation)
            token = {"PartitionKey": keys[0], "RowKey": keys[1] or None}
        rows: list[Row] = []
        async with self._answers.translated(f"table.query /{table}"):
            client = self._client(table)
            options: dict[str, Any] = {"select": list(select) or None, "results_per_page": top}
            found = client.query_entities(where, **options) if where else client.list_entities(**options)
            pages = found.by_page(continuation_token=token)
            async for page in pages:
                async for entity in page:
                    rows.append(_row(entity))
                break
            token = pages.continuation_token
        if not token:
            return TablePage(rows)
        return TablePage(rows, orjson.dumps([token["PartitionKey"], token["RowKey"] or ""]).decode())

    async def apply(self, table: str, change: TableChange) -> str:
        verb, entity, options = _operation(change)
        client = self._client(table)
        async with self._answers.translated(f"table.{change.change.name.lower()} /{table}"):
            if verb == "delete":
                await client.delete_entity(entity, **options)
                return ""
            method = {"create": client.create_entity, "update": client.update_entity, "upsert": client.upsert_entity}[verb]
            answer = await method(entity, **options)
        return str(answer.get("etag", ""))

    async def apply_all(self, table: str, changes: Sequence[TableChange]) -> list[str]:
        operations = [_operation(change) for change in changes]
        async with self._answers.translated(f"table.batch /{table}"):
            answers = await self._client(table).submit_transaction(operations)
        return [str(answer.get("etag", "")) for answer in answers]


def _operation(change: TableChange) -> tuple[str, dict[str, Any], dict[str, Any]]:
    entity = {name: _to_sdk(value) for name, value in change.entity.items()}
    kind = change.change
    condition: dict[str, Any] = {}
    if change.etag != "*":
        condition = {"etag": change.etag, "match_condition": MatchConditions.IfNotModified}
    if kind is Change.INSERT:
        return "create", entity, {}
    if kind is Change.DELETE:
        return "delete", {"PartitionKey": entity["PartitionKey"], "RowKey": entity["RowKey"]}, condition
    mode = UpdateMode.MERGE if kind in (Change.MERGE, Change.UPSERT_MERGE) else UpdateMode.REPLACE
    if kind in (Change.UPSERT, Change.UPSERT_MERGE):
        return "upsert", entity, {"mode": mode}
    return "update", entity, {"mode": mode, **condition}


_EDM: Final = {
    "Edm.Int64": EdmType.INT64,
    "Edm.Double": EdmType.DOUBLE,
    "Edm.Guid": EdmType.GUID,
    "Edm.Binary": EdmType.BINARY,
}


def _to_sdk(value: EdmValue) -> Any:
    if isinstance(value, EdmDateTime):
        # As text, because a datetime would lose the seventh digit.
        return EntityProperty(value.text, EdmType.DATETIME)
    if isinstance(value, EdmOther):
        return EntityProperty(value.text, _EDM.get(value.edm_type, EdmType.STRING))
    return value


def _row(entity: Any) -> Row:
    columns: dict[str, EdmValue] = {}
    for name, value in entity.items():
        if value is None:
            continue
        columns[name] = _from_sdk(value)
    return Row(columns, str(entity.metadata.get("etag", "")))


def _from_sdk(value: Any) -> EdmValue:
    if isinstance(value, datetime):
        text = getattr(value, "tables_service_value", None)
        return EdmDateTime(text or value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    if isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, tuple):
        return EdmOther(str(value[1].value), str(value[0]))
    if isinstance(value, bytes):
        return EdmOther("Edm.Binary", value.hex())
    return EdmOther("Edm.Guid", str(value))


class SdkBlobs:
    """`BlobVerbs` on azure-storage-blob."""

    def __init__(self, service: BlobServiceClient, account: StorageAccount, health: StorageHealth) -> None:
        self._answers = SdkAnswers(Service.BLOB, health)
        self._service, self._root = service, account.blob_endpoint

    def _blob(self, container: str, blob: str) -> Any:
        return self._service.get_blob_client(container, blob.replace("\\", "/"))

    async def create_container(self, container: str) -> None:
        try:
            async with self._answers.translated(f"blob.create_container /{container}"):
                await self._service.create_container(container)
        except StorageConflictError as exc:
            if exc.code != "ContainerAlreadyExists":
                raise

    async def container_exists(self, container: str) -> bool:
        async with self._answers.translated(f"blob.container_exists /{container}"):
            return bool(await self._service.get_container_client(container).exists())

    async def drop_container(self, container: str, *, lease_id: str | None = None) -> None:
        try:
            async with self._answers.translated(f"blob.drop_container /{container}"):
                await self._service.delete_container(container, lease=lease_id)
        except StorageNotFoundError:
            return

    async def upload(self, container: str, blob: str, content: bytes, *, lease_id: str | None = None) -> None:
        async with self._answers.translated(f"blob.put /{container}"):
            await self._blob(container, blob).upload_blob(content, overwrite=True, lease=lease_id)

    async def upload_new(self, container: str, blob: str, content: bytes) -> bool:
        try:
            async with self._answers.translated(f"blob.put_new /{container}"):
                await self._blob(container, blob).upload_blob(content, overwrite=False)
        except (StorageConflictError, StoragePreconditionError):
            return False
        return True

    async def download(self, container: str, blob: str) -> bytes | None:
        try:
            async with self._answers.translated(f"blob.get /{container}"):
                return bytes(await (await self._blob(container, blob).download_blob()).readall())
        except StorageNotFoundError:
            return None

    async def delete(self, container: str, blob: str) -> None:
        try:
            async with self._answers.translated(f"blob.delete /{container}"):
                await self._blob(container, blob).delete_blob()
        except StorageNotFoundError:
            return

    async def list(self, container: str, prefix: str, continuation: str | None = None) -> BlobPage:
        names: list[str] = []
        try:
            async with self._answers.translated(f"blob.list /{container}"):
                client = self._service.get_container_client(container)
                pages: Any = client.list_blobs(name_starts_with=prefix or None, include=["metadata"]).by_page(continuation)
                async for page in pages:
                    async for blob in page:
                        metadata: Mapping[str, str] = blob.metadata or {}
                        if metadata.get("hdi_isfolder", "").lower() != "true":
                            names.append(blob.name)
                    break
        except StorageNotFoundError:
            return BlobPage([])
        return BlobPage(names, pages.continuation_token or None)

    def _target(self, target: LeaseTarget) -> Any:
        if target.blob is None:
            return self._service.get_container_client(target.container)
        return self._blob(target.container, target.blob)

    def _lease(self, target: LeaseTarget, lease_id: str) -> Any:
        return BlobLeaseClient(self._target(target), lease_id=lease_id)

    async def acquire_lease(self, target: LeaseTarget, lease_id: str, seconds: int) -> None:
        async with self._answers.translated(f"blob.lease_acquire /{target.container}"):
            await self._lease(target, lease_id).acquire(lease_duration=seconds)

    async def change_lease(self, target: LeaseTarget, lease_id: str, new_lease_id: str) -> None:
        async with self._answers.translated(f"blob.lease_change /{target.container}"):
            await self._lease(target, lease_id).change(new_lease_id)

    async def renew_lease(self, target: LeaseTarget, lease_id: str) -> None:
        async with self._answers.translated(f"blob.lease_renew /{target.container}"):
            await self._lease(target, lease_id).renew()

    async def release_lease(self, target: LeaseTarget, lease_id: str) -> None:
        async with self._answers.translated(f"blob.lease_release /{target.container}"):
            await self._lease(target, lease_id).release()

    async def is_leased(self, target: LeaseTarget) -> bool:
        async with self._answers.translated(f"blob.properties /{target.container}"):
            client = self._target(target)
            properties = await (client.get_container_properties() if target.blob is None else client.get_blob_properties())
        return str(properties.lease.state).lower() == "leased"

    def url(self, container: str, blob: str) -> str:
        return f"{self._root}/{container}/{quote(blob.replace(chr(92), '/'), safe='/', errors='surrogatepass')}"


def _http_options(endpoint: str) -> dict[str, Any]:
    """Give a client our HTTP client, unless only aiohttp will do."""
    wire = open_wire(frozenset({endpoint}), timeout=_TIMEOUT, max_connections=_MAX_CONNECTIONS)
    return {} if isinstance(wire, AiohttpWire) else {"transport": KeepAliveSdkTransport(wire)}


def open_sdk_transport(account: StorageAccount, health: StorageHealth | None = None) -> StorageTransport:
    """Return the transport on the SDK packages. No request is made yet. `health` is told of outages."""
    health = health or StorageHealth()
    credential = account.credential
    closeable: list[Any] = []
    if isinstance(credential, SharedKey):
        key = base64.b64encode(credential.key).decode()
        table_credential: Any = AzureNamedKeyCredential(credential.account, key)
        other: Any = {"account_name": credential.account, "account_key": key}
    elif isinstance(credential, Sas):
        table_credential = other = AzureSasCredential(credential.token)
    else:
        table_credential = other = credential_of(credential)
        closeable.append(other)
    queues = QueueServiceClient(account.queue_endpoint, credential=other, **_http_options(account.queue_endpoint))
    tables = TableServiceClient(account.table_endpoint, credential=table_credential, **_http_options(account.table_endpoint))
    blobs = BlobServiceClient(account.blob_endpoint, credential=other)
    return StorageTransport(
        queues=SdkQueues(queues, health),
        tables=SdkTables(tables, health),
        blobs=SdkBlobs(blobs, account, health),
        account=account,
        closeable=(queues, tables, blobs, *closeable),
    )
