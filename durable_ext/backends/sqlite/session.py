"""One locked instance on the event loop: its messages come from memory, its checkpoints go to the writer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from durable_ext.backends.checkpoint_port import CheckpointAnswer
from durable_ext.backends.protocol import (
    Checkpoint,
    MessageBatch,
    Receipt,
    SessionEnd,
    SessionInput,
)
from durable_ext.backends.sqlite.checkpoint_writes import CheckpointWrite, Written, encode_checkpoint
from durable_ext.backends.sqlite.effects import LockedInstance
from durable_ext.backends.sqlite.lanes import back_off
from durable_ext.core.events import ExecutionStarted, HistoryEvent
from durable_ext.core.messages import ExecutionId, InstanceId, OrchestrationInstance, ReceivedMessage
from durable_ext.errors import CheckpointConflictError, PayloadTooLargeError

if TYPE_CHECKING:
    from durable_ext.backends.sqlite.dispatch import Dispatch

_MOST_PLAYED: Final = 8  # generations whose start is known as a repetition; older ones were never started by a message


class SqliteSession:
    """An `OrchestrationSession`. Used on the event loop only, but for `put`.

    A session plays one generation, the first of those whose starts wait. If a client starts the id anew, the session is
    asked to yield, and the next one begins with that start and an empty history. The start of a sub-orchestration with an
    id that is in use waits in the file until the generation has ended.
    """

    __slots__ = (
        "_deliveries",
        "_dispatch",
        "_ended",
        "_first_executions",
        "_history_execution_id",
        "_is_live",
        "_known_executions",
        "_lock",
        "_lost",
        "_opening",
        "_pending",
        "_played",
        "_replaced",
        "_waiter",
        "custom_status",
        "deaths",
        "history",
        "instance",
        "is_entity",
        "n",
        "recovered",
        "token",
        "waiting",
    )

    def __init__(self, locked: LockedInstance, dispatch: Dispatch) -> None:
        self.n, self.token, self.is_entity = locked.n, locked.token, locked.is_entity
        self._lock = locked.lock
        self.deaths = locked.recovered
        self.recovered = locked.recovered > 0
        self.custom_status = locked.custom_status
        self.history: Sequence[HistoryEvent] = ()
        self._dispatch = dispatch
        self._pending: list[ReceivedMessage] = []
        self._waiter: asyncio.Future[None] | None = None
        self._ended = self._lost = self._replaced = False
        self._history_execution_id = locked.history_execution_id
        start = _next_start(locked)
        begins = start is not None and start.instance.execution_id != locked.history_execution_id
        loaded = None if begins or locked.history_execution_id is None else ExecutionId(locked.history_execution_id)
        self.instance = OrchestrationInstance(instance_id=InstanceId(locked.instance_id), execution_id=loaded)
        self._first_executions: tuple[str | None, ...] = (locked.execution_id, loaded)
        if start is not None:
            self._first_executions += (start.instance.execution_id,)
        self._known_executions: tuple[str | None, ...] = self._first_executions
        self._played = deque((played for played in self._first_executions[1:] if played is not None), _MOST_PLAYED)
        self._is_live = begins or locked.is_live
        self._opening = frozenset(delivery.message.message_id for delivery in locked.deliveries if not delivery.due)
        self._deliveries = 1
        self.waiting: tuple[int, ...] = ()
        """Starts of later generations (message ids), which must not wake the instance before this one has ended."""

    @property
    def needs_history(self) -> bool:
        """Whether there is a stored history that belongs to what this session is about to play."""
        return self.instance.execution_id is not None

    @property
    def unread(self) -> tuple[int, ...]:
        """Messages (ids) that were delivered to it and that it has handed to nobody."""
        return self.waiting + tuple([int(message.message_id) for message in self._pending])

    @property
    def is_over(self) -> bool:
        return self._ended or self._lost

    # ---- from the dispatch ----

    def deliver(self, message: ReceivedMessage) -> None:
        """Add a message that is durable and due."""
        event = message.message.event
        if isinstance(event, ExecutionStarted) and not self._accepts(event):
            if self._is_live and (event.parent is not None or message.message_id in self._opening):
                self.waiting += (int(message.message_id),)
                return
            self._replaced = True
        else:
            self._pending.append(message)
            self._deliveries = max(self._deliveries, message.dequeue_count)
        self.wake()

    def lose(self) -> None:
        """The lock is gone."""
        self._lost = True
        self.wake()

    def wake(self) -> None:
        """Make `next_messages` look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _accepts(self, start: ExecutionStarted) -> bool:
        execution_id = start.instance.execution_id
        if not self._played and execution_id is not None:
            self._played.append(execution_id)
            self._is_live = True
        return not self._played or execution_id in self._played

    # ---- for the runtime ----

    async def next_messages(self, wait: timedelta) -> SessionInput:
        found = self._look()
        if found is not None:
            return found
        seconds = wait.total_seconds()
        if seconds <= 0:
            return SessionEnd.IDLE
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = loop.call_later(seconds, self.wake)
        try:
            await waiter
        finally:
            timer.cancel()
            if self._waiter is waiter:  # not that of a wait that began while this one was being cancelled
                self._waiter = None
        return self._look() or SessionEnd.IDLE

    def _look(self) -> SessionInput | None:
        if self._lost or self._ended:
            return SessionEnd.LOST
        if self._replaced or self._dispatch.draining:
            return SessionEnd.YIELD
        if not self._pending:
            return None
        messages, self._pending = tuple(self._pending), []
        # After a crash no message may tell of it: what killed the process can be an activity that was not in history yet.
        redelivered = self.recovered or any(message.dequeue_count > 1 for message in messages)
        self.recovered = False
        return MessageBatch(messages=messages, redelivered=redelivered)

    async def results_may_differ(self) -> bool:
        return False

    async def confirm(self) -> bool:
        if not self.is_over:
            await self._dispatch.catch_up()
        # The writer thread may know already what is still on its way to this session.
        return not self.is_over and self._dispatch.is_worker(self._lock)

    async def checkpoint(self, checkpoint: Checkpoint) -> Receipt:
        write = self._encode(checkpoint)
        try:
            written: Written = await self._dispatch.write_checkpoint(write)
        except BaseException as error:
            self._not_written(error)
            raise
        return self._written(checkpoint, write, written)

    def put(self, checkpoint: Checkpoint, answered: Callable[[CheckpointAnswer], None]) -> None:
        """`CheckpointPort.put`."""
        write = self._encode(checkpoint)
        self._dispatch.put_checkpoint(write, _Answer(self, checkpoint, write, answered))

    def _encode(self, checkpoint: Checkpoint) -> CheckpointWrite:
        instance_id = self.instance.instance_id
        if self._lost or self._ended:
            raise CheckpointConflictError(instance_id, "its lock was lost" if self._lost else "its session has ended")
        return encode_checkpoint(
            checkpoint,
            n=self.n,
            token=self.token,
            instance_id=instance_id,
            history_execution_id=self._history_execution_id,
            known_executions=self._known_executions,
        )

    def _not_written(self, error: BaseException) -> None:
        if isinstance(error, CheckpointConflictError):
            self._dispatch.forget(self)
            self.lose()
        elif not isinstance(error, PayloadTooLargeError):
            # Cancelled, or the store failed: nobody knows what is stored, so a new session must look.
            self._ended = True
            self._dispatch.give_up_in_background(self)

    def _written(self, checkpoint: Checkpoint, write: CheckpointWrite, written: Written) -> Receipt:
        self.deaths = 0
        if write.events is not None:
            self._history_execution_id = checkpoint.execution_id
            self._known_executions = (*self._first_executions, checkpoint.execution_id)
            if checkpoint.execution_id not in self._played:
                self._played.append(checkpoint.execution_id)
        if write.ends_instance:
            self._is_live = False
            self._replaced = self._replaced or bool(self.waiting)
            self.waiting = ()
        if written.unlocked:
            self._ended = True
            self._dispatch.forget(self)
        return Receipt(activities=written.run_here)

    async def release(self) -> None:
        if not self.is_over:
            self._ended = True
            await self._dispatch.give_up(self, None)
        self.wake()

    async def abandon(self) -> None:
        if not self.is_over:
            self._ended = True
            await self._dispatch.give_up(self, back_off(self._deliveries))
        self.wake()


class _Answer:
    """What waits for a checkpoint that was put aside; a `Waiter`."""

    __slots__ = ("_answered", "_checkpoint", "_session", "_write")

    def __init__(
        self,
        session: SqliteSession,
        checkpoint: Checkpoint,
        write: CheckpointWrite,
        answered: Callable[[CheckpointAnswer], None],
    ) -> None:
        self._session, self._checkpoint, self._write, self._answered = session, checkpoint, write, answered

    def done(self) -> bool:
        return False

    def set_result(self, result: Written, /) -> None:
        self._answered(self._session._written(self._checkpoint, self._write, result))

    def set_exception(self, error: BaseException, /) -> None:
        self._session._not_written(error)
        self._answered(error)


def _next_start(locked: LockedInstance) -> ExecutionStarted | None:
    """Return the start that is due first; a generation that goes on is replaced by those of clients only."""
    for delivery in locked.deliveries:
        event = delivery.message.message.event
        if not isinstance(event, ExecutionStarted) or delivery.due:
            continue
        replaces = event.parent is None and event.instance.execution_id != locked.history_execution_id
        if replaces or not locked.is_live:
            return event
    return None
