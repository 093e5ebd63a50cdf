"""Listens to the control queue of one partition.

Source: specs/azure-storage.md 8.2, 8.8.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from durable_ext.aio.wakeups import Wakeup
from durable_ext.backends.azure_storage.backoff import PollingBackoff, redelivery_delay
from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.message_keeper import MessageKeeper
from durable_ext.backends.azure_storage.message_reader import MessageReader
from durable_ext.backends.azure_storage.outbox import Outbox
from durable_ext.backends.azure_storage.sessions import SessionDirectory
from durable_ext.backends.azure_storage.transport.errors import StorageNotFoundError, level_of
from durable_ext.backends.azure_storage.transport.queue import MessageReceipt, QueueMessage, QueueVerbs
from durable_ext.errors import BackendError, BackendUnavailableError

_log = logging.getLogger("durable_ext.backends.azure_storage")
_FULL_WAIT_SECONDS: Final = 1.0
_OUTAGE_WAIT_SECONDS: Final = 5.0


class ControlQueueListener:
    """Takes messages of one control queue and delivers them. `run()` until cancelled."""

    def __init__(
        self,
        *,
        queue: str,
        queues: QueueVerbs,
        reader: MessageReader,
        keeper: MessageKeeper,
        directory: SessionDirectory,
        outbox: Outbox,
        partition: int,
        batch_size: int,
        buffer_threshold: int,
        backoff: PollingBackoff,
        is_deleted: Callable[[], bool],
    ) -> None:
        """`is_deleted` = whether this process itself has deleted the hub."""
        self._queue, self._queues, self._reader = queue, queues, reader
        self._keeper, self._directory = keeper, directory
        self._outbox, self._partition, self._forwarded = outbox, partition, False
        self._batch_size, self._threshold = batch_size, buffer_threshold
        self._backoff, self._is_deleted = backoff, is_deleted
        self._wakeup = Wakeup()
        self._stopping = False

    def stop(self) -> None:
        """End `run` after the get that is under way; what that brings is given back at once."""
        self._stopping = True
        self._wakeup.set()

    def wake(self) -> None:
        """A message was put into this queue by this process."""
        self._wakeup.set()

    async def run(self) -> None:
        """Poll until `stop()`."""
        while not self._stopping:
            if self._keeper.count >= self._threshold:
                await self._wakeup.wait(_FULL_WAIT_SECONDS)
                continue
            try:
                found = await self._receive_or_create()
            except BackendError as exc:
                _log.log(
                    level_of(exc),
                    "control queue '%s' could not be read: %s",
                    self._queue,
                    exc,
                    extra={"event": "control_queue_unavailable", "queue": self._queue, "error": str(exc)},
                )
                await self._wakeup.wait(_OUTAGE_WAIT_SECONDS)
                continue
            if found:
                self._backoff.reset()
            # A get that returned less than it asked for has emptied the queue: no empty one right after it.
            if found < self._batch_size and await self._wakeup.wait(self._backoff.after_empty(random.random())):
                self._backoff.reset()

    async def _receive_or_create(self) -> int:
        try:
            return await self._receive()
        except StorageNotFoundError:
            if self._is_deleted():
                return 0
            await self._queues.create(self._queue)  # somebody else has deleted it
            return self._batch_size

    async def _receive(self) -> int:
        visibility = self._keeper.visibility
        asked = self._directory.clock.monotonic()
        messages = await self._queues.get(self._queue, count=self._batch_size, visibility=visibility)
        if not messages:
            return 0
        held, unreadable = await self._reader.read_all(self._queue, messages, visibility, asked)
        if self._stopping:
            await self._keeper.release_all([one for one in held if not self._keeper.recognizes(one)])
            return 0
        ours, others = self._sorted(held)
        self._directory.deliver(ours)
        others = [one for one in others if not self._keeper.recognizes(one)]  # passed on before, and not deleted
        for index, one in enumerate(others):
            if not await self._forward(one):
                await self._keeper.abandon_all(others[index + 1 :])
                break
        if unreadable:
            await asyncio.gather(*(self._postpone(message) for message in unreadable))
        return len(messages)

    def _sorted(self, held: list[HeldMessage]) -> tuple[list[HeldMessage], list[HeldMessage]]:
        others = [one for one in held if self._outbox.partition_of(one.message.target.instance_id) != self._partition]
        return ([one for one in held if one not in others], others) if others else (held, others)

    async def _forward(self, held: HeldMessage) -> bool:
        """Put a message into the queue of its instance: its sender counts with another number of partitions.

        Put before deleted: after a crash in between it arrives twice. False if the service cannot be reached: then others
        need not try.
        """
        if not self._forwarded:
            self._forwarded = True
            _log.warning(
                "a client of this hub counts with another number of partitions: its messages in queue '%s' are put into "
                "those of their instances, first %s of instance '%s'. Give it the partitionCount of this app's host.json.",
                self._queue,
                held.message_id,
                held.message.target.instance_id,
                extra={"event": "message_forwarded", "queue": self._queue, "message_id": held.message_id},
            )
        try:
            await self._outbox.forward(held)
        except BackendError as exc:
            _log.log(
                level_of(exc),
                "message %s in queue '%s' could not be passed on to that of its instance, and is tried again later: %s",
                held.message_id,
                self._queue,
                exc,
                extra={"event": "message_not_forwarded", "queue": self._queue, "message_id": held.message_id},
            )
            await self._keeper.abandon(held)
            return not isinstance(exc, BackendUnavailableError)
        await self._keeper.delete(held)
        return True

    async def _postpone(self, message: QueueMessage) -> None:
        receipt = MessageReceipt(message.message_id, message.pop_receipt)
        try:
            await self._queues.hide(self._queue, receipt, visibility=redelivery_delay(message.dequeue_count))
        except BackendError:
            return  # it comes back when its visibility ends
