"""Queue verbs: the Protocol, its values, and the lean client."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Final, Protocol
from xml.sax.saxutils import escape

from durable_ext.backends.azure_storage.transport.account import Service
from durable_ext.backends.azure_storage.transport.errors import StorageConflictError, StorageNotFoundError
from durable_ext.backends.azure_storage.transport.http import StorageHttp

MAX_INVISIBLE_SECONDS: Final = 604_800  # seven days, the service's limit
_FOREVER: Final = "-1"
_XML: Final = {"content-type": "application/xml"}
_MESSAGE: Final = re.compile(r"<QueueMessage>(.*?)</QueueMessage>", re.DOTALL)
_ELEMENT: Final = re.compile(r"<(\w+)>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class MessageReceipt:
    """What it takes to update or delete a message.

    `may_have_twin`: it took more than one try to put it, so that the queue may hold a second message like it.
    """

    message_id: str
    pop_receipt: str
    may_have_twin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMessage:
    """One dequeued message; `inserted` has the service's resolution of one second."""

    message_id: str
    pop_receipt: str
    text: str
    dequeue_count: int
    inserted: datetime
    next_visible: datetime


class QueueVerbs(Protocol):
    """What we do with queues. All times are whole seconds. Errors: transport/errors.py."""

    async def create(self, queue: str) -> None:
        """Create a queue; does nothing if it exists."""
        ...

    async def exists(self, queue: str) -> bool: ...

    async def drop(self, queue: str) -> None:
        """Delete a queue with its messages; does nothing if it is missing."""
        ...

    async def put(self, queue: str, text: str, *, invisible_for: int = 0) -> MessageReceipt:
        """Add a message that never expires, not visible for that long (0 to 604,800)."""
        ...

    async def get(self, queue: str, *, count: int, visibility: int) -> list[QueueMessage]:
        """Take up to 32 messages and hide them for `visibility` seconds."""
        ...

    async def hide(self, queue: str, receipt: MessageReceipt, *, visibility: int, text: str | None = None) -> MessageReceipt:
        """Change when a message becomes visible, and its text if one is given. Returns the receipt valid from now on."""
        ...

    async def delete(self, queue: str, receipt: MessageReceipt) -> None: ...


class LeanQueues:
    """`QueueVerbs` straight on HTTP."""

    def __init__(self, http: StorageHttp) -> None:
        self._http = http

    async def create(self, queue: str) -> None:
        try:
            await self._http.send("queue.create", Service.QUEUE, "PUT", f"/{queue}")
        except StorageConflictError as exc:
            if exc.code != "QueueAlreadyExists":
                raise

    async def exists(self, queue: str) -> bool:
        try:
            await self._http.send("queue.exists", Service.QUEUE, "GET", f"/{queue}", params={"comp": "metadata"})
        except StorageNotFoundError:
            return False
        return True

    async def drop(self, queue: str) -> None:
        try:
            await self._http.send("queue.drop", Service.QUEUE, "DELETE", f"/{queue}")
        except StorageNotFoundError:
            return

    async def put(self, queue: str, text: str, *, invisible_for: int = 0) -> MessageReceipt:
        params = {"messagettl": _FOREVER}
        if invisible_for:
            params["visibilitytimeout"] = str(invisible_for)
        answer = await self._http.send(
            "queue.put", Service.QUEUE, "POST", f"/{queue}/messages", params=params, headers=_XML, body=_body(text)
        )
        found = dict(_ELEMENT.findall(_MESSAGE.search(answer.body.decode())[1]))  # type: ignore[index]
        return MessageReceipt(found["MessageId"], unescape(found["PopReceipt"]), may_have_twin=answer.attempts > 1)

    async def get(self, queue: str, *, count: int, visibility: int) -> list[QueueMessage]:
        answer = await self._http.send(
            "queue.get",
            Service.QUEUE,
            "GET",
            f"/{queue}/messages",
            params={"numofmessages": str(count), "visibilitytimeout": str(visibility)},
        )
        if b"<QueueMessage>" not in answer.body:
            return []
        return [_message(fields) for fields in _parse(answer.body)]

    async def hide(self, queue: str, receipt: MessageReceipt, *, visibility: int, text: str | None = None) -> MessageReceipt:
        answer = await self._http.send(
            "queue.update",
            Service.QUEUE,
            "PUT",
            f"/{queue}/messages/{receipt.message_id}",
            params={"popreceipt": receipt.pop_receipt, "visibilitytimeout": str(visibility)},
            headers={} if text is None else _XML,
            body=b"" if text is None else _body(text),
        )
        return MessageReceipt(receipt.message_id, answer.headers.get("x-ms-popreceipt", receipt.pop_receipt))

    async def delete(self, queue: str, receipt: MessageReceipt) -> None:
        await self._http.send(
            "queue.delete",
            Service.QUEUE,
            "DELETE",
            f"/{queue}/messages/{receipt.message_id}",
            params={"popreceipt": receipt.pop_receipt},
        )


def _body(text: str) -> bytes:
    return f"<QueueMessage><MessageText>{escape(text)}</MessageText></QueueMessage>".encode("utf-8", "surrogatepass")


def _parse(body: bytes) -> list[dict[str, str]]:
    try:
        root = ET.fromstring(body)
    except ET.ParseError:
        # One message with a character that XML cannot carry must not hide the other 31.
        text = body.decode("utf-8", "replace")
        return [{name: unescape(value) for name, value in _ELEMENT.findall(one)} for one in _MESSAGE.findall(text)]
    return [{child.tag: child.text or "" for child in message} for message in root]


def _message(fields: dict[str, str]) -> QueueMessage:
    return QueueMessage(
        message_id=fields["MessageId"],
        pop_receipt=fields["PopReceipt"],
        text=fields.get("MessageText", ""),
        dequeue_count=int(fields.get("DequeueCount", "1")),
        inserted=parsedate_to_datetime(fields["InsertionTime"]),
        next_visible=parsedate_to_datetime(fields["TimeNextVisible"]),
    )
