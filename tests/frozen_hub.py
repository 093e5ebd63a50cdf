"""Puts a recorded task hub (tests/interop/*.json) into an Azurite, through our own transport."""

from __future__ import annotations

import base64
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from durable_ext.backends.azure_storage.message_codec import from_message_text
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.transport.edm import EdmDateTime, EdmOther, EdmValue
from durable_ext.backends.azure_storage.transport.queue import MessageReceipt
from durable_ext.backends.azure_storage.transport.table import Change, TableChange
from durable_ext.testing.eventually import eventually

INTEROP = Path(__file__).parent / "interop"
_ADDRESS = re.compile(r"https?://[^/]+/devstoreaccount1/([^/]+)/(.+)")


@dataclass(frozen=True, slots=True)
class FrozenHub:
    """One recorded hub; `about` says what it holds and what became of it."""

    name: str
    content: Mapping[str, Any]

    @property
    def about(self) -> Mapping[str, Any]:
        about: Mapping[str, Any] = self.content["about"]
        return about

    @property
    def hub(self) -> str:
        return str(self.content["hub"])


def frozen_hubs(folder: str = ".") -> list[FrozenHub]:
    """Return all recorded hubs of a folder below tests/interop in the order of their names."""
    return [FrozenHub(path.stem, json.loads(path.read_text())) for path in sorted((INTEROP / folder).glob("*.json"))]


async def load_hub(
    frozen: FrozenHub, transport: StorageTransport, hub: str, *, max_delay: float = math.inf, redeliver: bool = False
) -> None:
    """Load a hub under another name; what a dead worker held becomes visible after `max_delay` seconds at most.

    `redeliver` restores dequeue counts, for hubs with one message in a queue.
    """
    await load_stored(frozen, transport, hub)
    await _load_queues(frozen, transport, hub, max_delay, redeliver)


async def load_stored(frozen: FrozenHub, transport: StorageTransport, hub: str) -> None:
    """Load the tables and blobs of a hub under another name, without its queues."""
    old, new = frozen.hub, hub
    for container, blobs in frozen.content["containers"].items():
        name = _renamed(container, old, new)
        await transport.blobs.create_container(name)
        for blob, value in blobs.items():
            content = base64.b64decode(value["base64"])
            if container.endswith("-leases"):
                content = content.replace(old.encode(), new.encode()).replace(old.lower().encode(), new.lower().encode())
                blob = blob.replace(f"/{old.lower()}-", f"/{new.lower()}-")
            await transport.blobs.upload(name, blob, content)
    for table, rows in frozen.content["tables"].items():
        name = new + table[len(old) :]
        await transport.tables.create(name)
        for row in rows:
            entity = _entity(row, transport, old, new)
            if name.endswith("Partitions"):
                entity["RowKey"] = _renamed(str(entity["RowKey"]), old, new)
            await transport.tables.apply(name, TableChange(Change.INSERT, entity))


async def _load_queues(frozen: FrozenHub, transport: StorageTransport, hub: str, max_delay: float, redeliver: bool) -> None:
    queues = {queue: _renamed(queue, frozen.hub, hub) for queue in frozen.content["queues"]}
    for queue in queues.values():
        await transport.queues.create(queue)
    waiting = [(m["inserted"], queues[queue], m) for queue, messages in frozen.content["queues"].items() for m in messages]
    last: dict[str, tuple[str, int]] = {}
    for inserted, queue, message in sorted(waiting, key=lambda one: one[0]):
        instance, second = _target(message["text"]), inserted[:19]
        before, put_at = last.get(instance, ("", 0))
        if before and before != second:  # recorded in different seconds: readers order by second
            await eventually(partial(_has_ended, put_at), "the second does not end")
        delay = math.ceil(min(message["delaySeconds"], max_delay))
        await transport.queues.put(queue, message["text"], invisible_for=delay)
        for _ in range(message["dequeueCount"] if redeliver else 0):
            for taken in await transport.queues.get(queue, count=1, visibility=60):
                await transport.queues.hide(queue, MessageReceipt(taken.message_id, taken.pop_receipt), visibility=0)
        last[instance] = (second, int(time.time()))


def _has_ended(second: int) -> bool:
    return int(time.time()) != second


def _renamed(name: str, old: str, new: str) -> str:
    return new.lower() + name[len(old) :] if name.startswith(old.lower() + "-") else name


def _entity(row: Mapping[str, Any], transport: StorageTransport, old: str, new: str) -> dict[str, EdmValue]:
    entity: dict[str, EdmValue] = {}
    for column, value in row.items():
        if column.endswith("@odata.type") or value is None:
            continue
        edm_type = row.get(f"{column}@odata.type")
        if edm_type == "Edm.DateTime":
            entity[column] = EdmDateTime(value)
        elif edm_type is not None:
            entity[column] = EdmOther(edm_type, value)
        elif column == "TaskHubName":
            entity[column] = new
        elif isinstance(value, str) and (address := _ADDRESS.fullmatch(value)):
            root = transport.blobs.url(_renamed(address[1], old, new), "")
            entity[column] = root + address[2]
        else:
            entity[column] = value
    return entity


def _target(text: str) -> str:
    plain = from_message_text(text)
    plain = plain.decode() if isinstance(plain, bytes) else plain
    found = re.search(r'"InstanceId":"(.*?)"', plain) or re.search(r'"CompressedBlobName":"(.*)/message-', plain)
    return found[1] if found else ""
