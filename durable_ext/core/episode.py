"""Episode: what one waking decided. From a replay's pending decisions and ending to actions; pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from durable_ext.core.actions import Action, CompleteOrchestration, SendEvent, StartNewGeneration
from durable_ext.core.entities.ids import EntityId, is_entity_instance
from durable_ext.core.entities.messages import OPERATION_EVENT
from durable_ext.core.events import EventRaised, HistoryEvent, OrchestrationStatus
from durable_ext.core.inbox import Admission
from durable_ext.core.instances import InstanceUpdate
from durable_ext.core.matching import Decision
from durable_ext.core.messages import ExecutionId, OutgoingMessage, TaskMessage
from durable_ext.core.orchestrators import BUILT_IN_PREFIX, OrchestratorDefinition, is_registered, unknown_function_text
from durable_ext.core.payloads import not_json
from durable_ext.core.replay import Replay
from durable_ext.core.tasks import ActivityTask, SubOrchestrationTask
from durable_ext.errors import OrchestrationError
from durable_ext.failure import FailureDetails, exception_text, failure_from_exception

if TYPE_CHECKING:
    from durable_ext.core.context import OrchestrationContext

_STATUS_LIMIT_KB: Final = 16
_NOTHING_YET: Final = object()
_SURELY_SHORT: Final = _STATUS_LIMIT_KB * 256  # characters: even as surrogate pairs below the limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """What one waking of an instance has to store and send.

    Attributes:
        admission: What became of the messages; if its kind is not PLAY, what follows is empty but for `instance`.
        execution_id: The generation that `opening` and `decisions` belong to.
        opening: OrchestratorStarted and the received events.
        decisions: What the code decided, up to and including OrchestratorCompleted.
        messages: Timers, events, starts of children, the result for the parent.
        activities: Activities that were decided, in order.
        instance: Changes of the instance row.
        starts_generation: `opening` and `decisions` are a whole new history.
        left: The opening of the generation that this episode left by continue-as-new; a store forgets it with its history.
        left_execution_id: The execution id of that generation.
        is_terminal: The instance is over.
        custom_status_changed: `instance.custom_status` differs from what was stored before.
        can_run_locally: Rule R4 of design.md 5: nothing but activities was decided and nothing else is open.
        awaited_together: How many results it takes to wake the code, if all are of activities and none is a failure.
        failure: What the user's code raised, if that ended the instance; history keeps its text only.
    """

    admission: Admission
    execution_id: ExecutionId
    opening: tuple[HistoryEvent, ...] = ()
    decisions: tuple[HistoryEvent, ...] = ()
    messages: tuple[OutgoingMessage, ...] = ()
    activities: tuple[TaskMessage, ...] = ()
    instance: InstanceUpdate | None = None
    starts_generation: bool = False
    left: tuple[HistoryEvent, ...] = ()
    left_execution_id: ExecutionId | None = None
    is_terminal: bool = False
    custom_status_changed: bool = False
    can_run_locally: bool = False
    awaited_together: int = 1
    failure: FailureDetails | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFunctions:
    """What is registered where the episode runs; `None` = not checked."""

    orchestrator: Callable[[str], OrchestratorDefinition | None]
    activity_names: Callable[[], Collection[str]] | None = None
    orchestrator_names: Callable[[], Collection[str]] | None = None
    entity_names: Callable[[], Collection[str]] | None = None

    def objection(self, decisions: Iterable[Decision]) -> str | None:
        """Return the text of specs/execution-semantics.md 3.2 for the first decision that calls what is not registered."""
        found: set[str] = set()
        for decision in decisions:
            if isinstance(decision, ActivityTask):
                if decision.name not in found:
                    objection = self._missing_activity(decision.name)
                    if objection is not None:
                        return objection
                    found.add(decision.name)
            elif isinstance(decision, SubOrchestrationTask):
                if self.orchestrator(decision.name) is None:
                    return self.missing_orchestrator(decision.name)
            elif isinstance(decision, SendEvent) and decision.name.startswith(OPERATION_EVENT):
                objection = self._missing_entity(decision.target)
                if objection is not None:
                    return objection
        return None

    def _missing_activity(self, name: str) -> str | None:
        if self.activity_names is None or name.startswith(BUILT_IN_PREFIX):
            return None
        known = self.activity_names()
        return None if is_registered(name, known) else unknown_function_text(name, "activity", known)

    def missing_orchestrator(self, name: str) -> str:
        """Return the text for an orchestrator that is not registered."""
        known = self.orchestrator_names() if self.orchestrator_names is not None else ()
        return unknown_function_text(name, "orchestrator", known)

    def missing_definition(self, name: str) -> OrchestratorDefinition:
        """Return an orchestrator that fails with that text."""
        text = self.missing_orchestrator(name)

        def refuse(context: object) -> NoReturn:
            raise OrchestrationError(text)

        return OrchestratorDefinition(name=name, function=refuse)

    def _missing_entity(self, target: str) -> str | None:
        if self.entity_names is None or not is_entity_instance(target):
            return None
        known = self.entity_names()
        name = EntityId.get_entity_id(target).name
        return None if is_registered(name, known) else unknown_function_text(name, "entity", known)


def decide(replay: Replay, name: str, functions: KnownFunctions, objection: str | None) -> list[Action]:
    """Take the replay's pending decisions and return them as actions; the last one may end the generation.

    `name` is the orchestrator's; `objection` is a reason to fail that the caller has found. An end by termination,
    divergence or objection does not wait for open tasks, and lets only events to others (signals, lock releases) out.
    """
    pending = replay.pending
    if replay.divergence is not None:
        pending.clear()
        return [_failed(replay, str(replay.divergence), failure_from_exception(replay.divergence))]
    if replay.terminated is not None:
        return [*_take_sends(replay), _complete(replay, OrchestrationStatus.TERMINATED, replay.terminated.input)]
    if replay.suspended:
        return []
    objection = objection or functions.objection(pending.values())
    if objection is not None:
        replay.entities.release(replay)
        return [*_take_sends(replay), _raised(replay, name, OrchestrationError(objection))]
    actions: list[Action] = [
        decision if isinstance(decision, SendEvent) else decision.decide(replay) for decision in pending.values()
    ]
    pending.clear()
    if replay.ended and not replay.waits_for_tasks:
        actions.append(_ending(replay, name))
    return actions


def _take_sends(replay: Replay) -> list[Action]:
    sends: list[Action] = [decision for decision in replay.pending.values() if isinstance(decision, SendEvent)]
    replay.pending.clear()
    return sends


def _ending(replay: Replay, name: str) -> Action:
    if replay.error is not None:
        return _raised(replay, name, replay.error)
    converter = replay.converter
    if replay.next_input is not None:
        early: tuple[EventRaised, ...] = replay.mailbox.unclaimed() if replay.saves_events else ()
        text = converter.wrap_text(replay.next_input)
        return StartNewGeneration(task_id=replay.sequence, input=text, carried=(*early, *replay.carried))
    if replay.output is None:
        return _complete(replay, OrchestrationStatus.COMPLETED, None)
    try:
        result = converter.output_text(replay.output)
    except Exception as error:  # whatever user objects raise while they are serialized
        if isinstance(error, TypeError) and replay.options.fixes:
            named = not_json("orchestrator", name, replay.output, error)
            named.__cause__ = error
            return _raised(replay, name, named)
        return _raised(replay, name, error)
    return _complete(replay, OrchestrationStatus.COMPLETED, result)


def _raised(replay: Replay, name: str, error: BaseException) -> CompleteOrchestration:
    text = exception_text(error)
    if text and not isinstance(error, Exception):
        text = f"it raised {type(error).__name__}: {text}"  # SystemExit(3) would read as if 3 were an error
    text = text or str(type(error))
    return _failed(replay, f"Orchestrator function '{name}' failed: {text}", failure_from_exception(error))


def _failed(replay: Replay, text: str, failure: FailureDetails) -> CompleteOrchestration:
    return CompleteOrchestration(task_id=replay.sequence, status=OrchestrationStatus.FAILED, result=text, failure=failure)


def _complete(replay: Replay, status: OrchestrationStatus, result: str | None) -> CompleteOrchestration:
    return CompleteOrchestration(task_id=replay.sequence, status=status, result=result)


class StatusReporter:
    """The custom status of an instance as text, computed only when it may have changed. One owner: the live instance."""

    __slots__ = ("_seen", "text")

    def __init__(self, text: str | None) -> None:
        self.text = text
        self._seen: object = _NOTHING_YET

    def refresh(self, replay: Replay, context: OrchestrationContext) -> str | None:
        """Take over what user code reports now; return a reason to fail if it cannot be stored.

        A status that user code never set in this generation stays what it was: that of the generation before.
        """
        was_set, value = context.reported_status
        if not was_set or (value is self._seen and value.__class__ is str):
            return None
        # compat: 1.x sends no falsy status, which clears it (specs/sdk.md 7, row 14).
        if value is None or (not value and not replay.options.fixes):
            self.text, self._seen = None, value
            return None
        try:
            text = replay.converter.output_text(value)
        except Exception as error:  # whatever user objects raise while they are serialized
            return self._refused(replay, context, exception_text(error) or str(type(error)))
        if len(text) > _SURELY_SHORT:
            size = len(text.encode("utf-16-le", "surrogatepass")) // 1024
            if size > _STATUS_LIMIT_KB:
                why = (
                    f"The UTF-16 size of the JSON-serialized payload must not exceed {_STATUS_LIMIT_KB} KB. The current "
                    f"payload size is {size} KB."
                )
                return self._refused(replay, context, why, " Show less of it.")
        self.text, self._seen = text, value
        return None

    @staticmethod
    def _refused(replay: Replay, context: OrchestrationContext, why: str, advice: str = "") -> str:
        if not replay.options.fixes:  # compat: as the extension says it
            return why
        return f"The custom status set at {context.status_place} cannot be stored: {why}{advice}"
