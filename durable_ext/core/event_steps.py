"""What each kind of history event does to a replay: one small step for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from durable_ext.core.events import (
    EventRaised,
    EventSent,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    HistoryEvent,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from durable_ext.core.tasks import ActivityTask
from durable_ext.errors import TaskFailedError

if TYPE_CHECKING:
    from durable_ext.core.replay import Replay

_CHECKPOINT_TIMER: Final = -100
"""The id of the timer by which the provider cuts an episode whose checkpoint is too large (specs/azure-storage.md 8.9)."""


def while_held(replay: Replay, event: HistoryEvent) -> None:
    """While suspended only resume and terminate count, the rest waits; after terminate nothing counts."""
    if replay.terminated is not None:
        return
    if isinstance(event, ExecutionTerminated):
        replay.terminate(event)
    elif isinstance(event, ExecutionResumed):
        replay.held = replay.suspended = False
        waiting, replay.waiting = replay.waiting, []
        for each in waiting:  # neither suspension nor termination is among them
            step = STEPS.get(each.__class__)
            if step is not None:
                step(replay, each)
    elif not isinstance(event, ExecutionSuspended):
        replay.waiting.append(event)


# The life of the generation.


def _orchestrator_started(replay: Replay, event: OrchestratorStarted) -> None:
    if event.timestamp > replay.now:
        replay.now = event.timestamp


def _execution_started(replay: Replay, event: ExecutionStarted) -> None:
    replay.begin(event)


def _execution_suspended(replay: Replay, event: ExecutionSuspended) -> None:
    replay.held = replay.suspended = True


def _execution_terminated(replay: Replay, event: ExecutionTerminated) -> None:
    replay.terminate(event)


# Decisions found in history.


def _task_scheduled(replay: Replay, event: TaskScheduled) -> None:
    decision = replay.pending.pop(event.event_id, None)
    if not isinstance(decision, ActivityTask) or decision.name != event.name:
        replay.check(event, decision)


def _scheduled(replay: Replay, event: HistoryEvent) -> None:
    replay.check(event, replay.pending.pop(event.event_id, None))


def _timer_created(replay: Replay, event: TimerCreated) -> None:
    if event.event_id != _CHECKPOINT_TIMER:
        _scheduled(replay, event)


def _event_sent(replay: Replay, event: EventSent) -> None:
    replay.check(event, replay.pending.pop(event.event_id, None))
    replay.entities.sent(event)


# Results.


def _task_completed(replay: Replay, event: TaskCompleted | SubOrchestrationInstanceCompleted) -> None:
    task = replay.open_tasks.pop(event.task_scheduled_id, None)
    if task is None:
        replay.defer(event.task_scheduled_id, event)
        return
    replay.succeed(task, event.result)
    if not replay.run_on(event) and replay.ended:
        replay.over_since = replay.now


def _task_failed(replay: Replay, event: TaskFailed | SubOrchestrationInstanceFailed) -> None:
    task = replay.open_tasks.pop(event.task_scheduled_id, None)
    if task is None:
        replay.defer(event.task_scheduled_id, event)
        return
    # compat: the 1.x text, with its space before the line break and the word None (specs/sdk.md 4.2).
    task.fail(
        TaskFailedError(
            f"{event.reason} \n {event.details}",
            task_name=getattr(task, "name", None),
            reason=event.reason,
            details=event.details,
            failure=event.failure,
        )
    )
    if not replay.run_on(event) and replay.ended:
        replay.over_since = replay.now


def _timer_fired(replay: Replay, event: TimerFired) -> None:
    task = replay.open_tasks.pop(event.timer_id, None)
    if task is None:
        replay.defer(event.timer_id, event)
        return
    if getattr(task, "is_cancelled", False):  # a host that polls for call_http ends other tasks (specs/sdk.md 7, row 36)
        replay.cancelled_timers -= 1
    task.succeed(None)
    if not replay.run_on(event) and replay.ended:
        replay.over_since = replay.now


def _event_raised(replay: Replay, event: EventRaised) -> None:
    if replay.next_input is not None:
        replay.carried.append(event)
        return
    if not replay.entities.answered(event):
        task = replay.mailbox.receive(event)
        if task is None:
            return
        replay.succeed(task, event.input)
    replay.run_on(event)


STEPS: Final[dict[type[HistoryEvent], Callable[[Any, Any], None]]] = {
    OrchestratorStarted: _orchestrator_started,
    ExecutionStarted: _execution_started,
    ExecutionSuspended: _execution_suspended,
    ExecutionTerminated: _execution_terminated,
    TaskScheduled: _task_scheduled,
    SubOrchestrationInstanceCreated: _scheduled,
    TimerCreated: _timer_created,
    EventSent: _event_sent,
    TaskCompleted: _task_completed,
    SubOrchestrationInstanceCompleted: _task_completed,
    TaskFailed: _task_failed,
    SubOrchestrationInstanceFailed: _task_failed,
    TimerFired: _timer_fired,
    EventRaised: _event_raised,
}
