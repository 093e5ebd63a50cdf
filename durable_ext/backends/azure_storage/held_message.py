"""A message that this worker has taken.

Source: specs/azure-storage.md 4.8.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime

from durable_ext.backends.azure_storage.message_codec import Envelope, marks_of
from durable_ext.backends.azure_storage.transport.queue import MessageReceipt
from durable_ext.core.events import GenericEvent
from durable_ext.core.messages import ReceivedMessage, TaskMessage


class HeldMessage:
    """A taken message. Owned by the loop thread; mutable because each renewal changes its receipt.

    Attributes:
        queue, receipt: What it takes to delete it.
        envelope: As it was read (or sent), offloaded content included.
        dequeue_count: 1 when this worker put it itself; deliveries after which it was returned unused are not counted.
        deliveries: How often the service has delivered it; 0 when this worker put it itself.
        expires: Monotonic second at which it becomes visible to others.
        blob_name: The blob that holds the envelope, if it was offloaded.
        claimed: Hidden by whoever sent it, who is this process: it may be handed over in memory.
        due: Monotonic second before which it must not be played; for claimed timers.
        fresh_start: A start message that this process sent for an instance that did not exist: nothing to look up.
        text: As it stands in the queue.
        noted: Begun runs that `text` counts once the mark of the one that began here is in it; 0 = none was sent.
        marked: The run that began here is counted in `text`.
        is_receipt_lost: The answer to a renewal did not arrive. It is ours until it is delivered again, perhaps to us.
        is_old: It was in the queue for so long that its sender may have taken it in memory, and died.
        work_item_deleted: Of a result that was made here, at the first delivery of its work item: whether that is gone.
    """

    __slots__ = (
        "blob_name",
        "busy",
        "claimed",
        "deliveries",
        "dequeue_count",
        "due",
        "envelope",
        "expires",
        "fresh_start",
        "inserted",
        "is_old",
        "is_receipt_lost",
        "marked",
        "next_visible",
        "noted",
        "queue",
        "receipt",
        "text",
        "work_item_deleted",
    )

    def __init__(
        self,
        *,
        queue: str,
        receipt: MessageReceipt,
        envelope: Envelope,
        text: str,
        dequeue_count: int,
        expires: float,
        deliveries: int = 0,
        inserted: datetime | None = None,
        next_visible: datetime | None = None,
        blob_name: str | None = None,
        claimed: bool = False,
        due: float | None = None,
    ) -> None:
        self.queue, self.receipt, self.envelope = queue, receipt, envelope
        self.dequeue_count, self.expires, self.blob_name = dequeue_count, expires, blob_name
        self.deliveries = deliveries
        self.inserted, self.next_visible, self.claimed, self.due = inserted, next_visible, claimed, due
        self.text, self.fresh_start, self.is_old = text, False, False
        self.noted, self.marked, self.is_receipt_lost = 0, False, False
        self.busy: asyncio.Future[None] | None = None
        self.work_item_deleted: asyncio.Future[bool] | None = None

    @property
    def message_id(self) -> str:
        return self.receipt.message_id

    @property
    def message(self) -> TaskMessage:
        message = self.envelope.message
        assert message is not None, "a held message is never a wrapper"
        return message

    @property
    def redelivered(self) -> bool:
        """Whether the service has delivered it before, to somebody who did not return it unused."""
        return self.deliveries > 1 and self.deliveries - marks_of(self.text).returned > 1

    @property
    def deaths(self) -> int:
        """How many runs of it began and did not end; the first one is not known to anybody."""
        return marks_of(self.text).begun if self.redelivered else 0

    def only_wakes(self) -> None:
        """Take out what it says: it does no more than any message does, the row is repaired and the message consumed."""
        message = self.message
        wake = GenericEvent(timestamp=message.event.timestamp, data=None)
        target = replace(message.target, execution_id=None)
        self.envelope = replace(self.envelope, message=TaskMessage(event=wake, target=target))

    def received(self) -> ReceivedMessage:
        """Return it as the runtime sees it."""
        return ReceivedMessage(
            message_id=self.message_id, message=self.message, dequeue_count=self.dequeue_count, is_old=self.is_old
        )
