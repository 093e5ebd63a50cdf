"""What a store refuses for its size would come back for ever: the checkpoint that fails an instance instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from durable_ext.backends.execution_ids import new_execution_id
from durable_ext.backends.protocol import Checkpoint
from durable_ext.core.actions import CompleteOrchestration
from durable_ext.core.checkpoint import Outbox, instance_update
from durable_ext.core.events import (
    ExecutionStarted,
    HistoryEvent,
    OrchestrationStatus,
    OrchestratorCompleted,
    OrchestratorStarted,
)
from durable_ext.core.timestamps import Ticks
from durable_ext.errors import BackendError, PayloadTooLargeError, RequestRefusedError
from durable_ext.failure import failure_from_exception


def is_too_large(error: BaseException) -> bool:
    """Whether a store has refused a checkpoint for its size; its session goes on, and may be given less to store."""
    return isinstance(error, PayloadTooLargeError) or (isinstance(error, RequestRefusedError) and error.is_too_large)


def failing_instead(
    refused: Checkpoint,
    started: ExecutionStarted,
    events: Sequence[HistoryEvent],
    error: BackendError,
    *,
    now: Ticks,
) -> Checkpoint:
    """Return a checkpoint in place of the refused one: it consumes the same messages and ends the instance as failed.

    Nothing else of the refused one is kept but the start of a generation. `events` are all that the instance has decided,
    stored or not; the end gets an id beyond theirs. A parent hears of the failure. The custom status stays.
    """
    failure = failure_from_exception(error)
    outbox = Outbox(started=started, now=now, store_inputs=False, new_execution_id=new_execution_id, messages=[])
    outbox.add(
        CompleteOrchestration(
            task_id=1 + max((event.event_id for event in events), default=-1),
            status=OrchestrationStatus.FAILED,
            result=f"Orchestrator function '{started.name}' failed: {error}",
            failure=failure,
        )
    )
    is_new = any(isinstance(event, ExecutionStarted) for event in refused.new_events)
    opening: tuple[HistoryEvent, ...] = (OrchestratorStarted(timestamp=now), *((started,) if is_new else ()))
    decisions = (*outbox.events, OrchestratorCompleted(timestamp=now))
    shown = refused.instance.custom_status if refused.instance is not None else None
    return replace(
        refused,
        new_events=(*opening, *decisions),
        messages=tuple(outbox.messages),
        activities=(),
        instance=instance_update(
            (*opening, *decisions), execution_id=refused.execution_id, custom_status=shown, last_updated_at=now
        ),
    )
