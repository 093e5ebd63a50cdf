"""An episode whose code does not come back: its instance can still be terminated, without the code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from durable_ext.aio.supervisor import Supervisor
from durable_ext.backends.execution_ids import new_execution_id
from durable_ext.backends.protocol import Checkpoint, MessageBatch, OrchestrationSession, SessionEnd
from durable_ext.core.actions import CompleteOrchestration
from durable_ext.core.checkpoint import Outbox, instance_update
from durable_ext.core.events import (
    ExecutionStarted,
    ExecutionTerminated,
    HistoryEvent,
    OrchestrationStatus,
    OrchestratorCompleted,
    OrchestratorStarted,
)
from durable_ext.core.messages import ReceivedMessage
from durable_ext.core.runtime_state import RuntimeState
from durable_ext.core.timestamps import Ticks
from durable_ext.failure import failure_from_exception
from durable_ext.runtime.session_writer import SessionWriter

_LISTEN: Final = timedelta(seconds=30)


class TerminatedWhileStuckError(Exception):
    """The instance was terminated while its code blocked its thread."""


class StuckEpisode:
    """What one session knows while an episode blocks its thread. Used from the event loop.

    Attributes:
        messages: Those of the episode that is being played, or was the last.
        overheard: Messages that came while it was stuck; they are played after it, if it does come back.
    """

    def __init__(self, session: OrchestrationSession, writer: SessionWriter, supervisor: Supervisor) -> None:
        self._session, self._writer, self._supervisor = session, writer, supervisor
        self._undone: tuple[tuple[HistoryEvent, ...], bool] | None = None
        self.messages: tuple[ReceivedMessage, ...] = ()
        self.overheard: list[ReceivedMessage] = []

    @property
    def termination(self) -> ExecutionTerminated | None:
        """The event that ends the instance, if its message has come."""
        ours = (None, "", self._session.instance.execution_id)
        messages = (received.message for received in (*self.messages, *self.overheard))
        events = (message.event for message in messages if message.target.execution_id in ours)
        return next((event for event in events if isinstance(event, ExecutionTerminated)), None)

    def take_overheard(self) -> MessageBatch | None:
        """Return what came while the episode was stuck, once."""
        overheard, self.overheard = tuple(self.overheard), []
        return MessageBatch(messages=overheard) if overheard else None

    def began(self, played: asyncio.Future[Any], give_up: Callable[[Exception], None]) -> None:
        """The thread of an episode was written off: listen for a termination until the episode comes back."""
        self._undone = (self._writer.pending, self._writer.starts_generation)  # what comes after this is dropped
        listening = self._supervisor.start("stuck-episode", self._listen(give_up))
        played.add_done_callback(lambda _: listening.cancel())

    async def _listen(self, give_up: Callable[[Exception], None]) -> None:
        while self.termination is None:
            found = await self._session.next_messages(_LISTEN)
            if isinstance(found, MessageBatch):
                self.overheard += found.messages
            elif found is not SessionEnd.IDLE:
                return
        give_up(TerminatedWhileStuckError())

    def ending(self, state: RuntimeState, now: Ticks) -> Checkpoint | None:
        """Return the checkpoint that terminates the instance and consumes all its messages.

        `state` is what was known before the episode. `None` if nobody has asked for it, or if there is nothing to terminate.
        Locks on entities are kept: only the code knows of them.
        """
        termination = self.termination
        if termination is None:
            return None
        return self._end(state, now, OrchestrationStatus.TERMINATED, termination.input, (termination,))

    def failing(self, state: RuntimeState, error: Exception, now: Ticks) -> Checkpoint | None:
        """Return the checkpoint that fails the instance and consumes all its messages; as `ending`."""
        return self._end(state, now, OrchestrationStatus.FAILED, error, ())

    def _end(
        self,
        state: RuntimeState,
        now: Ticks,
        status: OrchestrationStatus,
        reason: str | Exception | None,
        received: tuple[HistoryEvent, ...],
    ) -> Checkpoint | None:
        undone, starts_generation = self._undone or (self._writer.pending, self._writer.starts_generation)
        messages = (*self.messages, *self.overheard)
        start = next((each.message.event for each in messages if isinstance(each.message.event, ExecutionStarted)), None)
        is_new = start is not None and (state.started is None or state.is_terminal)
        started = start if is_new else state.started
        if not isinstance(started, ExecutionStarted) or (state.is_terminal and not is_new):
            return None
        failure = failure_from_exception(reason) if isinstance(reason, Exception) else None
        result = reason if failure is None else f"Orchestrator function '{started.name}' failed: {reason}"
        outbox = Outbox(started=started, now=now, store_inputs=False, new_execution_id=new_execution_id, messages=[])
        events: list[HistoryEvent] = [*undone, OrchestratorStarted(timestamp=now)]
        if is_new:
            events, starts_generation = [OrchestratorStarted(timestamp=now), started], state.is_terminal
        known = () if is_new else state.events
        outbox.add(
            CompleteOrchestration(
                task_id=1 + max((event.event_id for event in (*known, *events)), default=-1),
                status=status,
                result=None if result is None else str(result),
                failure=failure,
            )
        )
        events += [*received, *outbox.events, OrchestratorCompleted(timestamp=now)]
        execution_id = started.instance.execution_id
        assert execution_id is not None
        shown = self._session.custom_status
        return Checkpoint(
            execution_id=execution_id,
            new_events=tuple(events),
            starts_generation=starts_generation,
            consumed=tuple([each.message_id for each in messages]),
            messages=tuple(outbox.messages),
            instance=instance_update(events, execution_id=execution_id, custom_status=shown, last_updated_at=now),
        )
