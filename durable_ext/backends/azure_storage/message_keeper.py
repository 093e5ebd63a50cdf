"""Messages that this worker has taken: renewed while it works on them, deleted or given back once.

Source: specs/azure-storage.md 4.8, 8.5 (0). Serializes renewal and deletion of one message: every renewal replaces the
pop receipt, and the old one is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.aio.supervisor import LoopFailedError, Supervisor
from durable_ext.backends.azure_storage.backoff import redelivery_delay
from durable_ext.backends.azure_storage.finished_messages import FinishedMessages
from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.message_codec import DeliveryMarks, marks_of, with_marks
from durable_ext.backends.azure_storage.transport.errors import StorageError, StorageNotFoundError, level_of
from durable_ext.backends.azure_storage.transport.queue import MessageReceipt, QueueVerbs
from durable_ext.errors import BackendError

_log = logging.getLogger("durable_ext.backends.azure_storage")
_CHECKS_PER_VISIBILITY: Final = 12
_RENEWAL_CALLS: Final = 3
_PATIENCE_PER_VISIBILITY: Final = 6  # with three calls from half time on, the last one has a sixth of it, too


class MessageKeeper:
    """Renews what is held at half of its visibility, and settles it.

    Attributes:
        finished: What must not be played if it comes again.
    """

    def __init__(self, queues: QueueVerbs, visibility: int, clock: Clock, name: str) -> None:
        self._queues, self._visibility, self._clock = queues, visibility, clock
        self._held: dict[str, HeldMessage] = {}
        self._name = name
        self._renewal: asyncio.Task[None] | None = None
        self._renewals = Supervisor(f"{name}-keeper")
        self.finished = FinishedMessages()

    @property
    def visibility(self) -> int:
        """Seconds for which messages are taken and renewed."""
        return self._visibility

    @property
    def count(self) -> int:
        """How many messages are held."""
        return len(self._held)

    def start(self, loops: Supervisor) -> None:
        """Begin to renew, as one of somebody's loops."""
        self._renewal = loops.start(f"{self._name}-renewal", self._renew_for_ever())

    async def stop(self, patience: float = 0.0) -> None:
        """Stop renewing; messages stay taken until their time is over.

        `patience` = seconds for which renewals that are under way are waited for. Without its answer a message cannot be
        given back: its receipt is another one already.
        """
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
        await self._renewals.wait(patience)
        await self._renewals.stop()

    def find(self, message_id: str) -> HeldMessage | None:
        """Return a held message by its id."""
        return self._held.get(message_id)

    def hold(self, message: HeldMessage) -> None:
        """Begin to keep a message."""
        self._held[message.message_id] = message

    def recognizes(self, delivered: HeldMessage) -> bool:
        """Whether a delivered message is nothing new.

        It is held already, because renewals came too late: then it is held with the new receipt now. Or it is done with
        and could not be deleted: then that is made up for.
        """
        known = self._held.get(delivered.message_id)
        if known is None:
            if delivered.message_id in self.finished:
                self._renewals.start(delivered.message_id, self.delete(delivered))
                return True
            return False
        known.receipt, known.expires, known.dequeue_count = delivered.receipt, delivered.expires, delivered.dequeue_count
        known.deliveries, known.is_receipt_lost, known.text = delivered.deliveries, False, delivered.text
        if known.noted and marks_of(delivered.text).begun >= known.noted:
            known.marked = True  # perhaps by a write that was not answered
        return True

    def forget(self, message: HeldMessage) -> None:
        """Stop keeping a message without telling the service (its partition belongs to somebody else)."""
        self._held.pop(message.message_id, None)

    async def begin(self, message: HeldMessage) -> bool:
        """Whether a message is still ours, so that a run may begin. One that is not is no longer kept.

        A message whose time has run out (this process stood still) is renewed to find out. One that was delivered before is
        renewed with a mark that a run begins: if this process dies with it, the next worker can tell. Whoever gives it back
        takes the mark away again. Where there is no room for a mark, or an outage, the run is not counted.
        """
        while message.busy is not None:
            await asyncio.shield(message.busy)
        text = None
        if message.redelivered and not message.marked:
            marks = marks_of(message.text)
            text = with_marks(message.text, replace(marks, begun=marks.begun + 1))
            message.noted = 0 if text is None else marks.begun + 1
        if self.find(message.message_id) is message and (text is not None or self._clock.monotonic() >= message.expires):
            await asyncio.shield(self._start_renewal(message, text))
        is_kept = self.find(message.message_id) is message and not message.is_receipt_lost
        if is_kept and self._clock.monotonic() < message.expires:
            return True
        self.forget(message)
        return False

    async def delete(self, message: HeldMessage) -> bool:
        """Delete a message; one that is gone or was taken by somebody else is left alone. Never raises for an outage.

        Returns whether it was ours to the end, and is gone. If not, and it comes to this process again, it is deleted then.
        """
        self.finished.add(message.message_id)
        await self._settle(message)
        try:
            await self._queues.delete(message.queue, message.receipt)
            self.finished.discard(message.message_id)
            return True
        except StorageNotFoundError:
            _log.info(
                "message %s was gone",
                message.message_id,
                extra={"event": "message_gone", "message_id": message.message_id},
            )
        except StorageError as exc:
            # By another worker, or by a renewal of ours whose answer was lost.
            _log.info(
                "message %s was taken meanwhile: %s",
                message.message_id,
                exc.code,
                extra={"event": "message_lost", "message_id": message.message_id, "code": exc.code},
            )
        except BackendError as exc:
            # It comes back by itself and is recognized as done (specs/azure-storage.md 8.10).
            _log.log(
                level_of(exc),
                "message %s could not be deleted: %s",
                message.message_id,
                exc,
                extra={"event": "message_not_deleted", "message_id": message.message_id, "error": str(exc)},
            )
        return False

    async def delete_all(self, messages: Iterable[HeldMessage]) -> None:
        """Delete messages in parallel."""
        await asyncio.gather(*(self.delete(message) for message in messages))

    async def give_back(self, message: HeldMessage, seconds: int) -> None:
        """Make a message visible to everybody after some seconds. Never raises for an outage or a lost message."""
        await self._give(message, seconds, returned=0)

    async def release(self, message: HeldMessage, seconds: int = 0) -> None:
        """The same for one of which nothing was made known: as if it had not been delivered."""
        # Not simply one more: what is known of it besides the service's count (`MessageReader`) must not be forgotten.
        await self._give(message, seconds, returned=message.deliveries + 1 - message.dequeue_count)

    async def _give(self, message: HeldMessage, seconds: int, *, returned: int) -> None:
        await self._settle(message)
        text = None
        if message.marked or returned:
            marks = marks_of(message.text)
            left = DeliveryMarks(begun=marks.begun - message.marked, returned=max(returned, marks.returned))
            text = with_marks(message.text, left) if left != marks else None
        try:
            await self._queues.hide(message.queue, message.receipt, visibility=seconds, text=text)
        except BackendError as exc:
            _log.info(
                "message %s could not be given back: %s",
                message.message_id,
                exc,
                extra={"event": "message_not_given_back", "message_id": message.message_id, "error": str(exc)},
            )

    async def abandon(self, message: HeldMessage) -> None:
        """Give a message back with a delay that grows with its dequeue count."""
        await self.give_back(message, redelivery_delay(message.dequeue_count))

    async def give_back_all(self, messages: Iterable[HeldMessage], seconds: int = 0) -> None:
        """Give messages back in parallel."""
        await asyncio.gather(*(self.give_back(message, seconds) for message in messages))

    async def release_all(self, messages: Iterable[HeldMessage], seconds: int = 0) -> None:
        """Release messages in parallel."""
        await asyncio.gather(*(self.release(message, seconds) for message in messages))

    async def abandon_all(self, messages: Iterable[HeldMessage]) -> None:
        """Abandon messages in parallel."""
        await asyncio.gather(*(self.abandon(message) for message in messages))

    async def give_back_everything(self) -> None:
        """Make all that is held visible at once; for `close()`."""
        await self.give_back_all(list(self._held.values()))

    async def _settle(self, message: HeldMessage) -> None:
        self._held.pop(message.message_id, None)
        while message.busy is not None:
            await asyncio.shield(message.busy)

    async def _renew_for_ever(self) -> None:
        while True:
            await self._clock.sleep(self._visibility / _CHECKS_PER_VISIBILITY)
            limit = self._clock.monotonic() + self._visibility / 2
            kept = [held for held in self._held.values() if held.busy is None and not held.is_receipt_lost]
            due = [held for held in kept if held.expires < limit]
            for held in due:  # each by itself: one call that hangs must not let the others run out
                self._start_renewal(held)

    def _start_renewal(self, message: HeldMessage, text: str | None = None) -> asyncio.Task[None]:
        """Begin to renew; from here on whoever settles the message waits, so that no receipt is used twice."""
        message.busy = busy = asyncio.get_running_loop().create_future()

        def end(_: asyncio.Task[None]) -> None:
            message.busy = None
            busy.set_result(None)

        task = self._renewals.start(message.message_id, self._renew(message, text))
        task.add_done_callback(end)  # also of a task that was cancelled before it began
        return task

    async def _renew(self, message: HeldMessage, text: str | None) -> None:
        started, receipt = self._clock.monotonic(), message.receipt
        try:
            renewed = await self._hide(message, receipt, text)
            if message.receipt is receipt:
                message.receipt, message.expires = renewed, started + self._visibility
                if text is not None:
                    message.text, message.marked = text, True
        except StorageError as exc:
            if message.receipt is not receipt:
                return  # it was delivered to us again meanwhile
            if self._clock.monotonic() < message.expires:
                # Nobody else could take it: a renewal of ours was done, whose answer was lost. What runs with it goes on.
                message.is_receipt_lost = True
            else:
                # Somebody else has taken or deleted it; the commit will show who was faster.
                self._held.pop(message.message_id, None)
            _log.info(
                "the renewal of message %s was refused, %s: it is another worker's, or comes again soon",
                message.message_id,
                exc.code,
                extra={"event": "renewal_refused", "message_id": message.message_id, "code": exc.code},
            )
        except BackendError as exc:
            _log.log(
                level_of(exc),
                "message %s could not be renewed: %s",
                message.message_id,
                exc,
                extra={"event": "renewal_failed", "message_id": message.message_id, "error": str(exc)},
            )

    async def _hide(self, message: HeldMessage, receipt: MessageReceipt, text: str | None) -> MessageReceipt:
        """Renew by up to three calls side by side, the next one when those before have hung for long enough.

        The service obeys the first that reaches it and refuses the others, whose receipt is old then. So a refusal means
        that somebody else has the message only if none of our calls comes back with a receipt.
        """
        calls = Supervisor(f"{self._name}-renewal", _told_by_the_renewal)
        pending: set[asyncio.Task[MessageReceipt]] = set()
        sent, failure = 0, None
        try:
            while failure is None or pending:
                if failure is None and sent < _RENEWAL_CALLS:
                    hidden = self._queues.hide(message.queue, receipt, visibility=self._visibility, text=text)
                    pending.add(calls.start(message.message_id, hidden))
                    sent += 1
                patience = self._visibility / _PATIENCE_PER_VISIBILITY if sent < _RENEWAL_CALLS else None
                done, pending = await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                for call in done:
                    error = call.exception()
                    if error is None:
                        return call.result()
                    failure = failure if isinstance(failure, StorageError) else error
            raise failure
        finally:
            await calls.stop()


def _told_by_the_renewal(_: LoopFailedError) -> None:
    """Each of its calls fails in the name of the whole renewal."""
