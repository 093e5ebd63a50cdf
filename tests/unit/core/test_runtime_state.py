"""History folded into a state."""

from __future__ import annotations

import pytest
from support.orchestration_bench import ME, START

from durable_ext.core.events import (
    ContinueAsNew,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    OrchestrationStatus,
    OrchestratorCompleted,
    OrchestratorStarted,
    TaskCompleted,
)
from durable_ext.core.runtime_state import RuntimeState

STARTED = ExecutionStarted(timestamp=START, instance=ME, name="orchestrator", input='"1"')
SUSPENDED = ExecutionSuspended(timestamp=START)
COMPLETED = ExecutionCompleted(timestamp=START, status=OrchestrationStatus.COMPLETED, result="7")


def test_nothing_is_pending() -> None:
    state = RuntimeState()

    assert state.status is OrchestrationStatus.PENDING
    assert (state.execution_id, state.name, state.input, state.output) == (None, None, None, None)


def test_a_start_makes_it_running() -> None:
    state = RuntimeState([OrchestratorStarted(timestamp=START), STARTED])

    assert state.status is OrchestrationStatus.RUNNING
    assert (state.execution_id, state.name, state.input) == ("first", "orchestrator", '"1"')


def test_a_second_start_counts_for_nothing() -> None:
    state = RuntimeState([STARTED])

    state.append(ExecutionStarted(timestamp=START, instance=ME, name="other"))

    assert state.name == "orchestrator"


def test_it_can_be_suspended_and_resumed() -> None:
    state = RuntimeState([STARTED])

    state.append(SUSPENDED)
    assert state.status is OrchestrationStatus.SUSPENDED
    state.append(SUSPENDED)
    state.append(ExecutionResumed(timestamp=START))

    assert state.status is OrchestrationStatus.RUNNING


def test_an_end_is_final() -> None:
    state = RuntimeState([STARTED, COMPLETED])

    state.extend([SUSPENDED, ContinueAsNew(timestamp=START), TaskCompleted(timestamp=START, task_scheduled_id=0)])

    assert (state.status, state.output, state.is_terminal) == (OrchestrationStatus.COMPLETED, "7", True)


def test_continue_as_new_is_no_end_for_good() -> None:
    state = RuntimeState([STARTED, ContinueAsNew(timestamp=START, result='"2"')])

    assert state.status is OrchestrationStatus.CONTINUED_AS_NEW
    assert not state.is_terminal


def test_an_event_that_changes_nothing_is_kept() -> None:
    state = RuntimeState([STARTED])
    result = TaskCompleted(timestamp=START, task_scheduled_id=0)

    state.append(result)

    assert state.events == [STARTED, result]


def test_an_episode_at_the_end_goes_on() -> None:
    state = RuntimeState([STARTED, OrchestratorCompleted(timestamp=START)])

    state.reopen()

    assert state.events == [STARTED]


def test_what_does_not_end_with_an_episode_cannot_go_on() -> None:
    with pytest.raises(ValueError, match="ends otherwise"):
        RuntimeState([STARTED]).reopen()
