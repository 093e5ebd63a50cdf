"""Writes one checkpoint in the order that a crash cannot hurt.

Source: specs/azure-storage.md 5.6, 8.5, 8.10; design.md 5.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.history_table import HistoryCursor, HistoryTable, PreparedRows
from durable_ext.backends.azure_storage.instances_table import InstancesTable, check_update
from durable_ext.backends.azure_storage.large_payloads import LargePayloads
from durable_ext.backends.azure_storage.message_codec import Sender
from durable_ext.backends.azure_storage.message_keeper import MessageKeeper
from durable_ext.backends.azure_storage.outbox import Outbox
from durable_ext.backends.azure_storage.transport.errors import (
    StorageConflictError,
    StorageNotFoundError,
    StoragePreconditionError,
)
from durable_ext.backends.protocol import Checkpoint
from durable_ext.core.events import GenericEvent, TaskScheduled
from durable_ext.core.instances import InstanceUpdate
from durable_ext.core.messages import InstanceId, OrchestrationInstance, TaskMessage
from durable_ext.core.timestamps import ticks_from_datetime
from durable_ext.errors import CheckpointConflictError, RequestRefusedError

_Send = Callable[[], Awaitable[HeldMessage]]
_SENDS_AT_ONCE: Final = 64  # fewer than connections, so that none waits for one after it was checked


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenCheckpoint:
    """What a checkpoint left in our hands.

    Attributes:
        run_here: Claimed work items, in the order of the checkpoint's `run_here` activities.
        sent_once: Ids of tasks that the hub holds one work item of; of others it may hold two.
    """

    run_here: tuple[HeldMessage, ...]
    sent_once: tuple[int, ...]


class _PartitionLostError(CheckpointConflictError):
    """Nothing is sent or written any more."""


class CheckpointWriter:
    """Carries out checkpoints of all sessions of a hub. Holds no state of its own.

    `hand_over` gets claimed control messages once they may be processed; `row_written` is told of every instance row.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        history: HistoryTable,
        instances: InstancesTable,
        payloads: LargePayloads,
        control_keeper: MessageKeeper,
        work_item_keeper: MessageKeeper,
        clock: Clock,
        hand_over: Callable[[Sequence[HeldMessage]], None],
        row_written: Callable[[InstanceId, InstanceUpdate], None],
    ) -> None:
        self._outbox, self._history, self._instances, self._payloads = outbox, history, instances, payloads
        self._control_keeper, self._work_item_keeper, self._clock = control_keeper, work_item_keeper, clock
        self._hand_over, self._row_written = hand_over, row_written

    async def write(
        self,
        instance_id: InstanceId,
        cursor: HistoryCursor,
        checkpoint: Checkpoint,
        *,
        consumed: Sequence[HeldMessage],
        replaced_blobs: frozenset[str],
        sender: Sender,
        episode: int,
        still_ours: Callable[[], Awaitable[bool]],
    ) -> WrittenCheckpoint:
        """Make a checkpoint durable.

        Order: 1 send messages and activities, 2 history, 3 instance row, 4 blobs of a replaced generation, 5 consumed
        messages. After a crash the consumed messages return:
          before 2 is done: the episode runs again and sends again, so an activity may run twice (at-least-once);
          between batches of 2: a prefix of the episode is history, replay decides the rest again;
          after 2, before 3: the row is stale until the next message, a terminal one is repaired by it (8.6);
          after 3: results and external events are found in history and dropped, but events for a generation that is over.
        If a call fails and this process lives on, it leaves the same behind at once: what was sent is deleted, as far as
        nobody has taken it, if 2 has not begun, or its first batch was refused or came after another worker's; otherwise
        what we had claimed is visible to all, because history may tell of it.
        When the episode runs again it has the same results of activities: one that may have a rival was stored by a
        checkpoint of its own before (`rival_results.py`).
        A message of 1 may be answered by another worker before 2 is done: sessions hold such answers back (8.4). What we
        claimed for ourselves is handed over after 2.
        A process may stand still at any moment, and wake when its partition is another worker's: `still_ours` looks the
        lease up if it has run out, before each call of 1, 2 and 3. What was on its way by then is the worst that it does:
        history is guarded by its ETag; a row that was on its way wakes the instance, because any message makes its owner
        compare the row with the end of history (8.6).

        Raises:
            CheckpointConflictError: Somebody else has written the instance.
            PayloadTooLargeError: Nothing was written.
            RequestRefusedError: The service refuses a call, now and later.
            BackendUnavailableError: The outcome is unknown.
        """
        if checkpoint.instance is not None:
            check_update(checkpoint.instance)

        async def check() -> None:
            if not await still_ours():
                raise _PartitionLostError(instance_id, "the lease of its partition was lost meanwhile")

        rows = self._history.prepare(instance_id, cursor, checkpoint.new_events)
        sent = await self._send(checkpoint, sender, episode, check)
        items = sent[len(checkpoint.messages) :]
        # Now: the receipt of a renewal does not tell how the message was put.
        sent_once = tuple([held.message.event.event_id for held in items if not held.receipt.may_have_twin])
        run_here = [held for held in items if held.claimed]
        for held in run_here:
            self._work_item_keeper.hold(held)
        at_stake, count = [held for held in sent if held.claimed], cursor.count
        try:
            if checkpoint.new_events:
                await self._append(instance_id, cursor, rows, check)
            await check()
            claimed = [held for held in sent[: len(checkpoint.messages)] if held.claimed]
            if claimed:
                self._hand_over(claimed)
            at_stake = run_here
            if checkpoint.instance is not None:
                await self._instances.merge(instance_id, checkpoint.instance, cursor.unreferenced)
                cursor.unreferenced.clear()
                self._row_written(instance_id, checkpoint.instance)
                if not await still_ours():
                    await self._wake(instance_id, sender)
            await self._clean_up(cursor.out_of_use(replaced_blobs, checkpoint.instance), consumed)
        except BaseException as error:
            if rows.rows and cursor.count == count and await self._is_unwritten(error, rows):
                await self._take_back(sent)
            else:
                await self._leave_to_others(at_stake)
            raise
        return WrittenCheckpoint(run_here=tuple(run_here), sent_once=sent_once)

    async def _is_unwritten(self, error: BaseException, rows: PreparedRows) -> bool:
        """Whether it is certain that the first batch, which failed or was not sent, is not in history.

        After a conflict that is so if another worker's event stands where ours would: then what was sent follows from an
        older history than there is, and its results would be taken for those of other calls.
        """
        if isinstance(error, (RequestRefusedError, _PartitionLostError)):
            return True
        return isinstance(error, CheckpointConflictError) and await self._history.holds_another(rows)

    async def _append(
        self, instance_id: InstanceId, cursor: HistoryCursor, rows: PreparedRows, check: Callable[[], Awaitable[None]]
    ) -> None:
        try:
            await self._history.append(cursor, rows, self._clock.now(), before_batch=check)
        except (StorageConflictError, StoragePreconditionError, StorageNotFoundError) as exc:
            raise CheckpointConflictError(instance_id, f"its history has changed ({exc.code})") from exc

    async def _clean_up(self, replaced_blobs: Collection[str], consumed: Sequence[HeldMessage]) -> None:
        """Steps 4 and 5."""
        if replaced_blobs:
            await asyncio.gather(*(self._payloads.delete(name) for name in replaced_blobs))
        if consumed:
            await self._control_keeper.delete_all(consumed)

    async def _leave_to_others(self, claimed: Sequence[HeldMessage]) -> None:
        """What was sent counts as sent, as if another worker could have taken it already: history may tell of it."""
        await self._work_item_keeper.give_back_all(held for held in claimed if _is_work_item(held))
        await self._control_keeper.give_back_all(held for held in claimed if held.due is None and not _is_work_item(held))

    async def _take_back(self, sent: Sequence[HeldMessage]) -> None:
        """What was sent for a checkpoint of which nothing is stored is sent again: delete what nobody has taken."""
        await self._work_item_keeper.delete_all(held for held in sent if _is_work_item(held))
        await self._control_keeper.delete_all(held for held in sent if not _is_work_item(held))

    async def _wake(self, instance_id: InstanceId, sender: Sender) -> None:
        if instance_id.startswith("@"):
            return
        event = GenericEvent(timestamp=ticks_from_datetime(self._clock.now()), data="The row may be older than history.")
        message = TaskMessage(event=event, target=OrchestrationInstance(instance_id=instance_id, execution_id=None))
        await self._outbox.send_to_instance(message, sender=sender)

    async def _send(
        self, checkpoint: Checkpoint, sender: Sender, episode: int, check: Callable[[], Awaitable[None]]
    ) -> list[HeldMessage]:
        """Send messages, then activities, and return them in this order: all, or nothing and the reason."""
        outbox = self._outbox
        messages = [
            partial(outbox.send_to_instance, out.message, sender=sender, episode=episode, due=out.due)
            for out in checkpoint.messages
        ]
        activities = [
            partial(outbox.send_activity, out.message, sender=sender, episode=episode, claimed=out.run_here)
            for out in checkpoint.activities
        ]
        sent: dict[int, HeldMessage] = {}
        try:
            await _send_all([*messages, *activities], sent, check)
        except BaseException:
            await self._take_back(list(sent.values()))
            raise
        return [sent[index] for index in range(len(sent))]


def _is_work_item(held: HeldMessage) -> bool:
    return held.message.event.__class__ is TaskScheduled


async def _send_all(sends: Sequence[_Send], sent: dict[int, HeldMessage], check: Callable[[], Awaitable[None]]) -> None:
    """Send, some at a time; `sent` gets what was sent by its index, also if this raises. `check` goes before each."""
    waiting = deque(enumerate(sends))

    async def send_some() -> None:
        while waiting:
            await check()
            if waiting:
                index, send = waiting.popleft()
                sent[index] = await send()

    if len(sends) <= 1:
        await send_some()
        return
    ends = await asyncio.gather(*(send_some() for _ in sends[:_SENDS_AT_ONCE]), return_exceptions=True)
    error = next((end for end in ends if end is not None), None)
    if error is not None:
        raise error
