"""Freezes a hub after each write of a worker, in the form of the recorded hubs: what a process killed there leaves."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import unquote
from xml.sax.saxutils import unescape

from durable_ext.backends.azure_storage.names import HubNames
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.transport.edm import entity_to_json
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.testing.faults import Send, is_write

_MESSAGE: Final = re.compile(r"<QueueMessage>(.*?)</QueueMessage>", re.DOTALL)
_TEXT: Final = re.compile(rb"<MessageText>(.*)</MessageText>", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenState:
    """A hub after one write; `told` = what its client had been told is done by then, `sent` = every message put so far."""

    after: str
    content: dict[str, Any]
    told: frozenset[str]
    sent: tuple[str, ...]


@dataclass(slots=True)
class _Message:
    queue: str
    text: str
    inserted: datetime
    visible: datetime
    dequeued: int = 0


class Freezer:
    """An interceptor that lets one write after the other through and freezes the hub after each.

    It reads the tables through `transport`, another one than the worker's. Nothing is kept before `armed`.

    Attributes:
        states: One per write, and the one at which it was armed is not among them.
        told: What the client knows to be done; the test adds to it.
    """

    def __init__(self, transport: StorageTransport, names: HubNames, *, newest_first: bool = False) -> None:
        self._transport, self._names, self._newest_first = transport, names, newest_first
        self._messages: dict[str, _Message] = {}
        self._blobs: dict[str, dict[str, bytes]] = {}
        self._sent: list[str] = []
        self._queued: list[asyncio.Future[None]] = []
        self._is_busy = False
        self.states: list[FrozenState] = []
        self.told: set[str] = set()
        self.armed = False

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if not is_write(call):
            answer = await send()
            self._note(call, answer)
            return answer
        await self._turn()
        try:
            answer = await send()
            self._note(call, answer)
            if self.armed:
                content = await self._freeze()
                state = FrozenState(
                    after=f"{call.verb} {call.resource}", content=content, told=frozenset(self.told), sent=tuple(self._sent)
                )
                self.states.append(state)
        finally:
            self._next()
        return answer

    async def _turn(self) -> None:
        if self._is_busy:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queued.append(waiting)
            await waiting
        self._is_busy = True

    def _next(self) -> None:
        while self._queued:
            waiting = self._queued.pop(-1 if self._newest_first else 0)
            if not waiting.done():
                waiting.set_result(None)  # it takes the turn, `_is_busy` stays
                return
        self._is_busy = False

    def _note(self, call: StorageCall, answer: HttpAnswer) -> None:
        parts = call.resource.strip("/").split("/")
        if call.verb in ("queue.put", "queue.get"):
            self._note_messages(parts[0], call, answer.body.decode("utf-8", "surrogatepass"))
        elif call.verb == "queue.update":
            held = self._messages[parts[2].partition("?")[0]]
            held.visible = parsedate_to_datetime(answer.headers["x-ms-time-next-visible"])
        elif call.verb == "queue.delete":
            self._messages.pop(parts[2].partition("?")[0], None)
        elif call.verb == "blob.put":
            self._blobs.setdefault(parts[0], {})[unquote("/".join(parts[1:])).partition("?")[0]] = call.body
        elif call.verb == "blob.delete":
            self._blobs.get(parts[0], {}).pop(unquote("/".join(parts[1:])), None)

    def _note_messages(self, queue: str, call: StorageCall, body: str) -> None:
        for found in _MESSAGE.findall(body):
            fields = dict(re.findall(r"<(\w+)>(.*?)</\1>", found, re.DOTALL))
            visible, inserted = (
                parsedate_to_datetime(fields["TimeNextVisible"]),
                parsedate_to_datetime(fields["InsertionTime"]),
            )
            if call.verb == "queue.put":
                text = unescape(_text_of(call.body).decode("utf-8", "surrogatepass"))
                self._messages[fields["MessageId"]] = _Message(queue, text, inserted, visible)
                self._sent.append(text)
            else:
                held = self._messages[fields["MessageId"]]
                held.visible, held.dequeued = visible, int(fields["DequeueCount"])

    async def _freeze(self) -> dict[str, Any]:
        names, now = self._names, datetime.now(timezone.utc)
        tables = {}
        for table in (names.history_table, names.instances_table):
            page = await self._transport.tables.query(table, "")
            assert page.continuation is None, "more than a test writes"
            tables[table] = [json.loads(entity_to_json(row.entity)) for row in page.rows]
        return {
            "about": {},
            "hub": names.task_hub,
            "frozenAt": now.strftime("%Y-%m-%dT%H:%M:%S.%f+00:00"),
            "queues": {queue: self._in(queue, now) for queue in queues_of(names)},
            "tables": tables,
            "containers": {container: _as_frozen(blobs) for container, blobs in self._blobs.items()},
        }

    def _in(self, queue: str, now: datetime) -> list[dict[str, Any]]:
        return [
            {
                "text": one.text,
                "inserted": one.inserted.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
                "visible": one.visible.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
                "delaySeconds": max(0.0, (one.visible - now) / timedelta(seconds=1)),
                "dequeueCount": one.dequeued,
            }
            for one in self._messages.values()
            if one.queue == queue
        ]


def queues_of(names: HubNames, partitions: int = 4) -> Sequence[str]:
    """Return the names of all queues of a hub."""
    control: Callable[[int], str] = names.control_queue
    return [names.work_item_queue, *(control(index) for index in range(partitions))]


def _text_of(body: bytes) -> bytes:
    found = _TEXT.search(body)
    assert found is not None
    return found[1]


def _as_frozen(blobs: dict[str, bytes]) -> dict[str, Any]:
    kinds: dict[str, Any] = {"contentType": "application/octet-stream", "contentEncoding": None, "metadata": {}}
    return {name: {"base64": base64.b64encode(content).decode(), **kinds} for name, content in blobs.items()}
