"""Sends task messages: envelope, offload, delay, and the claim that hides a message from everybody but us.

Source: specs/azure-storage.md 4.3, 4.6, 4.7; design.md 5, "Claim at enqueue".
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.large_payloads import LargePayloads
from durable_ext.backends.azure_storage.message_codec import (
    MAX_INLINE_BYTES,
    Envelope,
    MessageEncoding,
    Sender,
    encode_envelope,
    to_message_text,
    without_marks,
    wrapper_of,
)
from durable_ext.backends.azure_storage.names import HubNames, message_blob
from durable_ext.backends.azure_storage.partitions import partition_index
from durable_ext.backends.azure_storage.transport.queue import MAX_INVISIBLE_SECONDS, QueueVerbs
from durable_ext.codec.event_members import EVENT_NAMES
from durable_ext.core.messages import TaskMessage
from durable_ext.core.timestamps import TICKS_PER_SECOND, Ticks, ticks_from_datetime

_LONGEST_CLAIMED_DELAY: Final = 600.0  # later ones may find the partition elsewhere


class _SequenceNumbers:
    """Numbers that grow in this process, as the format wants, and are the time in µs, as it allows.

    Readers order what was put within one second by them (specs/azure-storage.md 4.9). Counters of two processes would say
    nothing; times do, as far as their clocks agree.
    """

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def __call__(self) -> int:
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1000)
            return self._last


next_sequence_number = _SequenceNumbers()


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
    ) -> None:
        self._queues, self._payloads, self._names = queues, payloads, names
        self._partition_count, self._encoding, self._clock = partition_count, encoding, clock
        self._control_visibility, self._work_item_visibility = control_visibility, work_item_visibility
        self._owns, self._wake = owns, wake
        self._control_queues = names.control_queues(partition_count)

    def partition_of(self, instance_id: str) -> int:
        """Return the index of an instance's control queue."""
        return partition_index(instance_id, self._partition_count)

    def is_local(self, instance_id: str) -> bool:
        """Whether this worker listens to an instance's control queue."""
        return self._owns(self.partition_of(instance_id))

    async def send_to_instance(
        self,
        message: TaskMessage,
        *,
        sender: Sender,
        episode: int | None = None,
        due: Ticks | None = None,
        claims: bool = True,
    ) -> HeldMessage:
        """Send to the target's control queue; with `claims` false through it, behind what others have put there before.

        If the returned message is `claimed`, the caller hands it over once it may be processed; otherwise any worker may
        take it from the queue.
        """
        index = self.partition_of(message.target.instance_id)
        queue = self._control_queues[index]
        delay = 0.0 if due is None else self._seconds_until(due)
        if not claims or not self._owns(index) or delay > _LONGEST_CLAIMED_DELAY:
            # compat: the provider truncates and fires up to a second early; rounding up is allowed (4.7).
            held = await self._put(queue, message, sender, episode, invisible_for=_whole_seconds(delay))
            if delay <= 0:
                self._wake(queue)
            return held
        if delay <= 0:
            held = await self._put(queue, message, sender, episode, invisible_for=self._control_visibility)
        else:
            # Handed over when it is due, not at the next whole second; one second more lets us delete it first.
            held = await self._put(queue, message, sender, episode, invisible_for=_whole_seconds(delay) + 1)
            held.due = self._clock.monotonic() + delay
        held.claimed = True
        return held

    async def forward(self, held: HeldMessage) -> None:
        """Put a message that came through another queue into that of its instance, for whoever has it."""
        queue = self._control_queues[self.partition_of(held.message.target.instance_id)]
        await self._queues.put(queue, without_marks(held.text))  # the service counts anew
        self._wake(queue)

    async def send_activity(self, message: TaskMessage, *, sender: Sender, episode: int, claimed: bool) -> HeldMessage:
        """Send to the work-item queue; `claimed` hides it, so that the caller may run it."""
        queue = self._names.work_item_queue
        held = await self._put(queue, message, sender, episode, invisible_for=self._work_item_visibility if claimed else 0)
        if not claimed:
            self._wake(queue)
        held.claimed = claimed
        return held

    def _seconds_until(self, due: Ticks) -> float:
        return max(0.0, (due - ticks_from_datetime(self._clock.now())) / TICKS_PER_SECOND)

    async def _put(
        self, queue: str, message: TaskMessage, sender: Sender, episode: int | None, *, invisible_for: int
    ) -> HeldMessage:
        envelope = Envelope(
            activity_id=str(uuid.uuid4()),
            message=message,
            sequence_number=next_sequence_number(),
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
        text = to_message_text(text, self._encoding)
        receipt = await self._queues.put(queue, text, invisible_for=invisible_for)
        return HeldMessage(
            queue=queue,
            receipt=receipt,
            envelope=envelope,
            text=text,
            dequeue_count=1,
            expires=started + invisible_for,
            blob_name=blob_name,
        )


def _whole_seconds(delay: float) -> int:
    return min(math.ceil(delay), MAX_INVISIBLE_SECONDS)
