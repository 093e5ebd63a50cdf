"""What is remembered of the rows that this process wrote."""

from __future__ import annotations

import gc

from durable_ext.backends.azure_storage.instance_watch import InstanceWatch
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.instances import InstanceRow, InstanceUpdate
from durable_ext.core.messages import ExecutionId, InstanceId
from durable_ext.core.timestamps import Ticks

ONE = InstanceId("one")
LARGE = '"' + "x" * 100_000 + '"'


def created_row() -> InstanceRow:
    return InstanceRow(
        instance_id=ONE,
        execution_id=ExecutionId("e"),
        name="big",
        status=OrchestrationStatus.PENDING,
        created_at=Ticks(1),
        last_updated_at=Ticks(1),
    )


def ended(output: str) -> InstanceUpdate:
    return InstanceUpdate(
        execution_id=ExecutionId("e"),
        last_updated_at=Ticks(2),
        custom_status=None,
        status=OrchestrationStatus.COMPLETED,
        output=output,
    )


def is_held(text: str) -> bool:
    return any(isinstance(each, InstanceUpdate) and each.output is text for each in gc.get_objects())


def test_a_large_output_is_not_kept_when_nobody_waits() -> None:
    watch, output = InstanceWatch(), LARGE + " "
    watch.row_created(ONE, Ticks(1), created_row())

    watch.row_written(ONE, ended(output))

    assert not is_held(output)
    assert watch.look(created_row()) is None  # it has changed, and what it is now must be read


def test_a_waiting_client_gets_a_large_output_without_reading_and_then_it_is_forgotten() -> None:
    watch, output = InstanceWatch(), LARGE + "  "
    watch.row_created(ONE, Ticks(1), created_row())
    wakeup = watch.begin(ONE)

    watch.row_written(ONE, ended(output))
    seen = watch.look(created_row())
    watch.end(ONE, wakeup)

    assert seen is not None
    assert seen.output is output
    assert not is_held(output)


def test_a_small_output_is_kept_for_those_who_wait_later() -> None:
    watch = InstanceWatch()
    watch.row_created(ONE, Ticks(1), created_row())

    watch.row_written(ONE, ended('"done"'))

    now = watch.look(created_row())
    assert now is not None
    assert now.output == '"done"'
