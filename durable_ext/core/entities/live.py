"""LiveEntity: one entity in memory; work items in, episodes out, no I/O.

What a batch does travels in one `EntityEpisode`: state, answers, signals, lock changes. On a store without one transaction
it may have an opening, and the answer to a lock request is a second episode: up to three checkpoints, in the order that
`runtime/entities.py` tells (specs/execution-semantics.md 12.2; on-storage shape: specs/azure-storage.md 10.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from durable_ext.core.checkpoint import FIRE_AND_FORGET_TAG
from durable_ext.core.entities.batch import EntityBatch, OperationOutcome, sent_id
from durable_ext.core.entities.codec_port import EntityCodec
from durable_ext.core.entities.context import OutgoingSignal, OutgoingStart
from durable_ext.core.entities.definitions import EntityDefinition, EntityOptions
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import (
    CONTINUE_EVENT,
    LOCK_GRANTED_RESULT,
    OPERATION_EVENT,
    EntityRequest,
    EntityResponse,
    SchedulerState,
    delayed_event_name,
)
from durable_ext.core.entities.scheduler import EntityScheduler, forwarded
from durable_ext.core.entities.state import EntityState
from durable_ext.core.events import (
    EventRaised,
    ExecutionStarted,
    HistoryEvent,
    OrchestrationStatus,
    OrchestratorCompleted,
    OrchestratorStarted,
)
from durable_ext.core.instances import InstanceUpdate
from durable_ext.core.messages import (
    ExecutionId,
    InstanceId,
    OrchestrationInstance,
    OutgoingMessage,
    ParentInstance,
    ReceivedMessage,
    TaskMessage,
)
from durable_ext.core.payloads import PayloadConverter
from durable_ext.core.runtime_state import started_in
from durable_ext.core.timestamps import Ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityEpisode:
    """What one turn of an entity made durable.

    `new_events` are the whole new generation (`starts_generation`), or empty if nothing changed: then only the messages are
    consumed, and where a worker may have died before it wrote the row, `instance` is the row once more. `opening` is a
    generation to be stored before `messages` are sent: what the turn began with, its operations waiting. Whoever loads it
    after a crash runs the same ones next and sends the same again, instead of giving an answer twice that was to be given
    once (stores without one transaction only).
    """

    execution_id: ExecutionId
    new_events: tuple[HistoryEvent, ...]
    messages: tuple[OutgoingMessage, ...] = ()
    instance: InstanceUpdate | None = None
    opening: EntityEpisode | None = None

    @property
    def starts_generation(self) -> bool:
        """Whether `new_events` replace the history."""
        return bool(self.new_events)


class LiveEntity:
    """One entity in one session; used from one thread at a time, `begin` and `commit` in turn.

    `history` is the current generation, empty for an entity that never ran. If a commit cannot be stored, or a batch is
    given up, throw the object away and make a new one from what is stored.
    """

    __slots__ = (
        "_codec",
        "_converter",
        "_definition",
        "_entity_id",
        "_execution_id",
        "_generation_began",
        "_instance_id",
        "_new_execution_id",
        "_opening",
        "_options",
        "_scheduler",
        "_stored",
        "_stored_text",
    )

    def __init__(
        self,
        *,
        instance: OrchestrationInstance,
        history: Sequence[HistoryEvent],
        definition: EntityDefinition,
        converter: PayloadConverter,
        entity_codec: EntityCodec,
        options: EntityOptions,
        new_execution_id: Callable[[], ExecutionId],
    ) -> None:
        started = started_in(history)
        self._instance_id = instance.instance_id
        self._entity_id = EntityId.get_entity_id(instance.instance_id)
        self._execution_id = started.instance.execution_id if started is not None else None
        self._generation_began = started.timestamp if started is not None else None
        self._stored_text = started.input if started is not None else None
        self._definition, self._options = definition, options
        self._converter, self._codec = definition.converter or converter, entity_codec
        self._new_execution_id = new_execution_id
        stored = entity_codec.read_state(self._stored_text)
        self._scheduler = EntityScheduler(stored, entity_codec, options)
        self._stored: SchedulerState = stored
        self._opening: SchedulerState | None = None

    @property
    def execution_id(self) -> ExecutionId | None:
        """The generation of the last commit, `None` for an entity that never ran."""
        return self._execution_id

    def begin(
        self, messages: Sequence[ReceivedMessage], now: Callable[[], Ticks], *, at_most: int | None = None
    ) -> EntityBatch:
        """Take in the messages of a work item and return the operations to run.

        `at_most` so many, see `EntityScheduler.next_turn`. Messages that are no events are ignored: an entity
        cannot be terminated, suspended or rewound.
        """
        events = [received.message.event for received in messages]
        arrivals = self._scheduler.take_in(
            (event for event in events if isinstance(event, EventRaised)),
            now=now(),
            generation_began=self._generation_began,
        )
        exists, text = self._stored.exists, self._stored.state
        if not self._options.deliver_in_order:
            self._opening = self._scheduler.commit(exists=exists, state=text, now=now(), goes_on=True)
        rollback = self._definition.rollback
        return EntityBatch(
            entity_id=self._entity_id,
            definition=self._definition,
            rollback=self._options.rollback if rollback is None else rollback,
            converter=self._converter,
            state=EntityState(exists=exists, text=text, converter=self._converter),
            arrivals=arrivals,
            turn=self._scheduler.next_turn(at_most=at_most),
        )

    def commit(self, batch: EntityBatch, now: Callable[[], Ticks]) -> EntityEpisode:
        """Return what has to be stored after all operations of `batch` were closed.

        Raises:
            RuntimeError: Some were not.
        """
        outcomes = batch.finish()
        at = now()
        messages: list[OutgoingMessage] = [self._delayed(request, at) for request in batch.arrivals.early]
        for outcome in outcomes:
            self._send(outcome, at, messages)
        opening = self._opening_episode(at) if len(messages) > len(batch.arrivals.early) else None
        if batch.turn.lock is not None:
            messages.append(self._lock_answer(batch.turn.lock, at))
        if batch.turn.is_cut:
            messages.append(self._event(CONTINUE_EVENT, None, OrchestrationInstance(instance_id=self._instance_id), at))
        exists, text = batch.state.exists, batch.state.text
        if exists and text is None:
            text = "null"  # compat: a result alone makes an entity exist (specs/sdk.md 2.6)
        state = self._scheduler.commit(exists=exists, state=text, now=at, goes_on=batch.turn.grants_next)
        return replace(self._episode(state, tuple(messages), at), opening=opening)

    def _opening_episode(self, at: Ticks) -> EntityEpisode | None:
        opening = self._opening
        if opening is None or replace(opening, suspended=self._stored.suspended) == self._stored:
            return None  # what wakes it from its suspension comes again
        return self._generation(self._codec.state_text(opening), at)

    def _episode(self, state: SchedulerState, messages: tuple[OutgoingMessage, ...], at: Ticks) -> EntityEpisode:
        text = self._codec.state_text(state)
        if text == self._stored_text and not messages and self._execution_id is not None:
            # Messages that came again: a worker has died after it stored their effects, perhaps before it wrote the row.
            row = None
            if not self._options.deliver_in_order:
                row = self._row(self._execution_id, text, self._generation_began or at, at, exists=state.exists)
            return EntityEpisode(execution_id=self._execution_id, new_events=(), instance=row)
        episode = self._generation(text, at)
        self._execution_id, self._generation_began = episode.execution_id, at
        self._stored, self._stored_text = state, text
        return replace(
            episode, messages=messages, instance=self._row(episode.execution_id, text, at, at, exists=state.exists)
        )

    def _generation(self, text: str | None, at: Ticks) -> EntityEpisode:
        execution_id = self._new_execution_id()
        instance = OrchestrationInstance(instance_id=self._instance_id, execution_id=execution_id)
        return EntityEpisode(
            execution_id=execution_id,
            new_events=(
                OrchestratorStarted(timestamp=at),
                ExecutionStarted(
                    timestamp=at, is_played=True, instance=instance, name=self._instance_id, version="", input=text
                ),
                OrchestratorCompleted(timestamp=at, is_played=True),
            ),
        )

    def _row(
        self, execution_id: ExecutionId, text: str | None, created_at: Ticks, at: Ticks, *, exists: bool
    ) -> InstanceUpdate:
        return InstanceUpdate(
            execution_id=execution_id,
            last_updated_at=at,
            custom_status=self._codec.status_text(self._scheduler.status(exists=exists)),
            status=OrchestrationStatus.RUNNING,
            name=self._instance_id,
            version="",
            input=text,
            created_at=created_at,
        )

    def _send(self, outcome: OperationOutcome, at: Ticks, messages: list[OutgoingMessage]) -> None:
        request = outcome.request
        for index, sent in enumerate(outcome.sent):
            if isinstance(sent, OutgoingSignal):
                messages.append(self._signal(sent, sent_id(request.request_id, index), at))
            else:
                messages.append(self._start(sent, sent_id(request.request_id, index), at))
        if not request.is_signal and request.parent is not None:
            messages.append(self._answer(request, outcome.response, at))

    def _signal(self, signal: OutgoingSignal, request_id: str, at: Ticks) -> OutgoingMessage:
        request = EntityRequest(
            request_id=request_id,
            operation=signal.operation,
            is_signal=True,
            input=signal.input,
            parent=self._instance_id,
            due=signal.due,
        )
        target = signal.target.instance_id
        if signal.due is not None:
            return self._delayed(request, at, target)
        timestamp, predecessor = self._scheduler.sorter.stamp(target, at)
        request = replace(request, timestamp=timestamp, predecessor=predecessor)
        return self._event(
            OPERATION_EVENT,
            self._codec.request_text(request, typed=True),
            OrchestrationInstance(instance_id=target),
            at,
        )

    def _delayed(self, request: EntityRequest, at: Ticks, target: InstanceId | None = None) -> OutgoingMessage:
        due = self._scheduler.capped_due(request.due or at, at)
        message = self._event(
            delayed_event_name(due),
            self._codec.request_text(request, typed=True),
            OrchestrationInstance(instance_id=target or self._instance_id),
            at,
        )
        return replace(message, due=due)

    def _start(self, start: OutgoingStart, start_id: str, at: Ticks) -> OutgoingMessage:
        child = OrchestrationInstance(instance_id=InstanceId(start.instance_id), execution_id=self._new_execution_id())
        # Nobody reports back to it: its execution id is what tells a start that is sent again from another one.
        parent = ParentInstance(
            name=self._instance_id,
            instance=OrchestrationInstance(instance_id=self._instance_id, execution_id=ExecutionId(start_id)),
            task_schedule_id=-1,
            version="",
        )
        event = ExecutionStarted(
            timestamp=at,
            instance=child,
            name=start.name,
            version=self._options.default_version,
            input=start.input,
            parent=parent,
            tags={FIRE_AND_FORGET_TAG: ""},
            scheduled_start_time=start.due,
        )
        return OutgoingMessage(message=TaskMessage(event=event, target=child, tags={}), due=start.due)

    def _lock_answer(self, request: EntityRequest, at: Ticks) -> OutgoingMessage:
        following = forwarded(request)
        if following is None or following.lock_set is None:
            return self._answer(request, EntityResponse(result=LOCK_GRANTED_RESULT), at)
        target = OrchestrationInstance(instance_id=following.lock_set[following.position].instance_id)
        return self._event(OPERATION_EVENT, self._codec.request_text(following, typed=True), target, at)

    def _answer(self, request: EntityRequest, response: EntityResponse, at: Ticks) -> OutgoingMessage:
        target = OrchestrationInstance(
            instance_id=InstanceId(request.parent or ""),
            execution_id=None if request.parent_execution is None else ExecutionId(request.parent_execution),
        )
        return self._event(request.request_id, self._codec.response_text(response), target, at)

    @staticmethod
    def _event(name: str, text: str | None, target: OrchestrationInstance, at: Ticks) -> OutgoingMessage:
        event = EventRaised(timestamp=at, name=name, input=text)
        return OutgoingMessage(message=TaskMessage(event=event, target=target))
