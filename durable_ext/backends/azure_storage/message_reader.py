"""Queue messages → held messages: both encodings, offloaded content, and what cannot be read.

Source: specs/azure-storage.md 4.1, 4.6, 4.8, 4.9.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.large_payloads import LargePayloads
from durable_ext.backends.azure_storage.message_codec import Envelope, decode_envelope, from_message_text, marks_of
from durable_ext.backends.azure_storage.transport.queue import MessageReceipt, QueueMessage
from durable_ext.codec.wire import WireFormatError
from durable_ext.core.entities.ids import EntityId, is_entity_instance
from durable_ext.core.events import ExecutionStarted, HistoryEvent, TimerFired
from durable_ext.core.messages import TaskMessage
from durable_ext.core.timestamps import MIN_TICKS, ticks_from_datetime
from durable_ext.errors import BackendError, BackendUnavailableError

_TARGET: Final = re.compile(r'"OrchestrationInstance"\s*:\s*\{[^{}]*?"InstanceId"\s*:\s*("[^"]*")')
_MOST_TOLD: Final = 10_000
_RESOLUTION: Final = timedelta(seconds=1)
_log = logging.getLogger("durable_ext.backends.azure_storage")


class MessageReader:
    """Reads what a get returned; `events` are the classes that travel in the queue (specs/azure-storage.md 4.5).

    A message that cannot be read, or that nobody can have meant for the queue, stays there: it reappears when its
    visibility ends, and is logged once by each process that meets it.
    """

    def __init__(self, payloads: LargePayloads, events: frozenset[type[HistoryEvent]]) -> None:
        self._payloads, self._events = payloads, events
        self._told: set[str] = set()

    async def read_all(
        self, queue: str, messages: Sequence[QueueMessage], visibility: int, asked: float
    ) -> tuple[list[HeldMessage], list[QueueMessage]]:
        """Return the readable messages in playing order, and the unreadable ones.

        `asked` = monotonic second before the get: this process may have stood still while the answer waited for it.
        """
        expires = asked + visibility
        read = await asyncio.gather(*(self._read(queue, message, visibility, expires) for message in messages))
        good = [held for held in read if held is not None]
        # Insertion times have a resolution of one second; the sender's counter breaks ties, then arrival (4.9).
        good.sort(key=lambda held: (held.inserted, held.envelope.sequence_number))
        return good, [message for message, held in zip(messages, read, strict=True) if held is None]

    async def _read(self, queue: str, message: QueueMessage, visibility: int, expires: float) -> HeldMessage | None:
        try:
            envelope = decode_envelope(from_message_text(message.text))
            blob_name = envelope.blob_name
            if blob_name is not None:
                envelope = decode_envelope(await self._payloads.load(blob_name))
            if envelope.message is None:
                raise WireFormatError(f"The blob '{blob_name}' holds no task message.")
            self._check(envelope.message)
        except BackendUnavailableError:
            return None
        except (WireFormatError, BackendError, ValueError, KeyError, TypeError) as exc:
            self._tell(queue, message, exc)
            return None
        count = message.dequeue_count
        if count > 1:  # nobody has returned one at its first
            count = max(1, count - marks_of(message.text).returned)
        held = HeldMessage(
            queue=queue,
            receipt=MessageReceipt(message.message_id, message.pop_receipt),
            envelope=_with_time(envelope, message.inserted),
            text=message.text,
            dequeue_count=count + (_hidden_deliveries(message, envelope.message, visibility) if count == 1 else 0),
            deliveries=message.dequeue_count,
            expires=expires,
            inserted=message.inserted,
            next_visible=message.next_visible,
            blob_name=blob_name,
        )
        held.is_old = _age(message, visibility) >= timedelta(seconds=visibility) - _RESOLUTION
        return held

    def _tell(self, queue: str, message: QueueMessage, error: Exception) -> None:
        if message.message_id in self._told:
            return
        if len(self._told) < _MOST_TOLD:
            self._told.add(message.message_id)
        found = _TARGET.search(message.text)
        instance_id = found[1] if found is not None else "unknown"
        _log.error(
            "message %s (instance: %s) cannot be read and stays in queue %s: %s. Delete it there if nobody needs it.",
            message.message_id,
            instance_id,
            queue,
            str(error).rstrip("."),
            extra={
                "event": "message_unreadable",
                "queue": queue,
                "message_id": message.message_id,
                "instance_id": instance_id,
                "dequeue_count": message.dequeue_count,
                "error": str(error),
            },
        )

    def _check(self, message: TaskMessage) -> None:
        if message.event.__class__ not in self._events:
            raise WireFormatError(f"{message.event.__class__.__name__} is no message of this queue.")
        if is_entity_instance(message.target.instance_id):
            EntityId.get_entity_id(message.target.instance_id)


def _with_time(envelope: Envelope, inserted: datetime) -> Envelope:
    """Give an event without a time, which the format allows, that of its message; .NET takes the moment of each read."""
    content = envelope.message
    if content is None or content.event.timestamp != MIN_TICKS:
        return envelope
    event = replace(content.event, timestamp=ticks_from_datetime(inserted))
    return replace(envelope, message=replace(content, event=event))


def _age(message: QueueMessage, visibility: int) -> timedelta:
    return message.next_visible - timedelta(seconds=visibility) - message.inserted


def _hidden_deliveries(message: QueueMessage, content: TaskMessage, visibility: int) -> int:
    """Return 1 if a sender probably took the message at the put and died: the service has not counted that.

    Its age at the first get tells: a claimed message appears after one visibility timeout, or after renewals. One that
    waited so long for any worker is taken for it, which only costs speed (rule R7 of design.md 5).
    """
    event = content.event
    delayed = isinstance(event, TimerFired) or (
        isinstance(event, ExecutionStarted) and event.scheduled_start_time is not None
    )
    if delayed:
        return 0
    span = timedelta(seconds=visibility)
    return 1 if span - _RESOLUTION <= _age(message, visibility) <= span * 3 else 0
