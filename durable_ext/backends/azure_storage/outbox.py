"""Sends task messages: envelope, offload, delay, and the claim that hides a message from everybody but us.

Source: specs/azure-storage.md 4.3, 4.6, 4.7; design.md 5, "Claim at enqueue".
"""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.azure_storage.held_messages import HeldMessage
from durable_ext.backends.azure_storage.large_payloads import LargePayloads
from durable_ext.backends.azure_storage.message_codec import (
    MAX_INLINE_BYTES,
    Envelope,
    MessageEncoding,
    Sender,
    encode_envelope,
    to_message_text,
    wrapper_of,
)
from durable_ext.backends.azure_storage.names import HubNames, message_blob
from durable_ext.backends.azure_storage.partitions import partition_index
from durable_ext.backends.azure_storage.transport.queue import QueueVerbs
from durable_ext.codec.wire import EVENT_NAMES
from durable_ext.core.messages import TaskMessage
from durable_ext.core.timestamps import TICKS_PER_SECOND, Ticks, ticks_from_datetime

MAX_INVISIBLE_SECONDS: Final = 604_800  # seven days, the service's limit
_sequence = itertools.count(1)  # process-wide by definition of the format


class Outbox:
    """Sends to the queues of one hub.

    `owns` tells whether this worker listens to a partition: then undelayed messages to it are claimed. `wake` is called
    with the queue's name after a put that others may take.
    """

    def __init__(
        self,
        queues: QueueVerbs,
        payloads: LargePayloads,
        names: HubNames,
        *,
        partition_count: int,
        encoding: MessageEncoding,
        clock: Clock,
        control_visibility: int,
        work_item_visibility: int,
        owns: Callable[[int], bool],
        wake: Callable[[str], None],
        server_offset: Callable[[], timedelta],
    ) -> None:
        self._queues, self._payloads, self._names = queues, payloads, names
        self._partition_count, self._encoding, self._clock = partition_count, encoding, clock
        self._control_visibility, self._work_item_visibility = control_visibility, work_item_visibility
        self._owns, self._wake, self._server_offset = owns, wake, server_offset
        self._control_queues = names.control_queues(partition_count)

    def partition_of(self, instance_id: str) -> int:
        """Return the index of an instance's control queue."""
        return partition_index(instance_id, self._partition_count)

    def is_local(self, instance_id: str) -> bool:
        """Whether this worker listens to an instance's control queue."""
        return self._owns(self.partition_of(instance_id))

    async def send_to_instance(
        self, message: TaskMessage, *, sender: Sender, episode: int | None = None, due: Ticks | None = None
    ) -> HeldMessage | None:
        """Send to the target's control queue.

        Returns:
            The claimed message, to be handed over by the caller once it may be processed; `None` if any worker may
            take it from the queue.
        """
        index = self.partition_of(message.target.instance_id)
        queue = self._control_queues[index]
        delay = self._delay(due)
        if delay > 0 or not self._owns(index):
            await self._put(queue, message, sender, episode, invisible_for=delay)
            if delay == 0:
                self._wake(queue)
            return None
        return await self._put(queue, message, sender, episode, invisible_for=self._control_visibility)

    async def send_activity(self, message: TaskMessage, *, sender: Sender, episode: int, claimed: bool) -> HeldMessage:
        """Send to the work-item queue; `claimed` hides it, so that the caller may run it."""
        queue = self._names.work_item_queue
        held = await self._put(queue, message, sender, episode, invisible_for=self._work_item_visibility if claimed else 0)
        if not claimed:
            self._wake(queue)
        return held

    def _delay(self, due: Ticks | None) -> int:
        if due is None:
            return 0
        now = ticks_from_datetime(self._clock.now() + self._server_offset())
        # compat: the provider truncates and fires up to a second early; rounding up is allowed (4.7).
        return min(max(0, math.ceil((due - now) / TICKS_PER_SECOND)), MAX_INVISIBLE_SECONDS)

    async def _put(
        self, queue: str, message: TaskMessage, sender: Sender, episode: int | None, *, invisible_for: int
    ) -> HeldMessage:
        envelope = Envelope(
            activity_id=str(uuid.uuid4()),
            message=message,
            sequence_number=next(_sequence),
            episode=episode,
            sender=sender,
        )
        text = encode_envelope(envelope)
        blob_name = None
        if len(text) > MAX_INLINE_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_INLINE_BYTES:
            event_name = EVENT_NAMES[type(message.event)]
            blob_name = message_blob(message.target.instance_id, envelope.activity_id, event_name)
            await self._payloads.store(blob_name, text)
            text = encode_envelope(wrapper_of(blob_name))
        started = self._clock.monotonic()
        receipt = await self._queues.put(queue, to_message_text(text, self._encoding), invisible_for=invisible_for)
        return HeldMessage(
            queue=queue,
            receipt=receipt,
            envelope=envelope,
            dequeue_count=1,
            expires=started + invisible_for,
            blob_name=blob_name,
        )
