"""One instance held by this worker: its history cursor, the messages handed out, and its checkpoints.

Source: specs/azure-storage.md 8.4 to 8.7; design.md 3 and 5.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from durable_ext.aio.wakeups import Wakeup
from durable_ext.backends.azure_storage.checkpoint_writer import CheckpointWriter
from durable_ext.backends.azure_storage.early_messages import (
    KnownTasks,
    is_foreign_start,
    is_result,
    is_terminal,
    repeats_child_start,
)
from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.history_table import HistoryCursor, LoadedHistory
from durable_ext.backends.azure_storage.instance_inbox import InboxState, InstanceInbox
from durable_ext.backends.azure_storage.message_codec import Sender
from durable_ext.backends.azure_storage.message_keeper import MessageKeeper
from durable_ext.backends.azure_storage.rival_results import RivalResults
from durable_ext.backends.azure_storage.row_repair import RowRepair
from durable_ext.backends.protocol import Checkpoint, MessageBatch, Receipt, SessionEnd
from durable_ext.core.events import HistoryEvent, OrchestratorStarted
from durable_ext.core.ids import continues
from durable_ext.core.instances import InstanceRow
from durable_ext.core.messages import ExecutionId, OrchestrationInstance
from durable_ext.errors import CheckpointConflictError

if TYPE_CHECKING:
    from durable_ext.backends.azure_storage.sessions import SessionDirectory

MAX_DELIVERIES_WITHOUT_HISTORY = 5


class AzureSession:
    """`OrchestrationSession` on one control queue's partition. Used from the event loop only.

    A session plays one generation after the other as checkpoints start them; a start message of another generation ends
    it with YIELD, and the next session begins there.
    """

    def __init__(
        self,
        *,
        directory: SessionDirectory,
        inbox: InstanceInbox,
        loaded: LoadedHistory,
        starting: ExecutionId | None,
        row: InstanceRow | None,
        only: frozenset[str] | None,
        writer: CheckpointWriter,
        keeper: MessageKeeper,
        may_commit: Callable[[int], Awaitable[bool]],
    ) -> None:
        """Begin at what was loaded.

        Args:
            starting: The execution id of the start message that begins a new generation; then history is empty.
            only: Of an instance that had ended: the messages that had come before its history was read. What comes later
                may be for one that has been rewound since.
        """
        self._directory, self._inbox, self._writer, self._keeper = directory, inbox, writer, keeper
        self._may_commit, self._only = may_commit, only
        self._history: Sequence[HistoryEvent] = () if starting is not None else loaded.events
        self._repair = RowRepair(inbox.instance_id, row, self._history)
        execution_id = starting if starting is not None else (loaded.execution_id if loaded.events else None)
        self._execution_id = execution_id
        self._cursor = HistoryCursor(
            execution_id=execution_id,
            etag=loaded.etag,
            count=len(self._history),
            occupied=loaded.occupied,
            blobs=set(loaded.blobs) if starting is None else set(),
        )
        self._stored_blobs = frozenset(loaded.blobs) if starting is not None else frozenset()
        self._known = KnownTasks()
        self._known.add(self._history)
        self._episodes = sum(1 for event in self._history if event.__class__ is OrchestratorStarted)
        self._rivals = RivalResults(self._history)
        self._taken: dict[str, HeldMessage] = {}
        self._has_written = False
        self._ended: SessionEnd | None = None
        self._wakeup = Wakeup()

    @property
    def instance(self) -> OrchestrationInstance:
        return OrchestrationInstance(
            instance_id=self._inbox.instance_id, execution_id=self._execution_id if self._history else None
        )

    @property
    def history(self) -> Sequence[HistoryEvent]:
        return self._history

    @property
    def custom_status(self) -> str | None:
        return self._repair.custom_status

    @property
    def deaths(self) -> int:
        return max((held.deaths - held.marked for held in self._taken.values()), default=0)

    # Life.

    def activate(self) -> bool:
        """Hand the session to a dispatcher; false if it was taken away meanwhile."""
        if self._ended is not None or self._inbox.session is not self:
            return False
        self._inbox.state = InboxState.ACTIVE
        return True

    def closed(self) -> None:
        """The directory has let go of it."""
        if self._ended is None:
            self._ended = SessionEnd.LOST
        self._wakeup.set()

    def surrender(self) -> list[HeldMessage]:
        """End it and return the messages it had taken."""
        self.closed()
        return self._drain_taken()

    # Messages.

    def wake(self) -> None:
        """Messages have arrived, or the end has come."""
        self._wakeup.set()

    def lose(self) -> None:
        """The partition belongs to somebody else."""
        self._ended = SessionEnd.LOST
        self._wakeup.set()

    async def next_messages(self, wait: timedelta) -> MessageBatch | SessionEnd:
        clock = self._directory.clock
        deadline = clock.monotonic() + wait.total_seconds()
        while True:
            if self._ended is not None:
                return self._ended
            if self._directory.is_leaving(self._inbox.partition):
                return SessionEnd.YIELD
            batch = self._take()
            if batch:
                try:
                    await self._note_run(batch)
                except BaseException:
                    self._put_back(batch)  # whoever listens while an episode is stuck is cancelled: nobody has got them
                    raise
                self._rivals.taken(batch)
                return MessageBatch(
                    messages=tuple([held.received() for held in batch]),
                    redelivered=any(held.dequeue_count > 1 for held in batch),
                )
            if self._inbox.pending:
                return SessionEnd.YIELD  # another generation is next, or history has to be read again
            left = deadline - clock.monotonic()
            if left <= 0 or not await self._wakeup.wait(left):
                return self._ended or SessionEnd.IDLE

    def _take(self) -> list[HeldMessage]:
        """Take what may be played now; give back what is too early."""
        taken: list[HeldMessage] = []
        pending = self._inbox.pending
        early: list[HeldMessage] = []
        while pending:
            held = pending[0]
            if self._only is not None and held.message_id not in self._only:
                break
            if is_foreign_start(held.message, self._execution_id):
                if repeats_child_start(held.message, self._history):
                    self._directory.discard(pending.popleft())
                    continue
                break
            pending.popleft()
            (taken if self._is_due(held) else early).append(held)
        for held in early:
            self._directory.postpone(held)
        for held in taken:
            self._taken[held.message_id] = held
        return taken

    def _put_back(self, batch: Sequence[HeldMessage]) -> None:
        for held in reversed(batch):
            if self._taken.pop(held.message_id, None) is not None:
                self._inbox.pending.appendleft(held)

    async def _note_run(self, batch: Sequence[HeldMessage]) -> None:
        """Mark a message that was delivered before, so that the next worker can tell if this one dies while it plays it.

        The one with most marks, so that they add up. First deliveries are not marked: that would cost a call each.
        """
        suspects = [held for held in batch if held.redelivered and not held.marked]
        if suspects:
            await self._keeper.begin(max(suspects, key=lambda held: held.deaths))

    def _is_due(self, held: HeldMessage) -> bool:
        message = held.message
        sender = held.envelope.sender
        sender_id = sender.instance_id if sender is not None else ""
        if not is_result(message, sender_id):
            return True
        wanted = message.target.execution_id
        if wanted and wanted != self._execution_id:
            if continues(wanted, self._execution_id) and not is_terminal(self._history):
                return False  # of the next one: a worker died that had sent what it decides, and it is about to be again
            # Of a generation that is over or was never written, it is dropped when it is played. One that another worker
            # is about to write is still possible until we have written: then that write fails.
            return self._has_written or held.dequeue_count > MAX_DELIVERIES_WITHOUT_HISTORY
        if self._known.answers(message.event, from_entity=sender_id.startswith("@")):
            return True
        return self._cursor.count == 0 and held.dequeue_count > MAX_DELIVERIES_WITHOUT_HISTORY

    # Checkpoints.

    async def checkpoint(self, checkpoint: Checkpoint) -> Receipt:
        checkpoint = self._repair.applied_to(checkpoint, is_first=not self._has_written)
        if self._ended is not None or not await self._may_commit(self._inbox.partition):
            self._give_up()
            raise CheckpointConflictError(self._inbox.instance_id, "the lease of its partition is lost")
        started = sum(1 for event in checkpoint.new_events if event.__class__ is OrchestratorStarted)
        sender = Sender(instance_id=self._inbox.instance_id, execution_id=self._execution_id or None)
        replaced: frozenset[str] = frozenset()
        cursor = self._cursor
        fresh = checkpoint.starts_generation and (cursor.count > 0 or cursor.execution_id != checkpoint.execution_id)
        if fresh:
            episode = self._episodes + 1
            replaced = frozenset(cursor.blobs)
            cursor = HistoryCursor(
                execution_id=checkpoint.execution_id,
                etag=cursor.etag,
                occupied=max(cursor.occupied, cursor.count),
                still_shown=cursor.still_shown,
            )
        else:
            episode = self._episodes + started
            if cursor.execution_id is None:
                cursor.execution_id = checkpoint.execution_id
                if not self._inbox.instance_id.startswith("@"):
                    sender = Sender(instance_id=self._inbox.instance_id, execution_id=checkpoint.execution_id)
            replaced = self._stored_blobs if checkpoint.new_events else frozenset()
        consumed = [held for held in (self._taken.get(wanted) for wanted in checkpoint.consumed) if held is not None]
        is_first_play = self._rivals.is_first_play(self._taken.values())
        try:
            written = await self._writer.write(
                self._inbox.instance_id,
                cursor,
                checkpoint,
                consumed=consumed,
                replaced_blobs=replaced - cursor.blobs,
                sender=sender,
                episode=episode,
                still_ours=self.confirm,
            )
        except CheckpointConflictError:
            self._give_up()
            raise
        for held in consumed:
            self._taken.pop(held.message_id, None)
        self._advance(checkpoint, cursor, fresh=fresh, started=started)
        self._rivals.stored(checkpoint.new_events, checkpoint.consumed, written.sent_once if is_first_play else ())
        return Receipt(activities=tuple([self._directory.work_item(held) for held in written.run_here]))

    async def results_may_differ(self) -> bool:
        return await self._rivals.exist()

    async def confirm(self) -> bool:
        return self._ended is None and await self._may_commit(self._inbox.partition) and self._ended is None

    def _advance(self, checkpoint: Checkpoint, cursor: HistoryCursor, *, fresh: bool, started: int) -> None:
        if fresh:
            self._known = KnownTasks()
            self._rivals.begin_generation()
            self._episodes = 0
        if checkpoint.new_events:
            self._stored_blobs = frozenset()
            self._has_written = True
        self._cursor = cursor
        self._execution_id = checkpoint.execution_id
        self._known.add(checkpoint.new_events)
        self._episodes += started

    # End.

    def _give_up(self) -> None:
        """The instance is lost: what was taken goes back with a delay, so that its new owner is not disturbed."""
        if self._ended is None:
            self._ended = SessionEnd.LOST
        self._directory.end(self._inbox, self, self._drain_taken(), delayed=True)

    def _drain_taken(self) -> list[HeldMessage]:
        taken = list(self._taken.values())
        self._taken.clear()
        return taken

    async def release(self) -> None:
        await self._directory.end_and_wait(self._inbox, self, self._drain_taken(), delayed=False)

    async def abandon(self) -> None:
        await self._directory.end_and_wait(self._inbox, self, self._drain_taken(), delayed=True)
