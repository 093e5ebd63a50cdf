"""What a history says of its row: the same as when it is folded."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.orchestration_bench import ME, START

from durable_ext.backends.azure_storage.row_repair import started_in, status_of
from durable_ext.core.events import (
    ContinueAsNew,
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    HistoryEvent,
    OrchestrationStatus,
    OrchestratorCompleted,
    OrchestratorStarted,
)
from durable_ext.core.runtime_state import RuntimeState

STARTED = ExecutionStarted(timestamp=START, instance=ME, name="orchestrator")
OTHER = ExecutionStarted(timestamp=START, instance=ME, name="other")
SUSPENDED = ExecutionSuspended(timestamp=START)
RESUMED = ExecutionResumed(timestamp=START)
ENDS = [ExecutionCompleted(timestamp=START, status=status) for status in OrchestrationStatus if status.is_terminal]
CONTINUED = ContinueAsNew(timestamp=START)
QUIET = [
    OrchestratorStarted(timestamp=START),
    OrchestratorCompleted(timestamp=START),
    EventRaised(timestamp=START, name="n"),
]
HISTORIES = st.lists(st.sampled_from([STARTED, OTHER, SUSPENDED, RESUMED, CONTINUED, *ENDS, *QUIET]), max_size=12)


@given(HISTORIES)
@example([*QUIET, STARTED, *QUIET])
@example([STARTED, SUSPENDED, *QUIET, RESUMED, SUSPENDED])
def test_a_look_at_a_history_says_what_folding_it_says(history: list[HistoryEvent]) -> None:
    folded = RuntimeState(history)

    assert status_of(history) is folded.status
    assert started_in(history) is folded.started


@pytest.mark.parametrize(
    ("history", "status"),
    [
        ([], OrchestrationStatus.PENDING),
        (QUIET, OrchestrationStatus.PENDING),
        ([SUSPENDED, STARTED, *QUIET], OrchestrationStatus.RUNNING),
        ([STARTED, SUSPENDED, *QUIET], OrchestrationStatus.SUSPENDED),
        ([STARTED, SUSPENDED, *QUIET, RESUMED, *QUIET], OrchestrationStatus.RUNNING),
        ([STARTED, SUSPENDED, ENDS[0], RESUMED], ENDS[0].status),
    ],
)
def test_the_status_is_that_of_the_last_turn_before_the_end(
    history: list[HistoryEvent], status: OrchestrationStatus
) -> None:
    assert status_of(history) is status
