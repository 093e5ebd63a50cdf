"""A storage account over HTTP, as the model uses it: one connection a service, an account SAS made from the key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit
from xml.sax.saxutils import escape, unescape

from support.provider_model.dotnet import SECOND, ticks
from support.provider_model.storage import ConflictError, QueueMessage, Row, Write

_JSON: Final = {"Accept": "application/json;odata=minimalmetadata", "DataServiceVersion": "3.0;"}
_MESSAGE: Final = re.compile(r"<QueueMessage>(.*?)</QueueMessage>", re.DOTALL)
_FIELD: Final = re.compile(r"<(\w+)>(.*?)</\1>", re.DOTALL)
_BLOB_NAME: Final = re.compile(r"<Name>(.*?)</Name>")
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3})")
_ETAG: Final = re.compile(rb"\n[Ee][Tt][Aa][Gg]:[ \t]*([^\r\n]+)")
_SAS_VERSION: Final = "2019-02-02"
_VERBS: Final = {"insert": "POST", "put": "PUT", "merge": "MERGE", "delete": "DELETE"}
_PAUSE_SECONDS: Final = 0.05


class RefusedError(Exception):
    """The service answered with an error that the model does not expect."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status} {body[:500]!r}")
        self.status = status


def _sas(account: str, key: str) -> str:
    """Return an account SAS with all rights, valid for a day."""
    expiry = (datetime.now(timezone.utc) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    signed = [account, "rwdlacup", "bqt", "sco", "", expiry, "", "", _SAS_VERSION, ""]
    digest = hmac.new(base64.b64decode(key), "\n".join(signed).encode(), hashlib.sha256).digest()
    values = {"sp": "rwdlacup", "ss": "bqt", "srt": "sco", "se": expiry, "sv": _SAS_VERSION}
    return urlencode({**values, "sig": base64.b64encode(digest).decode()})


class LiveStorage:
    """The `Storage` of one hub in an account that others use at the same time. Threads take turns.

    Attributes:
        before: Called with the verb and the queue, table or container of every call before it is made; may wait.
        sent: The text of every message that was put.
    """

    def __init__(self, connection_string: str, hub: str, before: Callable[[str, str], None] | None = None) -> None:
        self._settings = dict(part.split("=", 1) for part in connection_string.strip(";").split(";"))
        self._hub, self.before = hub, before
        self._sas = _sas(self._settings["AccountName"], self._settings["AccountKey"])
        self._connections: dict[str, HTTPConnection] = {}
        self._turn = threading.Lock()
        self._last_moment = 0
        self.sent: list[str] = []

    @property
    def blob_root(self) -> str:
        return f"{self._settings['BlobEndpoint']}/"

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def now(self) -> int:
        """Return the moment; no two are the same."""
        moment = 621_355_968_000_000_000 + time.time_ns() // 100
        self._last_moment = max(moment, self._last_moment + 1)
        return self._last_moment

    def pass_time(self, until: int) -> bool:
        """Wait a little; `False` if `until` has come."""
        left = (until - self.now()) / SECOND
        time.sleep(max(0.0, min(_PAUSE_SECONDS, left)))
        return left > _PAUSE_SECONDS

    def _send(
        self,
        service: str,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> tuple[Message, bytes]:
        address = urlsplit(self._settings[f"{service}Endpoint"])
        target = f"{address.path}{path}?{urlencode(params) + '&' if params else ''}{self._sas}"
        sent = {"x-ms-version": _SAS_VERSION, "Content-Length": str(len(body)), **(headers or {})}
        with self._turn:
            status, found, content = self._exchange(service, method, target, body, sent)
        if status >= 300:
            raise RefusedError(status, content)
        return found, content

    def _exchange(
        self, service: str, method: str, target: str, body: bytes, sent: Mapping[str, str]
    ) -> tuple[int, Message, bytes]:
        connection = self._connections.get(service)
        if connection is None:
            address = urlsplit(self._settings[f"{service}Endpoint"])
            connection = HTTPConnection(address.hostname or "", address.port, timeout=30)
            self._connections[service] = connection
        try:
            connection.request(method, target, body, sent)
            answer = connection.getresponse()
        except (HTTPException, OSError):  # closed while nothing was sent
            connection.close()
            connection.request(method, target, body, sent)
            answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def _announce(self, verb: str, resource: str) -> None:
        if self.before is not None:
            self.before(verb, resource)

    def get(self, queue: str, count: int, seconds: int) -> list[QueueMessage]:
        self._announce("get", queue)
        params = {"numofmessages": count, "visibilitytimeout": seconds}
        _, body = self._send("Queue", "GET", f"/{queue}/messages", params=params)
        return [_message(found) for found in _MESSAGE.findall(body.decode("utf-8", "surrogatepass"))]

    def put(self, queue: str, text: str, seconds: int = 0) -> None:
        self._announce("put", queue)
        body = f"<QueueMessage><MessageText>{escape(text)}</MessageText></QueueMessage>".encode("utf-8", "surrogatepass")
        headers = {"Content-Type": "application/xml"}
        params = {"visibilitytimeout": seconds, "messagettl": -1}
        self._send("Queue", "POST", f"/{queue}/messages", body, headers, params)
        self.sent.append(text)

    def hide(self, queue: str, message: QueueMessage, seconds: int) -> None:
        """Hide a message for so long; one that is gone or somebody else's is left alone (the provider logs it)."""
        self._announce("hide", queue)
        self._for_one("PUT", queue, message, visibilitytimeout=seconds)

    def delete(self, queue: str, message: QueueMessage) -> None:
        """Delete a message; one that is gone or somebody else's is left alone (the provider logs it)."""
        self._announce("delete", queue)
        self._for_one("DELETE", queue, message)

    def _for_one(self, method: str, queue: str, message: QueueMessage, **params: Any) -> None:
        path = f"/{queue}/messages/{message.message_id}"
        try:
            self._send("Queue", method, path, params={"popreceipt": message.receipt, **params})
        except RefusedError as error:
            if error.status not in (400, 404):
                raise

    def length(self, queue: str) -> int:
        """Return how many messages there are, visible or not."""
        headers, _ = self._send("Queue", "GET", f"/{queue}", params={"comp": "metadata"})
        return int(headers["x-ms-approximate-messages-count"])

    def rows(self, table: str, key: str) -> list[tuple[Row, str]]:
        self._announce("read", table)
        quoted = key.replace("'", "''")
        return self._query(table, {"$filter": f"PartitionKey eq '{quoted}'"})

    def all_rows(self, table: str) -> list[tuple[Row, str]]:
        """Return a whole table."""
        return self._query(table, {})

    def _query(self, table: str, wanted: Mapping[str, str]) -> list[tuple[Row, str]]:
        found: list[tuple[Row, str]] = []
        params = dict(wanted)
        while True:
            headers, body = self._send("Table", "GET", f"/{self._hub}{table}()", headers=_JSON, params=params)
            for row in json.loads(body)["value"]:
                etag = row.pop("odata.etag")
                row.pop("Timestamp", None)
                row.pop("Timestamp@odata.type", None)
                found.append((row, etag))
            following = headers.get("x-ms-continuation-NextPartitionKey")
            if not following:
                return found
            params["NextPartitionKey"] = following
            params["NextRowKey"] = headers.get("x-ms-continuation-NextRowKey") or ""

    def write(self, table: str, writes: Iterable[Write]) -> list[str]:
        self._announce("write", table)
        batch, changeset = f"batch_{uuid.uuid4()}", f"changeset_{uuid.uuid4()}"
        operations = [self._operation(table, one) for one in writes]
        part = f"--{changeset}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n".encode()
        opening = f"--{batch}\r\nContent-Type: multipart/mixed; boundary={changeset}\r\n\r\n".encode()
        end = f"--{changeset}--\r\n--{batch}--\r\n".encode()
        body = opening + b"".join(part + operation for operation in operations) + end
        headers = {**_JSON, "Content-Type": f"multipart/mixed; boundary={batch}"}
        _, answer = self._send("Table", "POST", "/$batch", body, headers)
        failed = next((int(status) for status in _STATUS.findall(answer) if status >= b"300"), None)
        if failed in (404, 409, 412):
            raise ConflictError(f"{table} {failed}")
        if failed is not None:
            raise RefusedError(failed, answer)
        found = (_ETAG.search(one) for one in _STATUS.split(answer)[2::2])
        return [one[1].decode() if one else "" for one in found]

    def _operation(self, table: str, one: Write) -> bytes:
        path = f"/{self._hub}{table}"
        if one.verb != "insert":
            keys = (quote(str(one.row[name]).replace("'", "''"), safe="") for name in ("PartitionKey", "RowKey"))
            path += "(PartitionKey='{}',RowKey='{}')".format(*keys)
        line = f"{_VERBS[one.verb]} {self._settings['TableEndpoint']}{path} HTTP/1.1\r\n"
        line += "".join(f"{name}: {value}\r\n" for name, value in _JSON.items())
        if one.etag or one.verb == "delete":
            line += f"If-Match: {one.etag or '*'}\r\n"
        if one.verb == "delete":
            return f"{line}\r\n\r\n".encode()
        body = json.dumps({name: value for name, value in one.row.items() if value is not None}).encode()
        line += f"Prefer: return-no-content\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return line.encode() + body + b"\r\n"

    def download(self, container: str, name: str) -> bytes | None:
        self._announce("download", container)
        try:
            return self._send("Blob", "GET", f"/{container}/{quote(name)}")[1]
        except RefusedError as error:
            if error.status != 404:
                raise
            return None

    def upload(self, container: str, name: str, content: bytes) -> None:
        self._announce("upload", container)
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
        self._send("Blob", "PUT", f"/{container}/{quote(name)}", content, headers)

    def delete_blobs(self, container: str, prefix: str) -> None:
        try:
            wanted = {"restype": "container", "comp": "list", "prefix": prefix}
            _, body = self._send("Blob", "GET", f"/{container}", params=wanted)
        except RefusedError as error:
            if error.status != 404:
                raise
            return
        for name in _BLOB_NAME.findall(body.decode()):
            self._send("Blob", "DELETE", f"/{container}/{quote(unescape(name))}")


def _message(found: str) -> QueueMessage:
    fields = dict(_FIELD.findall(found))
    return QueueMessage(
        unescape(fields["MessageText"], {"&quot;": '"', "&apos;": "'"}),
        _moment(fields["InsertionTime"]),
        _moment(fields["TimeNextVisible"]),
        int(fields["DequeueCount"]),
        fields["MessageId"],
        fields["PopReceipt"],
    )


def _moment(text: str) -> int:
    return ticks(parsedate_to_datetime(text).strftime("%Y-%m-%dT%H:%M:%SZ"))
