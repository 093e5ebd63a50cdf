"""What a session holds back, and for how long."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from support.orchestration_bench import OrchestrationBench

from durable_ext.backends.protocol import BackendTraits
from durable_ext.core.events import TaskCompleted
from durable_ext.core.timestamps import Ticks
from durable_ext.runtime.session_writer import SessionWriter
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.clock import ManualClock

SPILL = timedelta(milliseconds=500)
NO_SESSION = cast(Any, None)
TRAITS = BackendTraits(
    kind="azure",
    max_timer=None,
    long_timer_step=None,
    max_events_per_write=99,
    stores_start_before_local_activity=True,
    keeps_trigger=True,
    delivers_in_order=False,
)


def writer_of(clock: ManualClock, traits: BackendTraits = TRAITS) -> SessionWriter:
    settings = WorkerSettings(local_activities="batched", local_activity_spill=SPILL)
    return SessionWriter(NO_SESSION, traits, settings, clock.monotonic)


async def test_results_wait_for_those_of_later_waves_until_the_spill_time_is_over() -> None:
    clock = ManualClock()
    writer = writer_of(clock)
    writer.add([TaskCompleted(timestamp=Ticks(1), task_scheduled_id=0)])

    waits = writer.holds_back(1)
    await clock.advance(SPILL)

    assert waits
    assert not writer.holds_back(1)


def test_results_wait_until_one_write_is_full() -> None:
    writer = writer_of(ManualClock())
    writer.add([TaskCompleted(timestamp=Ticks(1), task_scheduled_id=number) for number in range(90)])

    assert writer.holds_back(8)
    assert not writer.holds_back(9)


@pytest.mark.parametrize("keeps_trigger", [True, False])
def test_a_store_that_does_not_keep_the_start_message_gets_a_row_with_the_start(keeps_trigger: bool) -> None:
    traits = replace(TRAITS, keeps_trigger=keeps_trigger)
    writer = writer_of(ManualClock(), traits)
    bench = OrchestrationBench(lambda context: (yield context.call_activity("work")))
    episode = bench.start()
    writer.begin(episode)
    writer.add(episode.decisions)

    first = writer.next_write(episode, ())
    writer.add([TaskCompleted(timestamp=Ticks(1), task_scheduled_id=0)])
    second = writer.next_write(episode, ())

    assert (first.instance is None) is keeps_trigger
    assert second.instance is None, "one that says nothing new is not due yet"
