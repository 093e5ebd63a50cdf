"""What a history says of its row: the same as when it is folded."""

from __future__ import annotations

from itertools import product

import pytest
from support.orchestration_bench import ME, START

from durable_ext.core.events import (
    ContinueAsNew,
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    HistoryEvent,
    OrchestrationStatus,
)
from durable_ext.core.runtime_state import RuntimeState, started_in, status_of

STARTED = ExecutionStarted(timestamp=START, instance=ME, name="orchestrator")
OTHER = ExecutionStarted(timestamp=START, instance=ME, name="other")
SUSPENDED = ExecutionSuspended(timestamp=START)
RESUMED = ExecutionResumed(timestamp=START)
CONTINUED = ContinueAsNew(timestamp=START)
ENDED = ExecutionCompleted(timestamp=START, status=OrchestrationStatus.FAILED)
QUIET = EventRaised(timestamp=START, name="n")


@pytest.mark.parametrize("length", range(6))
def test_a_look_at_a_history_says_what_folding_it_says(length: int) -> None:
    differ: list[tuple[HistoryEvent, ...]] = []
    for history in product([STARTED, OTHER, SUSPENDED, RESUMED, CONTINUED, ENDED, QUIET], repeat=length):
        folded = RuntimeState(history)
        if status_of(history) is not folded.status or started_in(history) is not folded.started:
            differ.append(history)

    assert differ == []


@pytest.mark.parametrize(
    ("history", "status"),
    [
        ([], OrchestrationStatus.PENDING),
        ([SUSPENDED, STARTED, QUIET], OrchestrationStatus.RUNNING),
        ([STARTED, SUSPENDED, QUIET], OrchestrationStatus.SUSPENDED),
        ([STARTED, SUSPENDED, QUIET, RESUMED], OrchestrationStatus.RUNNING),
        ([STARTED, SUSPENDED, ENDED, RESUMED], OrchestrationStatus.FAILED),
    ],
)
def test_the_status_is_that_of_the_last_turn_before_the_end(
    history: list[HistoryEvent], status: OrchestrationStatus
) -> None:
    assert status_of(history) is status
