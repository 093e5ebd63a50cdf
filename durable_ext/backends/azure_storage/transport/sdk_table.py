"""Table verbs on azure-data-tables."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Any, Final, TypeVar

import orjson
from azure.core import MatchConditions
from azure.data.tables import EdmType, EntityProperty, UpdateMode
from azure.data.tables.aio import TableServiceClient

from durable_ext.backends.azure_storage.transport.edm import EdmDateTime, EdmOther, EdmValue, Row
from durable_ext.backends.azure_storage.transport.errors import StorageNotFoundError
from durable_ext.backends.azure_storage.transport.sdk_answers import SdkAnswers
from durable_ext.backends.azure_storage.transport.table import Change, TableChange, TablePage

T = TypeVar("T")


class SdkTables:
    """`TableVerbs` on azure-data-tables."""

    def __init__(self, service: TableServiceClient, answers: SdkAnswers) -> None:
        self._service, self._answers = service, answers
        self._clients: dict[str, Any] = {}

    def _client(self, table: str) -> Any:
        client = self._clients.get(table)
        if client is None:
            client = self._clients[table] = self._service.get_table_client(table)
        return client

    async def _call(self, verb: str, table: str, send: Callable[[], Awaitable[T]]) -> T:
        return await self._answers.call(f"table.{verb}", f"/{table}", send)

    async def create(self, table: str) -> None:
        await self._call("create", table, partial(self._service.create_table_if_not_exists, table))

    async def exists(self, table: str) -> bool:
        try:
            await self.query(table, "", top=1)
        except StorageNotFoundError:
            return False
        return True

    async def drop(self, table: str) -> None:
        try:
            await self._call("drop", table, partial(self._service.delete_table, table))
        except StorageNotFoundError:
            return

    async def get(self, table: str, key: str, row_key: str, *, select: Sequence[str] = ()) -> Row | None:
        find = partial(self._client(table).get_entity, key, row_key, select=list(select) or None)
        try:
            return _row(await self._call("get", table, find))
        except StorageNotFoundError:
            return None

    async def query(
        self, table: str, where: str, *, select: Sequence[str] = (), top: int | None = None, continuation: str | None = None
    ) -> TablePage:
        options: dict[str, Any] = {"select": list(select) or None, "results_per_page": top}

        async def find() -> TablePage:
            token: Any = None
            if continuation is not None:
                keys = orjson.loads(continuation)
                token = {"PartitionKey": keys[0], "RowKey": keys[1] or None}
            rows: list[Row] = []
            client = self._client(table)
            found = client.query_entities(where, **options) if where else client.list_entities(**options)
            pages = found.by_page(continuation_token=token)
            async for page in pages:
                rows += [_row(entity) async for entity in page]
                break
            token = pages.continuation_token
            if not token:
                return TablePage(rows)
            return TablePage(rows, orjson.dumps([token["PartitionKey"], token["RowKey"] or ""]).decode())

        return await self._call("query", table, find)

    async def apply(self, table: str, change: TableChange) -> str:
        verb, entity, options = _operation(change)
        client = self._client(table)
        methods = {
            "delete": client.delete_entity,
            "create": client.create_entity,
            "update": client.update_entity,
            "upsert": client.upsert_entity,
        }
        answer = await self._call(change.change.name.lower(), table, partial(methods[verb], entity, **options))
        return "" if verb == "delete" else str(answer.get("etag", ""))

    async def apply_all(self, table: str, changes: Sequence[TableChange]) -> list[str]:
        operations = [_operation(change) for change in changes]
        answers = await self._call("batch", table, partial(self._client(table).submit_transaction, operations))
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
}


def _to_sdk(value: EdmValue) -> Any:
    if isinstance(value, EdmDateTime):
        # As text, because a datetime would lose the seventh digit.
        return EntityProperty(value.text, EdmType.DATETIME)
    if isinstance(value, EdmOther):
        if value.edm_type == "Edm.Binary":
            return EntityProperty(base64.b64decode(value.text), EdmType.BINARY)
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
        return EdmOther("Edm.Binary", base64.b64encode(value).decode())
    return EdmOther("Edm.Guid", str(value))
