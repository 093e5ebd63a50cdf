"""What of a session is not durable yet, and the checkpoints that make it so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Final

from durable_ext.backends.checkpoint_port import CheckpointAnswer
from durable_ext.backends.protocol import (
    BackendTraits,
    Checkpoint,
    MessageBatch,
    OrchestrationSession,
    OutgoingActivity,
    Receipt,
)
from durable_ext.core.events import ExecutionStarted, HistoryEvent, OrchestrationStatus, OrchestratorCompleted
from durable_ext.core.inbox import AdmissionKind
from durable_ext.core.instances import InstanceUpdate
from durable_ext.core.messages import ExecutionId, OutgoingMessage
from durable_ext.errors import PayloadTooLargeError, RequestRefusedError
from durable_ext.runtime.entity_requests import going_first, sends_to_entities, without_unsent
from durable_ext.runtime.settings import WorkerSettings

if TYPE_CHECKING:
    from durable_ext.core.episode import Episode

_ROW_INTERVAL: Final = 1.0  # seconds
_BATCHED_EVENTS: Final = 99
_OPTIONAL_COLUMNS: Final = tuple(
    each.name for each in fields(InstanceUpdate) if each.name not in ("execution_id", "last_updated_at", "custom_status")
)


class SessionWriter:
    """Owned by one `HeldInstance`.

    Attributes:
        pending: Events in order that are received or decided, but not stored.
        refused: The checkpoint that the store refused for its size, with every message of the session to consume.
        in_one_transaction: Whether any number of events and everything beside them becomes durable at once.
    """

    def __init__(
        self, session: OrchestrationSession, traits: BackendTraits, settings: WorkerSettings, monotonic: Callable[[], float]
    ) -> None:
        self._session = session
        self._keeps_trigger = traits.keeps_trigger
        self._batched = settings.local_activities == "batched"
        self._hold = settings.local_activity_spill.total_seconds()
        self._written = monotonic()
        self._max_events = traits.max_events_per_write
        self.in_one_transaction = traits.max_events_per_write is None
        self._seconds = monotonic  # nothing is held back for long because somebody sets the wall clock
        self._consumed: tuple[str, ...] = ()
        self._starts_generation = False
        self._row_written = monotonic()
        self._row: InstanceUpdate | None = None
        self._left: tuple[HistoryEvent, ...] = ()  # of a generation that is over, and not in history
        self.pending: tuple[HistoryEvent, ...] = ()
        self.refused: Checkpoint | None = None

    @property
    def starts_generation(self) -> bool:
        """Whether `pending` begins a history."""
        return self._starts_generation

    def receive(self, batch: MessageBatch) -> None:
        """The messages of this batch are consumed by the next write that may do so."""
        self._consumed += tuple([received.message_id for received in batch.messages])

    def begin(self, episode: Episode, *, left_is_stored: bool = False) -> None:
        """Take the events that opened an episode. It and the two `next_...` run on the orchestrator thread, too.

        `left_is_stored`: of the generation that it left there is nothing that is not in history.
        """
        if episode.starts_generation:  # what was pending belongs to a generation that is over
            earlier = () if episode.admission.restarts else self.pending
            self._left = () if left_is_stored else without_unsent((*earlier, *episode.left))
            self.pending = episode.opening
            self._starts_generation = True
        else:
            self.pending += episode.opening

    def add(self, events: Sequence[HistoryEvent]) -> None:
        """Take events that follow what is pending."""
        self.pending += tuple(events)

    def reopen(self) -> None:
        """Take back the OrchestratorCompleted that was added last: its episode goes on."""
        assert isinstance(self.pending[-1], OrchestratorCompleted)
        self.pending = self.pending[:-1]

    def holds_back(self, more: int) -> bool:
        """Whether results may wait for those of later waves, up to 99 events or the spill time (`"batched"`, breaks I2)."""
        return self._batched and len(self.pending) + more < _BATCHED_EVENTS and self._seconds() - self._written < self._hold

    async def write_before_local(self, episode: Episode) -> None:
        """Store what the first local activity of a session may not precede: the start of a generation, and results."""
        if any(isinstance(event, ExecutionStarted) for event in self.pending):
            await self._write_start(episode)
        elif await self._session.results_may_differ():
            await self.commit(self._next(episode.execution_id, (), (), (), None))

    async def _write_start(self, episode: Episode) -> None:
        """Store how a generation began, before its first activity: rule R1.

        A child has no row yet: it goes along. Another one's start was sent with a row, so R9 decides when it changes.
        """
        started = next(event for event in self.pending if isinstance(event, ExecutionStarted))
        if started.parent is None:
            self.keep_row(episode)
        row = episode.instance if started.parent is not None else None
        await self.commit(self._next(episode.execution_id, (), (), (), row))

    async def write(self, episode: Episode, activities: tuple[OutgoingActivity, ...] = ()) -> Receipt:
        """Store what is pending while local activities go on."""
        return await self.commit(self.next_write(episode, activities))

    def next_write(self, episode: Episode, activities: tuple[OutgoingActivity, ...] = ()) -> Checkpoint:
        """Take what is pending, to be stored while local activities go on.

        Rule R6: on a store that keeps the trigger nothing is consumed yet; on another one the row goes along with the start,
        because nothing else tells that the instance goes on if the one before under its id has ended. Rule R9: the row goes
        along once a second, and with activities that take so long that they become the hub's.
        """
        consumed: tuple[str, ...] = ()
        self.keep_row(episode)
        is_due = activities or self._seconds() - self._row_written >= _ROW_INTERVAL
        if not self._keeps_trigger:
            consumed, self._consumed = self._consumed, ()
            is_due = is_due or any(isinstance(event, ExecutionStarted) for event in self.pending)
        return self._next(episode.execution_id, consumed, (), activities, self._take_row(episode) if is_due else None)

    async def write_last(self, episode: Episode, activities: tuple[OutgoingActivity, ...]) -> Receipt:
        """Store what is pending when all of a wave that is unfinished is, or becomes, the hub's.

        The session may end now. Rule R6: work items wake the instance, so its messages are done with. Rule R9: nobody comes
        by to write the row later.
        """
        self.keep_row(episode)
        consumed, self._consumed = self._consumed, ()
        return await self.commit(self._next(episode.execution_id, consumed, (), activities, self._take_row(episode)))

    @property
    def row_is_due(self) -> bool:
        """Whether the row has to be written though there is nothing else to store: rule R9."""
        is_late = self._seconds() - self._row_written >= _ROW_INTERVAL
        return is_late and self._row is not None and _says_something(self._row)

    def _take_row(self, episode: Episode) -> InstanceUpdate | None:
        row, self._row = self._row, None
        update = episode.instance
        if row is None or update is None:
            return row
        return replace(row, last_updated_at=update.last_updated_at, custom_status=update.custom_status)

    def keep_row(self, episode: Episode) -> None:
        """Let the next write that has a row carry what this episode changes of it."""
        update = episode.instance
        if self._row is None or (update is not None and _says_something(update)):
            self._row = _merged(self._row, update)

    async def store(self, episode: Episode, activities: tuple[OutgoingActivity, ...]) -> Receipt:
        """Store what is pending and all that an episode decided: the plain way, rule R4."""
        sends = bool(episode.messages or activities)
        if self._keeps_trigger and sends and (sends_to_entities(episode) or await self._session.results_may_differ()):
            await self._store_beginning(episode)
        return await self.commit(self.next_store(episode, activities))

    def next_store(self, episode: Episode, activities: tuple[OutgoingActivity, ...]) -> Checkpoint:
        """Take what is pending and all that an episode decided."""
        self.add(episode.decisions)
        consumed, self._consumed = self._consumed, ()
        row = episode.instance
        if row is not None and episode.admission.kind is AdmissionKind.DISCARD:
            # An ended instance: only a store whose rows may lag behind its histories needs the repair.
            row = None if self.in_one_transaction else replace(row, custom_status=self._session.custom_status)
        else:
            row, self._row = _merged(self._row, row), None
            if row is not None and not episode.custom_status_changed and self._may_lag(row):
                row, self._row = None, row
        return self._next(episode.execution_id, consumed, episode.messages, activities, row)

    async def _store_beginning(self, episode: Episode) -> None:
        """Store the time of an episode and the results it got before anything is sent.

        If it has to run again, it sends the same: entities drop the copies of requests, and no activity is ever given a
        result that is not the one in history. Of an episode that continues as new the generation that it leaves: time and
        id of the next one follow from it.
        """
        if episode.left:
            left, self._left = self._left, ()
            if left and episode.left_execution_id is not None:
                await self._session.checkpoint(
                    Checkpoint(
                        execution_id=episode.left_execution_id,
                        new_events=left,
                        starts_generation=episode.admission.restarts,
                    )
                )
            return
        first = going_first(self.pending)
        if first:
            kept = {id(event) for event in first}
            later = tuple([event for event in self.pending if id(event) not in kept])
            self.pending = first
            await self.commit(self._next(episode.execution_id, (), (), (), _row_of_child(first, episode)))
            self.pending = later

    def can_end_with(self, episode: Episode) -> bool:
        """Whether an episode ends the instance, sends nothing, and fits into one write with the results it came from."""
        count = len(self.pending) + len(episode.opening) + len(episode.decisions)
        sends = episode.messages or episode.activities or episode.starts_generation
        return episode.is_terminal and not sends and (self._max_events is None or count <= self._max_events)

    def _may_lag(self, row: InstanceUpdate) -> bool:
        """Rule R9: on a store where a row is a write of its own, one that says nothing new is written once a second."""
        recent = self._seconds() - self._row_written < _ROW_INTERVAL
        return recent and not self.in_one_transaction and not _says_something(row)

    async def commit(self, checkpoint: Checkpoint, answer: CheckpointAnswer | None = None) -> Receipt:
        """Store a checkpoint; `answer` is what the store has said to it, if it was asked already."""
        try:
            if answer is None:
                return await self._session.checkpoint(checkpoint)
            if isinstance(answer, Receipt):
                return answer
            raise answer
        except (PayloadTooLargeError, RequestRefusedError):
            self.refused = replace(checkpoint, consumed=checkpoint.consumed + self._consumed)
            raise

    def _next(
        self,
        execution_id: ExecutionId,
        consumed: tuple[str, ...],
        messages: tuple[OutgoingMessage, ...],
        activities: tuple[OutgoingActivity, ...],
        row: InstanceUpdate | None,
    ) -> Checkpoint:
        events, self.pending = self.pending, ()
        self._written = self._seconds()
        starts_generation, self._starts_generation = self._starts_generation, False
        if row is not None:
            self._row_written = self._seconds()
        return Checkpoint(
            execution_id=execution_id,
            new_events=events,
            starts_generation=starts_generation,
            consumed=consumed,
            messages=messages,
            activities=activities,
            instance=row,
        )


def _says_something(update: InstanceUpdate) -> bool:
    """Whether an update changes more than what is always written; those of waves in the middle do not."""
    return update.status is not None or update.output is not None or update.name is not None


def _merged(earlier: InstanceUpdate | None, later: InstanceUpdate | None) -> InstanceUpdate | None:
    """Return both changes of a row as one: columns that the later one leaves as they are come from the earlier one."""
    if earlier is None or later is None:
        return later or earlier
    kept = {name: getattr(earlier, name) for name in _OPTIONAL_COLUMNS if getattr(later, name) is None}
    return replace(later, **kept) if kept else later


def _row_of_child(opening: Sequence[HistoryEvent], episode: Episode) -> InstanceUpdate | None:
    """Return the first row of a sub-orchestration; other instances have one since they were started."""
    row = episode.instance
    if row is None or not any(isinstance(event, ExecutionStarted) and event.parent is not None for event in opening):
        return None
    return replace(row, status=OrchestrationStatus.RUNNING, output=None, completed_at=None)
