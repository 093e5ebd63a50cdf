"""Reads what lies in an Azure Storage hub after each of its own writes."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from xml.sax.saxutils import unescape

from durable_ext.backends.azure_storage.history_table import HistoryTable
from durable_ext.backends.azure_storage.instances_table import InstancesTable
from durable_ext.backends.azure_storage.key_encoding import unescape_key
from durable_ext.backends.azure_storage.large_payloads import LargePayloads
from durable_ext.backends.azure_storage.message_codec import decode_envelope, from_message_text
from durable_ext.backends.azure_storage.names import HubNames
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.core.messages import InstanceId
from durable_ext.testing.faults import Send, is_write
from support.stuck_states import QueuedMessage, StoredHub, StoredInstance

_TEXT: Final = re.compile(rb"<MessageText>(.*)</MessageText>", re.DOTALL)
_ID: Final = re.compile(rb"<MessageId>(.*?)</MessageId>")


async def queued_message(text: str, payloads: LargePayloads, *, is_work_item: bool, visible_at: float) -> QueuedMessage:
    """Return what a queue message says, wherever its envelope is."""
    envelope = decode_envelope(from_message_text(text))
    if envelope.message is None:
        assert envelope.blob_name is not None
        envelope = decode_envelope(await payloads.load(envelope.blob_name))
        assert envelope.message is not None
    return QueuedMessage(
        message=envelope.message,
        sender_id=envelope.sender.instance_id if envelope.sender is not None else "",
        is_work_item=is_work_item,
        visible_at=visible_at,
    )


class HubReader:
    """Reads the tables of a hub; a queue does not show what somebody has taken, so messages are the caller's."""

    def __init__(self, transport: StorageTransport, names: HubNames) -> None:
        self._transport, self._names = transport, names
        self.payloads = LargePayloads(transport.blobs, names)
        self._history = HistoryTable(transport.tables, names.history_table, self.payloads)
        self._instances = InstancesTable(
            transport.tables, names.instances_table, self.payloads, names.task_hub, fetch_large=True
        )

    async def read(self, messages: Sequence[QueuedMessage]) -> StoredHub:
        """Return the hub as it is now."""
        found = {}
        for instance_id in sorted(await self._ids()):
            history = await self._history.load(instance_id)
            stored = await self._instances.read(instance_id, with_payloads=True)
            found[instance_id] = StoredInstance(
                instance_id=instance_id,
                events=history.events,
                execution_id=history.execution_id,
                row=stored.row if stored is not None else None,
            )
        return StoredHub(instances=found, messages=messages)

    async def _ids(self) -> set[InstanceId]:
        ids = set()
        for table in (self._names.history_table, self._names.instances_table):
            await self._transport.tables.create(table)  # writes begin with those that make the hub
            page = await self._transport.tables.query(table, "", select=("PartitionKey",))
            ids |= {InstanceId(unescape_key(str(row.entity["PartitionKey"]))) for row in page.rows}
            assert page.continuation is None, "more than a test writes"
        return ids


class WriteByWrite:
    """An interceptor that lets one write after the other through, and shows the hub to `look` after each.

    Attributes:
        states: How many states were looked at.
    """

    def __init__(self, reader: HubReader, work_item_queue: str, look: Callable[[StorageCall, StoredHub], None]) -> None:
        self._reader, self._work_items, self._look = reader, work_item_queue, look
        self._queued: dict[str, QueuedMessage] = {}
        self._one_at_a_time = asyncio.Lock()
        self.states = 0

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if not is_write(call):
            return await send()
        async with self._one_at_a_time:
            answer = await send()
            await self._note(call, answer)
            self._look(call, await self._reader.read(list(self._queued.values())))
            self.states += 1
        return answer

    async def _note(self, call: StorageCall, answer: HttpAnswer) -> None:
        if call.verb == "queue.put":
            text: Any = _TEXT.search(call.body)
            found: Any = _ID.search(answer.body)
            self._queued[found[1].decode()] = await queued_message(
                unescape(text[1].decode("utf-8", "surrogatepass")),
                self._reader.payloads,
                is_work_item=self._work_items in call.resource,
                visible_at=time.monotonic(),  # all are taken for the same time, so they come back in this order
            )
        elif call.verb == "queue.delete":
            self._queued.pop(call.resource.rpartition("/")[2].partition("?")[0], None)
