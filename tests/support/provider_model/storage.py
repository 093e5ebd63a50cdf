"""The storage service as the model sees it, and one in memory with a clock of its own."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from support.provider_model.dotnet import SECOND, ticks, time_text

Row = dict[str, Any]
_LATENCY = SECOND // 50  # of a change: what comes too early and is sent again does not come for ever


class ConflictError(Exception):
    """409 or 412: somebody else wrote first."""


class StoppedError(Exception):
    """The process was killed before its next write."""


@dataclass(slots=True)
class QueueMessage:
    """A message in a queue; times in ticks."""

    text: str
    inserted: int
    visible: int
    dequeued: int = 0
    message_id: str = ""
    receipt: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """One operation of a batch: `insert`, `put` (insert or replace), `merge` (insert or merge), `delete`.

    With an ETag it is refused if the row has another one.
    """

    verb: str
    row: Row
    etag: str | None = None


class Storage(Protocol):
    """The few verbs that the worker needs; names of queues, tables and containers are the caller's."""

    @property
    def blob_root(self) -> str: ...
    def now(self) -> int: ...
    def get(self, queue: str, count: int, seconds: int) -> list[QueueMessage]: ...
    def put(self, queue: str, text: str, seconds: int = 0) -> None: ...
    def hide(self, queue: str, message: QueueMessage, seconds: int) -> None: ...
    def delete(self, queue: str, message: QueueMessage) -> None: ...
    def rows(self, table: str, key: str) -> list[tuple[Row, str]]: ...
    def write(self, table: str, writes: Iterable[Write]) -> list[str]:
        """Apply a batch, all or nothing, and return the new ETags.

        Raises:
            ConflictError: A row exists, or has another ETag.
        """
        ...

    def download(self, container: str, name: str) -> bytes | None: ...
    def upload(self, container: str, name: str, content: bytes) -> None: ...
    def delete_blobs(self, container: str, prefix: str) -> None: ...


class MemoryStorage:
    """A hub in memory, read from a frozen one and given back as one; time passes when `pass_time` is called.

    Attributes:
        writes: Changes so far, without visibility of messages.
        sent: The text of every message that was put.
        dies_before: The number of the change that a killed process no longer makes.
    """

    def __init__(self, frozen: Mapping[str, Any], *, redelivered: bool = False, max_delay: float | None = None) -> None:
        self.about = frozen.get("about", {})
        self.hub: str = frozen["hub"]
        self.writes = 0
        self.dies_before: int | None = None
        self.blob_root = "http://127.0.0.1:10000/devstoreaccount1/"
        self._clock = ticks(str(frozen["frozenAt"]).replace("+00:00", "Z"))
        self._serial = itertools.count(1)
        self.sent: list[str] = []
        self.queues: dict[str, list[QueueMessage]] = {}
        for queue, messages in frozen["queues"].items():
            self.queues[queue] = [self._loaded(message, redelivered, max_delay) for message in messages]
        self.tables: dict[str, dict[tuple[str, str], tuple[Row, str]]] = {}
        for table, rows in frozen["tables"].items():
            stored = {(row["PartitionKey"], row["RowKey"]): (dict(row), self._etag()) for row in rows}
            self.tables[table[len(self.hub) :]] = stored
        self.blobs: dict[str, dict[str, Any]] = {name: dict(blobs) for name, blobs in frozen["containers"].items()}

    def _loaded(self, message: Mapping[str, Any], redelivered: bool, max_delay: float | None) -> QueueMessage:
        delay = message["delaySeconds"] if max_delay is None else min(message["delaySeconds"], max_delay)
        inserted = ticks(message["inserted"].replace("+00:00", "Z"))
        dequeued = message["dequeueCount"] if redelivered else 0
        return QueueMessage(
            message["text"], inserted, self._clock + round(delay * SECOND), dequeued, str(next(self._serial))
        )

    def freeze(self) -> dict[str, Any]:
        """Return the hub as a frozen one."""
        queues = {
            queue: [
                {
                    "text": one.text,
                    "inserted": time_text(one.inserted),
                    "visible": time_text(one.visible),
                    "delaySeconds": max(0, (one.visible - self._clock) / SECOND),
                    "dequeueCount": one.dequeued,
                }
                for one in messages
            ]
            for queue, messages in self.queues.items()
        }
        tables = {f"{self.hub}{table}": [row for row, _ in rows.values()] for table, rows in self.tables.items()}
        frozen_at = time_text(self._clock)
        about = dict(self.about)
        return {
            "about": about,
            "hub": self.hub,
            "frozenAt": frozen_at,
            "queues": queues,
            "tables": tables,
            "containers": self.blobs,
        }

    def now(self) -> int:
        self._clock += 1  # no two moments are the same
        return self._clock

    def pass_time(self, until: int) -> bool:
        """Go on to when the next message becomes visible; `False` if there is none before that moment."""
        waiting = [one.visible for messages in self.queues.values() for one in messages]
        if not waiting or min(waiting) > until:
            self._clock = max(self._clock, until)
            return False
        self._clock = max(self._clock + SECOND // 100, min(waiting))
        return True

    def _etag(self) -> str:
        return f'W/"{next(self._serial)}"'

    def _change(self) -> None:
        if self.dies_before is not None and self.writes + 1 >= self.dies_before:
            raise StoppedError
        self.writes += 1
        self._clock += _LATENCY

    def get(self, queue: str, count: int, seconds: int) -> list[QueueMessage]:
        taken = [one for one in self.queues[queue] if one.visible <= self._clock][:count]
        for one in taken:
            one.visible, one.dequeued, one.receipt = self._clock + seconds * SECOND, one.dequeued + 1, self._etag()
        return taken

    def put(self, queue: str, text: str, seconds: int = 0) -> None:
        self._change()
        self.sent.append(text)
        message = QueueMessage(text, self._clock, self._clock + seconds * SECOND, 0, str(next(self._serial)))
        self.queues[queue].append(message)

    def hide(self, queue: str, message: QueueMessage, seconds: int) -> None:
        message.visible = self._clock + seconds * SECOND

    def delete(self, queue: str, message: QueueMessage) -> None:
        self._change()
        self.queues[queue] = [one for one in self.queues[queue] if one.message_id != message.message_id]

    def rows(self, table: str, key: str) -> list[tuple[Row, str]]:
        return [found for (partition, _), found in sorted(self.tables[table].items()) if partition == key]

    def write(self, table: str, writes: Iterable[Write]) -> list[str]:
        self._change()
        stored, changed, gone = self.tables[table], {}, []
        for one in writes:
            key = (one.row["PartitionKey"], one.row["RowKey"])
            before, etag = stored.get(key, ({}, None))
            if (one.verb == "insert" and before) or (one.etag is not None and one.etag != etag):
                raise ConflictError(f"{one.verb} {key}")
            if one.verb == "delete":
                gone.append(key)
                continue
            changed[key] = ({**before, **one.row} if one.verb == "merge" else dict(one.row), self._etag())
        stored.update(changed)
        for key in gone:
            stored.pop(key, None)
        return [etag for _, etag in changed.values()]

    def download(self, container: str, name: str) -> bytes | None:
        found = self.blobs.get(container, {}).get(name)
        return None if found is None else base64.b64decode(found["base64"])

    def upload(self, container: str, name: str, content: bytes) -> None:
        self._change()
        blob = {"base64": base64.b64encode(content).decode(), "contentType": "application/octet-stream"}
        self.blobs.setdefault(container, {})[name] = {**blob, "contentEncoding": None, "metadata": {}}

    def delete_blobs(self, container: str, prefix: str) -> None:
        self._change()
        held = self.blobs.get(container, {})
        self.blobs[container] = {name: blob for name, blob in held.items() if not name.startswith(prefix)}
