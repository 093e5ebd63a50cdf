"""Log lines of what happens to instances: started, completed, failed, terminated, failed operations of entities.

One line a fact, none in replay.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import EntityRequest
from durable_ext.core.episode import Episode
from durable_ext.core.events import (
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    HistoryEvent,
    OrchestrationStatus,
    OrchestratorCompleted,
    TaskFailed,
)
from durable_ext.core.messages import ReceivedMessage
from durable_ext.errors import BackendError, DeadlyOperationError
from durable_ext.failure import FailureDetails, failure_from_exception
from durable_ext.runtime.registry import FunctionKind

log = logging.getLogger("durable_ext.runtime.lifecycle")

_DETAILS: Final = re.compile(r' \n (?:\{"\$type":|Message: |None\b)')
_MOST_REFUSED: Final = 10_000
_MOST_REASONS: Final = 1_000  # they name versions, which clients choose
_STARTS: Final = (ExecutionStarted, ExecutionSuspended, ExecutionResumed)


def log_arrival(opening: Sequence[HistoryEvent], instance_id: str) -> None:
    """Say what an episode received, before its code runs: a start, a next generation, a suspension, a resumption."""
    if not log.isEnabledFor(logging.INFO):
        return
    follows = isinstance(opening[-1], OrchestratorCompleted)  # the rest of the dispatch that opened the generation
    for event in opening:
        if not isinstance(event, _STARTS):
            continue
        if isinstance(event, ExecutionStarted):
            log.info(
                "%s: orchestration '%s' %s.",
                instance_id,
                event.name,
                "continued as new" if follows else "started",
                extra={
                    "event": "orchestration_continued_as_new" if follows else "orchestration_started",
                    "instance_id": instance_id,
                    "function": event.name,
                },
            )
        else:
            what = "suspended" if isinstance(event, ExecutionSuspended) else "resumed"
            log.info(
                "%s: orchestration %s. Reason: %s",
                instance_id,
                what,
                event.reason or "(none)",
                extra={"event": f"orchestration_{what}", "instance_id": instance_id},
            )


def log_dropped(dropped: Sequence[ReceivedMessage], instance_id: str) -> None:
    """Say which request of a message that was dropped is not carried out; copies and late results are dropped silently.

    Newer Durable Task cores rewind by a message that makes the worker write a new history (specs/azure-storage.md 9.5);
    clients of this hub rewind by rewriting rows. What of the message reaches parents and children is not known.
    """
    for received in dropped:
        event = received.message.event
        if isinstance(event, ExecutionRewound):
            log.warning(
                "%s: not rewound: a message asked for that, as newer Durable Task clients and workers send it, and this "
                "worker cannot do it that way. Rewind it by this app's client or its management API. Reason: %s",
                instance_id,
                event.reason or "(none)",
                extra={
                    "event": "rewind_dropped",
                    "instance_id": instance_id,
                    "message_id": received.message_id,
                    "parent_execution_id": event.parent_execution_id,
                },
            )


class LeftToOthers:
    """Says why this worker leaves instances and activities to others: once for each reason, then at DEBUG."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, None] = OrderedDict()
        self._refused: set[str] = set()

    def tell(self, instance_id: str, reason: str | None) -> None:
        """Log a reason; nothing if there is none."""
        if reason is None:
            return
        log.log(
            logging.DEBUG if reason in self._told else logging.WARNING,
            "%s: left to another worker: %s.",
            instance_id,
            reason,
            extra={"event": "orchestration_left", "instance_id": instance_id},
        )
        self._told[reason] = None
        self._told.move_to_end(reason)
        if len(self._told) > _MOST_REASONS:
            self._told.popitem(last=False)

    def tell_refused(self, instance_id: str, error: BackendError) -> None:
        """Log that the store refuses what an instance has to store; once for each instance, then at DEBUG."""
        level = logging.DEBUG if instance_id in self._refused else logging.ERROR
        log.log(
            level,
            "%s: cannot be stored: %s It is kept and tried again, with pauses that grow to ten minutes. Terminate or "
            "purge the instance if it cannot be helped.",
            instance_id,
            error,
            extra={"event": "checkpoint_refused", "instance_id": instance_id},
        )
        if len(self._refused) < _MOST_REFUSED:
            self._refused.add(instance_id)

    def tell_not_served(self, instance_id: str, kind: FunctionKind, name: str) -> None:
        """Log that a function of the app is off here."""
        self.tell(instance_id, f"the {kind} '{name}' is not served here. Start a host that serves it")


def log_failed_operation(entity: EntityId, operation: str | None, error: BaseException) -> None:
    """Say that an entity operation failed, with the stack of the user's code: nobody waits for a signal's result."""
    failure = failure_from_exception(error)
    log.error(
        "%s: operation '%s' failed. %s: %s%s",
        entity,
        operation,
        failure.error_type,
        failure.error_message,
        f"\n{failure.stack_trace.rstrip()}" if failure.stack_trace else "",
        extra={"event": "entity_operation_failed", "instance_id": str(entity), "operation": operation},
    )


def log_deadly_operation(entity: EntityId, request: EntityRequest, error: DeadlyOperationError) -> None:
    """Say that an operation is never run again: its caller is told, but of a signal this is all that is left."""
    log.error(
        "%s: %s It was %s with the id '%s'.",
        entity,
        error,
        "a signal, which is dropped," if request.is_signal else f"called by '{request.parent}'",
        request.request_id,
        extra={
            "event": "operation_deadly",
            "instance_id": str(entity),
            "operation": request.operation,
            "request_id": request.request_id,
        },
    )


def log_end(episode: Episode, history: Sequence[HistoryEvent], name: str, instance_id: str) -> None:
    """Say how an instance ended, once that is stored; a failure with the stacks of the user's code, activities included."""
    for event in reversed(episode.decisions):
        if isinstance(event, ExecutionCompleted):
            failed = event.status is OrchestrationStatus.FAILED
            stacks = _stacks(episode.failure) + _task_stack(history, event) if failed else ""
            _log_completion(event, stacks, name, instance_id)
            return


def _without_details(text: str) -> str:
    """Return the reasons of a failure without what follows them for programs: details in JSON, stacks of children."""
    return _DETAILS.split(text, maxsplit=1)[0]


def _stacks(failure: FailureDetails | None) -> str:
    """Return the stack of the user's code and that of each cause, every line of it after a line break.

    A cause without a stack whose text is quoted by what it caused adds nothing.
    """
    if failure is None:
        return ""
    parts = [failure.stack_trace or ""]
    effect, cause = failure, failure.inner_failure
    while cause is not None:
        if cause.stack_trace or cause.error_message not in effect.error_message:
            parts += [f"Caused by {cause.error_type}: {_without_details(cause.error_message)}", cause.stack_trace or ""]
        effect, cause = cause, cause.inner_failure
    return "".join(f"\n{part.rstrip()}" for part in parts if part)


def _task_stack(history: Sequence[HistoryEvent], end: ExecutionCompleted) -> str:
    """Return the stack of the last failed activity whose text the instance failed with; as `_stacks`."""
    reason = end.result or ""
    for event in reversed(history):
        failure = event.failure if isinstance(event, TaskFailed) else None
        if failure is not None and failure.stack_trace and failure.error_message and failure.error_message in reason:
            return f"\nCaused by {failure.error_type}: {_without_details(failure.error_message)}{_stacks(failure)}"
    return ""


def _log_completion(event: ExecutionCompleted, stacks: str, name: str, instance_id: str) -> None:
    where = {"instance_id": instance_id, "function": name}
    if event.status is OrchestrationStatus.FAILED:
        log.error(
            "%s: orchestration '%s' failed. %s%s",
            instance_id,
            name,
            _without_details(event.result or ""),
            stacks,
            extra={"event": "orchestration_failed", **where},
        )
    elif event.status is OrchestrationStatus.TERMINATED:
        log.warning(
            "%s: orchestration '%s' was terminated. Reason: %s",
            instance_id,
            name,
            event.result or "(none)",
            extra={"event": "orchestration_terminated", **where},
        )
    else:
        log.info("%s: orchestration '%s' completed.", instance_id, name, extra={"event": "orchestration_completed", **where})
