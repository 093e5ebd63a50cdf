"""LiveOrchestration: one instance in memory, from messages to the episode that has to be stored; does no I/O."""

from __future__ import annotations

import contextvars
import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Union

from durable_ext.core.actions import CompleteOrchestration, StartNewGeneration
from durable_ext.core.checkpoint import Outbox, instance_update
from durable_ext.core.context import OrchestrationContext
from durable_ext.core.entities.codec_port import EntityCodec
from durable_ext.core.entity_calls import EntityCalls
from durable_ext.core.episode import Episode, KnownFunctions, StatusReporter, decide
from durable_ext.core.events import (
    ExecutionStarted,
    GenericEvent,
    HistoryEvent,
    OrchestrationStatus,
    OrchestratorCompleted,
    OrchestratorStarted,
    TaskCompleted,
    TaskFailed,
)
from durable_ext.core.ids import next_execution_id
from durable_ext.core.inbox import Admission, AdmissionKind, admit
from durable_ext.core.messages import ExecutionId, OrchestrationInstance, OutgoingMessage, ReceivedMessage
from durable_ext.core.orchestrators import (
    NameResolver,
    OrchestratorDefinition,
    ReplayOptions,
    ResultTypeResolver,
    function_name,
    no_result_type,
)
from durable_ext.core.payloads import PayloadConverter
from durable_ext.core.received import ReceivedBefore
from durable_ext.core.replay import Replay
from durable_ext.core.runtime_state import RuntimeState
from durable_ext.core.timestamps import Ticks
from durable_ext.core.versioning import MISMATCH_FAILURE, VersionMismatch
from durable_ext.errors import NonDeterminismError

_PLAY = Admission(kind=AdmissionKind.PLAY)
_BETWEEN_GENERATIONS = 10  # ticks: a microsecond, the least that ids made from the time tell apart
_NO_EXECUTION = ExecutionId("")


class LiveOrchestration:
    """History, user code and decisions of one instance; used from one thread at a time.

    The first `play` replays `history` silently, later ones cost only what is new. `activity_names`, `orchestrator_names`
    and `entity_names` say what is registered, asked when something new is called; for `None` nothing is checked. `is_left`
    says whether the instances of an orchestrator are left to another worker. `on_opening` gets what messages brought into
    an episode before the user's code does.
    """

    def __init__(
        self,
        *,
        instance: OrchestrationInstance,
        history: Sequence[HistoryEvent],
        custom_status: str | None,
        lookup: Callable[[str], OrchestratorDefinition | None],
        converter: PayloadConverter,
        entity_codec: EntityCodec,
        options: ReplayOptions,
        new_execution_id: Callable[[], ExecutionId],
        activity_names: Callable[[], Collection[str]] | None = None,
        orchestrator_names: Callable[[], Collection[str]] | None = None,
        entity_names: Callable[[], Collection[str]] | None = None,
        is_left: Callable[[str], bool] | None = None,
        on_opening: Callable[[Sequence[HistoryEvent]], None] | None = None,
        resolve_name: NameResolver = function_name,
        resolve_type: ResultTypeResolver = no_result_type,
    ) -> None:
        self.instance = instance
        self.state = RuntimeState(history)
        self._status = StatusReporter(custom_status)
        self._functions = KnownFunctions(
            orchestrator=lookup,
            activity_names=activity_names,
            orchestrator_names=orchestrator_names,
            entity_names=entity_names,
        )
        self._is_left = is_left
        self._on_opening = on_opening
        self._converter = converter
        self._entity_codec = entity_codec
        self._options = options
        self._new_execution_id = new_execution_id
        self._resolve_name = resolve_name
        self._resolve_type = resolve_type
        self._received = ReceivedBefore()
        self._live: tuple[Replay, OrchestrationContext] | None = None
        self._variables = contextvars.copy_context()

    def play(self, messages: Sequence[ReceivedMessage], now: Callable[[], Ticks]) -> Episode:
        """Take a batch of messages, run the user's code on and return what came of it."""
        admission = admit(self.state, messages, self._new_execution_id)
        if admission.kind is not AdmissionKind.PLAY:
            execution_id = self.state.execution_id or self.instance.execution_id or _NO_EXECUTION
            return Episode(admission=admission, execution_id=execution_id, instance=admission.update)
        if admission.restarts:
            self.close()
            self.state = RuntimeState()
            self._status = StatusReporter(None)
            self._received = ReceivedBefore()
        return self._variables.run(self._play, admission.events, now, admission)

    def play_results(
        self, results: Sequence[Union[TaskCompleted, TaskFailed]], now: Callable[[], Ticks], *, goes_on: bool = False
    ) -> Episode:
        """Play results of activities that ran beside the session (design.md 5), as if they had come as messages.

        `goes_on`: the episode before goes on, with its time. Its OrchestratorCompleted is taken back, and there is no new
        OrchestratorStarted.
        """
        return self._variables.run(self._play, tuple(results), now, _PLAY, goes_on)

    @property
    def divergence(self) -> NonDeterminismError | None:
        """What the code decided that is not as history has it, `None` if nothing."""
        return self._live[0].divergence if self._live is not None else None

    def close(self) -> BaseException | None:
        """Let go of the user's code; its context does nothing afterwards. Returns what the code raised meanwhile."""
        live, self._live = self._live, None
        return self._variables.run(live[0].close) if live is not None else None

    def _play(
        self, events: tuple[HistoryEvent, ...], now: Callable[[], Ticks], admission: Admission, goes_on: bool = False
    ) -> Episode:
        live = self._live
        if live is None:
            first = self.state.started or next(event for event in events if isinstance(event, ExecutionStarted))
            if self._is_left is not None and self._is_left(first.name):
                reason = f"the orchestrator '{first.name}' is not served here. Start a host that serves it"
                return _left_to_others(first, reason)
            if not self._options.worker_version.accepts(first.version):
                return self._refuse(first, events, now, admission)
            live = self._begin(first)
            live[0].feed(self.state.events, past=True)
        opening = events
        if goes_on:
            self.state.reopen()
        else:
            opening = (OrchestratorStarted(timestamp=now()), *events)
        self.state.extend(opening)
        if admission is not _PLAY:
            self._tell(opening)
        live[0].feed(opening, past=False)
        status_before = self._status.text
        messages: list[OutgoingMessage] = []
        starts_generation = admission.restarts
        left: tuple[HistoryEvent, ...] = ()
        note: str | None = None
        left_execution_id = self.state.execution_id
        while True:
            replay, context = live
            started = replay.started
            assert started is not None  # `admit` lets nothing in before it
            outbox = Outbox(started, now(), self._options.store_inputs, self._new_execution_id, messages)
            actions = decide(replay, started.name, self._functions, self._status.refresh(replay, context))
            end = actions[-1] if actions else None
            for action in actions:
                if action is not end or not isinstance(end, StartNewGeneration):
                    outbox.add(action)
            if not isinstance(end, StartNewGeneration):
                break
            starts_generation = True
            at = Ticks(replay.over_since + _BETWEEN_GENERATIONS)
            if not left:
                left = opening
                note = None if self._options.deliver_in_order else self._received.note(self.state.events, at)
            replay.close()
            opening = self._next_generation(started, end, note, at)
            live = self._begin(started)
            self._tell(opening)
            live[0].feed(opening, past=False)
        outbox.events.append(OrchestratorCompleted(timestamp=outbox.now))
        self.state.extend(outbox.events)
        changed = self._status.text != status_before
        waits_for_others = replay.suspended or len(replay.open_tasks) - replay.cancelled_timers != len(outbox.activities)
        return self._episode(
            outbox,
            opening,
            admission,
            starts_generation=starts_generation,
            changed=changed,
            waits_for_others=waits_for_others,
            awaited_together=replay.awaited_together,
            left=left,
            left_execution_id=left_execution_id if left else None,
        )

    def _refuse(
        self,
        started: ExecutionStarted,
        events: tuple[HistoryEvent, ...],
        now: Callable[[], Ticks],
        admission: Admission,
    ) -> Episode:
        """Run nothing of an instance of another version (specs/host-json.md 7): leave it to another worker, or fail it."""
        worker = self._options.worker_version
        if worker.mismatch is VersionMismatch.REJECT:
            return _left_to_others(
                started,
                f"its version is '{started.version or ''}', this worker's is '{worker.version}' ({worker.match.value}). "
                f"Start a worker that takes it, or change defaultVersion or versionMatchStrategy",
            )
        opening: tuple[HistoryEvent, ...] = (OrchestratorStarted(timestamp=now()), *events)
        self.state.extend(opening)
        self._tell(opening)
        outbox = Outbox(started, now(), self._options.store_inputs, self._new_execution_id, [])
        failure = MISMATCH_FAILURE
        outbox.add(
            CompleteOrchestration(
                task_id=1 + max(event.event_id for event in self.state.events),
                status=OrchestrationStatus.FAILED,
                result=f"{failure.error_type}: {failure.error_message}",
                failure=failure,
            )
        )
        outbox.events.append(OrchestratorCompleted(timestamp=outbox.now))
        self.state.extend(outbox.events)
        return self._episode(
            outbox, opening, admission, starts_generation=admission.restarts, changed=False, waits_for_others=True
        )

    def _tell(self, opening: Sequence[HistoryEvent]) -> None:
        if self._on_opening is not None:
            self._on_opening(opening)

    def _begin(self, started: ExecutionStarted) -> tuple[Replay, OrchestrationContext]:
        name = started.name
        registered = self._functions.orchestrator(name)
        definition = registered or self._functions.missing_definition(name)
        options, converter = self._options, definition.converter or self._converter
        if definition.fixes is not None and definition.fixes is not options.fixes:
            options = dataclasses.replace(options, fixes=definition.fixes)
        rewound = [event for event in self.state.events if isinstance(event, GenericEvent) and event.event_id >= 0]
        replay = Replay(
            instance_id=started.instance.instance_id,
            definition=definition,
            converter=converter,
            entities=EntityCalls(codec=self._entity_codec, converter=converter, options=options),
            options=options,
            undone=Counter(event.event_id for event in rewound if event.data is not None),
            was_rewound=bool(rewound),
            verify=registered is not None,  # what an orchestrator that is gone had decided is not compared with nothing
        )
        context = OrchestrationContext(
            replay,
            histories=self.state.events,
            expected_type=definition.input_type,
            resolve_name=self._resolve_name,
            resolve_type=definition.resolve_type or self._resolve_type,
        )
        self._live = (replay, context)
        return self._live

    def _next_generation(
        self, started: ExecutionStarted, end: StartNewGeneration, note: str | None, now: Ticks
    ) -> tuple[HistoryEvent, ...]:
        """Leave the generation behind and open the next one as the dispatcher of DurableTask does (azure-storage.md 5.7).

        `note` is what this episode tells all that it opens: none of its messages is deleted yet. Id and time follow from
        history alone: an episode that is played again after a crash sends the same again.
        """
        former = started.instance
        execution_id = next_execution_id(former.execution_id) if former.execution_id else self._new_execution_id()
        instance = OrchestrationInstance(instance_id=former.instance_id, execution_id=execution_id)
        start = ExecutionStarted(
            timestamp=now,
            instance=instance,
            name=started.name,
            version=started.version,
            input=end.input,
            parent=started.parent,
            tags=started.tags,
            trace_context=started.trace_context,
        )
        self.state = RuntimeState()
        opening: tuple[HistoryEvent, ...] = (
            OrchestratorStarted(timestamp=now),
            start,
            *(() if note is None else (GenericEvent(timestamp=now, data=note),)),
            *end.carried,
            OrchestratorCompleted(timestamp=now, is_played=True),
        )
        self.state.extend(opening)
        return opening

    def _episode(
        self,
        outbox: Outbox,
        opening: tuple[HistoryEvent, ...],
        admission: Admission,
        *,
        starts_generation: bool,
        changed: bool,
        waits_for_others: bool,
        awaited_together: int = 1,
        left: tuple[HistoryEvent, ...] = (),
        left_execution_id: ExecutionId | None = None,
    ) -> Episode:
        execution_id = outbox.started.instance.execution_id or _NO_EXECUTION
        decisions = tuple(outbox.events)
        activities = tuple(outbox.activities)
        messages = tuple(outbox.messages)
        terminal = self.state.is_terminal
        return Episode(
            admission=admission,
            execution_id=execution_id,
            opening=opening,
            decisions=decisions,
            messages=messages,
            activities=activities,
            instance=instance_update(
                (*opening, *decisions),
                execution_id=execution_id,
                custom_status=self._status.text,
                last_updated_at=outbox.now,
            ),
            starts_generation=starts_generation,
            left=left,
            left_execution_id=left_execution_id,
            is_terminal=terminal,
            custom_status_changed=changed,
            can_run_locally=(
                bool(activities) and not (messages or changed or starts_generation or terminal or waits_for_others)
            ),
            awaited_together=awaited_together,
            failure=outbox.failure,
        )


def _left_to_others(started: ExecutionStarted, reason: str) -> Episode:
    left = Admission(kind=AdmissionKind.ABANDON, reason=reason)
    return Episode(admission=left, execution_id=started.instance.execution_id or _NO_EXECUTION)
