"""Messages that came through the queue of another partition than their instance's."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from xml.sax.saxutils import escape

from support.provider_messages import provider_message

from durable_ext.aio.supervisor import Supervisor
from durable_ext.backends.azure_storage.backoff import PollingBackoff
from durable_ext.backends.azure_storage.control_queue import ControlQueueListener
from durable_ext.backends.azure_storage.history_table import HistoryTable
from durable_ext.backends.azure_storage.instances_table import InstancesTable
from durable_ext.backends.azure_storage.large_payloads import LargePayloads
from durable_ext.backends.azure_storage.message_codec import (
    CONTROL_EVENTS,
    DeliveryMarks,
    MessageEncoding,
    marks_of,
    with_marks,
)
from durable_ext.backends.azure_storage.message_keeper import MessageKeeper
from durable_ext.backends.azure_storage.message_reader import MessageReader
from durable_ext.backends.azure_storage.names import HubNames
from durable_ext.backends.azure_storage.outbox import Outbox
from durable_ext.backends.azure_storage.partitions import partition_index
from durable_ext.backends.azure_storage.sessions import SessionDirectory
from durable_ext.backends.azure_storage.transport.account import SharedKey, StorageAccount
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.backends.azure_storage.transport.errors import StorageUnavailableError
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.testing.clock import ManualClock
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

NOWHERE = "http://127.0.0.1:9/acct"
ACCOUNT = StorageAccount(
    blob_endpoint=NOWHERE, queue_endpoint=NOWHERE, table_endpoint=NOWHERE, credential=SharedKey("acct", b"key")
)
NAMES = HubNames(task_hub="Hub")
PARTITIONS = 4
PARTITION = 0
INSTANCE = next(name for name in map(str, range(100)) if partition_index(name, PARTITIONS) != PARTITION)
PLAIN = provider_message("EventRaised", INSTANCE, Name="Approval", Input="7", EventType=15)
TIME = "Mon, 06 May 2024 07:08:09 GMT"


class OneMessage:
    """Stands where the service is, and delivers one message again after each deletion of it that failed.

    Attributes:
        failing_deletions: How many deletions fail, the first ones.
        put: Texts of messages that were put into other queues.
    """

    def __init__(self, text: str, *, failing_deletions: int) -> None:
        self.text, self.failing_deletions = text, failing_deletions
        self.put: list[str] = []
        self.deliveries, self.is_visible, self.is_deleted = 0, True, False

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        body = b""
        await asyncio.sleep(0)
        if call.verb == "queue.get" and self.is_visible:
            self.is_visible = False
            self.deliveries += 1
            body = message(self.text, "id", self.deliveries + 1)
        elif call.verb == "queue.put":
            self.put.append(call.body.decode().partition("<MessageText>")[2].partition("</MessageText>")[0])
            body = message(self.text, "other", 0)
        elif call.verb == "queue.delete":
            self.failing_deletions -= 1
            if self.failing_deletions >= 0:
                self.is_visible = True
                raise StorageUnavailableError(call=call.verb, why="it is too busy")
            self.is_deleted = True
        return HttpAnswer(status=200, headers={}, body=body)


def message(text: str, message_id: str, deliveries: int) -> bytes:
    return (
        f"<QueueMessagesList><QueueMessage><MessageId>{message_id}</MessageId><PopReceipt>{deliveries}</PopReceipt>"
        f"<InsertionTime>{TIME}</InsertionTime><TimeNextVisible>{TIME}</TimeNextVisible>"
        f"<DequeueCount>{deliveries}</DequeueCount><MessageText>{escape(text)}</MessageText></QueueMessage>"
        f"</QueueMessagesList>"
    ).encode()


async def listen_to(service: OneMessage) -> None:
    """Listen to the queue of the wrong partition until the message is gone."""
    transport, clock, supervisor = open_lean_transport(ACCOUNT, interceptor=service), ManualClock(), Supervisor("test")
    payloads = LargePayloads(transport.blobs, NAMES)
    keeper = MessageKeeper(transport.queues, 300, clock, "test")
    outbox = Outbox(
        transport.queues,
        payloads,
        NAMES,
        partition_count=PARTITIONS,
        encoding=MessageEncoding.UTF8,
        clock=clock,
        control_visibility=300,
        work_item_visibility=300,
        owns=lambda _: False,
        wake=lambda _: None,
    )
    directory = SessionDirectory(
        clock=clock,
        history=HistoryTable(transport.tables, NAMES.history_table, payloads),
        instances=InstancesTable(transport.tables, NAMES.instances_table, payloads, NAMES.task_hub),
        keeper=keeper,
        supervisor=supervisor,
        partition_of=outbox.partition_of,
        may_commit=never,
    )
    listener = ControlQueueListener(
        queue=NAMES.control_queue(PARTITION),
        queues=transport.queues,
        reader=MessageReader(payloads, CONTROL_EVENTS),
        keeper=keeper,
        directory=directory,
        outbox=outbox,
        partition=PARTITION,
        batch_size=1,
        buffer_threshold=10,
        backoff=PollingBackoff(1),
        is_deleted=lambda: False,
    )
    supervisor.start("listener", listener.run())
    try:
        await eventually(lambda: service.is_deleted, "it is not deleted", within=timedelta(seconds=30))
    finally:
        listener.stop()
        await keeper.stop()
        await supervisor.stop()
        await transport.close()


async def never(_: int) -> bool:
    return False


async def test_a_message_is_passed_on_without_marks_of_its_deliveries() -> None:
    marked = with_marks(PLAIN, DeliveryMarks(begun=1, returned=2))
    assert marked is not None
    service = OneMessage(marked, failing_deletions=0)

    await listen_to(service)

    assert [marks_of(text) for text in service.put] == [DeliveryMarks()]


async def test_a_message_that_was_passed_on_and_could_not_be_deleted_is_not_passed_on_again() -> None:
    service = OneMessage(PLAIN, failing_deletions=2)

    await listen_to(service)

    assert service.deliveries == 3
    assert len(service.put) == 1
