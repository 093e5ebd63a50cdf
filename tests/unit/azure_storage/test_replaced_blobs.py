"""Which payload blobs of a replaced generation can be deleted: none that the instance row still refers to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from durable_ext.backends.azure_storage.history_table import HistoryCursor
from durable_ext.backends.azure_storage.names import property_blob
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.instances import InstanceUpdate
from durable_ext.core.messages import ExecutionId
from durable_ext.core.timestamps import Ticks

INPUT = property_blob("@counter@one", "0000000000000001", "ExecutionStarted", "0123ABCD", "Input")
REASON = property_blob("main", "0000000000000003", "ExecutionResumed", "0123ABCD", "Reason")
RESULT = property_blob("main", "0000000000000004", "TaskCompleted", "0123ABCD", "Result")
ALL = frozenset({INPUT, REASON, RESULT})
ROW = InstanceUpdate(
    execution_id=ExecutionId("e2"),
    last_updated_at=Ticks(0),
    custom_status=None,
    status=OrchestrationStatus.RUNNING,
    input="5",
)


def test_a_checkpoint_without_a_row_leaves_what_the_row_shows() -> None:
    cursor = HistoryCursor()

    assert cursor.out_of_use(ALL, None) == {RESULT}
    assert cursor.out_of_use(frozenset(), None) == frozenset()


def test_the_input_of_a_replaced_generation_goes_when_the_row_is_written() -> None:
    cursor = HistoryCursor()
    cursor.out_of_use(frozenset({INPUT}), None)

    assert cursor.out_of_use(frozenset(), ROW) == {INPUT}
    assert cursor.out_of_use(frozenset(), ROW) == frozenset()


@pytest.mark.parametrize("is_written_at_once", [True, False])
def test_a_reason_stays_until_the_row_shows_another_output(is_written_at_once: bool) -> None:
    cursor = HistoryCursor()
    first = cursor.out_of_use(ALL, ROW if is_written_at_once else None)

    assert first | cursor.out_of_use(frozenset(), ROW) == {INPUT, RESULT}
    assert cursor.out_of_use(frozenset(), replace(ROW, output="over")) == {REASON}
