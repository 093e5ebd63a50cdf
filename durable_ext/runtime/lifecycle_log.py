"""Log lines of what happens to an instance: started, completed, failed, terminated; one line a fact, none in replay."""

from __future__ import annotations

import logging
from typing import Final

from durable_ext.core.episode import Episode
from durable_ext.core.events import (
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    OrchestrationStatus,
)
from durable_ext.failure import FailureDetails

log = logging.getLogger("durable_ext.runtime.lifecycle")

_STARTS: Final = (ExecutionStarted, ExecutionSuspended, ExecutionResumed)


def log_arrival(episode: Episode, instance_id: str) -> None:
    """Say what an episode received: a start, a suspension, a resumption."""
    if not log.isEnabledFor(logging.INFO):
        return
    for event in episode.opening:
        if not isinstance(event, _STARTS):
            continue
        if isinstance(event, ExecutionStarted):
            log.info(
                "%s: orchestration '%s' started.",
                instance_id,
                event.name,
                extra={"event": "orchestration_started", "instance_id": instance_id, "function": event.name},
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


def log_left(episode: Episode, instance_id: str) -> None:
    """Say why this worker leaves an instance to others, if it must."""
    reason = episode.admission.reason
    if reason is not None:
        log.warning(
            "%s: left to another worker: %s. Start one that takes it, or change defaultVersion or versionMatchStrategy.",
            instance_id,
            reason,
            extra={"event": "orchestration_left", "instance_id": instance_id},
        )


def log_end(episode: Episode, name: str, instance_id: str) -> None:
    """Say how an instance ended, once that is stored; a failure with the stack of the user's code."""
    for event in reversed(episode.decisions):
        if isinstance(event, ExecutionCompleted):
            _log_completion(event, episode.failure, name, instance_id)
            return


def _log_completion(event: ExecutionCompleted, failure: FailureDetails | None, name: str, instance_id: str) -> None:
    where = {"instance_id": instance_id, "function": name}
    if event.status is OrchestrationStatus.FAILED:
        stack = failure.stack_trace if failure is not None else None
        log.error(
            "%s: orchestration '%s' failed. %s%s",
            instance_id,
            name,
            event.result or "",
            f"\n{stack.rstrip()}" if stack else "",
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
        log.info(
            "%s: orchestration '%s' completed.", instance_id, name, extra={"event": "orchestration_completed", **where}
        )
