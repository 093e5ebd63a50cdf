"""Table verbs: the Protocol, its values, and the lean client."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol
from urllib.parse import quote

import orjson

from durable_ext.backends.azure_storage.transport.account import Service
from durable_ext.backends.azure_storage.transport.edm import (
    Entity,
    Row,
    entity_to_json,
    load_json,
    row_from_json,
    rows_from_json,
)
from durable_ext.backends.azure_storage.transport.errors import (
    StorageConflictError,
    StorageNotFoundError,
    StorageUnavailableError,
)
from durable_ext.backends.azure_storage.transport.http import StorageHttp
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer

_JSON: Final = {
    "accept": "application/json;odata=minimalmetadata",
    "dataserviceversion": "3.0;",
}
_WRITE: Final = _JSON | {"content-type": "application/json", "prefer": "return-no-content"}
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3})")
_ETAG: Final = re.compile(rb"\n[Ee][Tt][Aa][Gg]:[ \t]*([^\r\n]+)")
_RETRY_AFTER: Final = re.compile(rb"(?im)^retry-after:\s*(.+?)\r?$")
MAX_BATCH: Final = 100


class Change(Enum):
    """What a batch does with a row; the value is the HTTP method."""

    INSERT = "POST"
    UPSERT = "PUT"  # insert or replace
    UPSERT_MERGE = "MERGE"
    REPLACE = "put-if-match"
    MERGE = "merge-if-match"
    DELETE = "DELETE"

    __hash__ = object.__hash__  # looked up for each row; an Enum's own hashes its name, in Python


_METHODS: Final = {
    Change.INSERT: "POST",
    Change.UPSERT: "PUT",
    Change.UPSERT_MERGE: "MERGE",
    Change.REPLACE: "PUT",
    Change.MERGE: "MERGE",
    Change.DELETE: "DELETE",
}


@dataclass(frozen=True, slots=True)
class TableChange:
    """One operation; `etag` (`*` = whatever is there) for REPLACE, MERGE and DELETE."""

    change: Change
    entity: Entity
    etag: str = "*"


@dataclass(frozen=True, slots=True)
class TablePage:
    """A page of a query; `continuation` is opaque, `None` on the last page. A page may be empty."""

    rows: list[Row]
    continuation: str | None = None


class TableVerbs(Protocol):
    """What we do with tables. Errors: transport/errors.py."""

    async def create(self, table: str) -> None:
        """Create a table; does nothing if it exists."""
        ...

    async def exists(self, table: str) -> bool: ...

    async def drop(self, table: str) -> None:
        """Delete a table; does nothing if it is missing."""
        ...

    async def get(self, table: str, key: str, row_key: str, *, select: Sequence[str] = ()) -> Row | None:
        """Return one row, `None` if there is none (or no table)."""
        ...

    async def query(
        self, table: str, where: str, *, select: Sequence[str] = (), top: int | None = None, continuation: str | None = None
    ) -> TablePage:
        """Return one page of the rows for which an OData filter holds (empty = all), in key order."""
        ...

    async def apply(self, table: str, change: TableChange) -> str:
        """Do one operation; return the row's new ETag (empty for DELETE)."""
        ...

    async def apply_all(self, table: str, changes: Sequence[TableChange]) -> list[str]:
        """Do up to 100 operations on one partition atomically; return the new ETags in order."""
        ...


def literal(text: str) -> str:
    """Return a string as an OData literal."""
    return "'" + text.replace("'", "''") + "'"


def _row_path(table: str, key: str, row_key: str) -> str:
    pk, rk = (quote(part.replace("'", "''"), safe="") for part in (key, row_key))
    return f"/{table}(PartitionKey='{pk}',RowKey='{rk}')"


def _path_of(table: str, change: TableChange) -> str:
    if change.change is Change.INSERT:
        return f"/{table}"
    return _row_path(table, str(change.entity["PartitionKey"]), str(change.entity["RowKey"]))


_CONDITIONAL: Final = frozenset({Change.REPLACE, Change.MERGE, Change.DELETE})


class LeanTables:
    """`TableVerbs` straight on HTTP."""

    def __init__(self, http: StorageHttp, *, ascii_only: bool = False) -> None:
        self._http, self._ascii_only = http, ascii_only
        # Boundaries must not occur in content; one pair per client is as unlikely as one per call.
        batch, changeset = f"batch_{uuid.uuid4()}", f"changeset_{uuid.uuid4()}"
        self._batch_headers = _JSON | {"content-type": f"multipart/mixed; boundary={batch}"}
        self._batch_opening = f"--{batch}\r\nContent-Type: multipart/mixed; boundary={changeset}\r\n\r\n".encode()
        self._part_head = (
            f"--{changeset}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n".encode()
        )
        self._batch_end = f"--{changeset}--\r\n--{batch}--\r\n".encode()

    async def create(self, table: str) -> None:
        body = orjson.dumps({"TableName": table})
        try:
            await self._http.send("table.create", Service.TABLE, "POST", "/Tables", headers=_WRITE, body=body)
        except StorageConflictError as exc:
            if exc.code != "TableAlreadyExists":
                raise

    async def exists(self, table: str) -> bool:
        try:
            await self._http.send("table.exists", Service.TABLE, "GET", f"/{table}()", params={"$top": "1"}, headers=_JSON)
        except StorageNotFoundError:
            return False
        return True

    async def drop(self, table: str) -> None:
        try:
            await self._http.send("table.drop", Service.TABLE, "DELETE", f"/Tables('{table}')", headers=_JSON)
        except StorageNotFoundError:
            return

    async def get(self, table: str, key: str, row_key: str, *, select: Sequence[str] = ()) -> Row | None:
        params = {"$select": ",".join(select)} if select else {}
        try:
            answer = await self._http.send(
                "table.get", Service.TABLE, "GET", _row_path(table, key, row_key), params=params, headers=_JSON
            )
        except StorageNotFoundError:
            return None
        return row_from_json(load_json(answer.body), answer.headers.get("etag", ""))

    async def query(
        self, table: str, where: str, *, select: Sequence[str] = (), top: int | None = None, continuation: str | None = None
    ) -> TablePage:
        params: dict[str, str] = {}
        if where:
            params["$filter"] = where
        if select:
            params["$select"] = ",".join(select)
        if top is not None:
            params["$top"] = str(top)
        if continuation is not None:
            next_key, next_row = orjson.loads(continuation)
            params["NextPartitionKey"] = next_key
            if next_row:
                params["NextRowKey"] = next_row
        answer = await self._http.send("table.query", Service.TABLE, "GET", f"/{table}()", params=params, headers=_JSON)
        next_key = answer.headers.get("x-ms-continuation-nextpartitionkey")
        token = None
        if next_key:
            token = orjson.dumps([next_key, answer.headers.get("x-ms-continuation-nextrowkey", "")]).decode()
        return TablePage(rows_from_json(answer.body), token)

    async def apply(self, table: str, change: TableChange) -> str:
        headers = dict(_WRITE)
        if change.change in _CONDITIONAL:
            headers["if-match"] = change.etag
        body = b"" if change.change is Change.DELETE else entity_to_json(change.entity, ascii_only=self._ascii_only)
        verb = f"table.{change.change.name.lower()}"
        answer = await self._http.send(
            verb, Service.TABLE, _METHODS[change.change], _path_of(table, change), headers=headers, body=body
        )
        return answer.headers.get("etag", "")

    async def apply_all(self, table: str, changes: Sequence[TableChange]) -> list[str]:
        root = self._http.url(Service.TABLE, "")
        head = self._part_head
        parts = [self._batch_opening]
        for change in changes:
            parts.append(head + _batch_operation(root, table, change, self._ascii_only))
        parts.append(self._batch_end)
        answer = await self._http.send(
            "table.batch",
            Service.TABLE,
            "POST",
            "/$batch",
            headers=self._batch_headers,
            body=b"".join(parts),
            meaning=_batch_answer,
        )
        return _batch_etags(answer, table, len(changes))


def _batch_operation(root: str, table: str, change: TableChange, ascii_only: bool) -> bytes:
    headers = "Accept: application/json;odata=minimalmetadata\r\nDataServiceVersion: 3.0;\r\n"
    if change.change in _CONDITIONAL:
        headers += f"If-Match: {change.etag}\r\n"
    line = f"{_METHODS[change.change]} {root}{_path_of(table, change)} HTTP/1.1\r\n{headers}"
    if change.change is Change.DELETE:
        return f"{line}\r\n\r\n".encode()
    body = entity_to_json(change.entity, ascii_only=ascii_only)
    line += f"Prefer: return-no-content\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return line.encode() + body + b"\r\n"


def _batch_answer(answer: HttpAnswer) -> HttpAnswer:
    """Return an answer with the status of the operation that failed, if one did: the batch itself is always accepted."""
    failed = next((status for status in _STATUS.findall(answer.body) if status >= b"300"), None)
    if failed is None or answer.status >= 300:
        return answer
    pause = _RETRY_AFTER.search(answer.body)
    headers = {**answer.headers, "retry-after": pause[1].decode("latin-1")} if pause else answer.headers
    return HttpAnswer(int(failed), headers, answer.body)


def _batch_etags(answer: HttpAnswer, table: str, count: int) -> list[str]:
    parts = _STATUS.split(answer.body)[2::2]
    if len(parts) != count:
        raise StorageUnavailableError(call=f"table.batch /{table}", why=f"{count} operations got {len(parts)} answers")
    return [_etag(part) for part in parts]


def _etag(part: bytes) -> str:
    found = _ETAG.search(part)
    return found[1].decode() if found else ""
