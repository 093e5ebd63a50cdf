"""W6: what a cold instance with a long history costs, replay alone and with the store around it."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Literal

from durable_ext.aio.clock import SystemClock
from durable_ext.backends.execution_ids import new_execution_id
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.events import OrchestrationStatus, TaskCompleted
from durable_ext.core.live import LiveOrchestration
from durable_ext.core.messages import InstanceId, OrchestrationInstance
from durable_ext.core.orchestrators import ReplayOptions
from durable_ext.runtime.ticks import tick_source
from durable_ext.testing.task_hub import RunningTaskHub, run_task_hub
from tests.bench.functions import bench_registry
from tests.bench.report import emit, own_rss_mb
from tests.bench.workloads import BenchRun


async def pure_replay(run: BenchRun) -> None:
    """From events in memory to the next action: a finished `sequence` without its last result."""
    registry, now = bench_registry(), tick_source(SystemClock())
    for count in (2, 25, 250, 1250, 2500):
        instance_id = await run.client.start("sequence", count)
        await run.client.wait_for_completion(instance_id)
        history = list(await run.client.get_history(instance_id))
        at = max(i for i, event in enumerate(history) if isinstance(event, TaskCompleted))
        past, last = history[: at - 1], history[at]
        assert isinstance(last, TaskCompleted)
        values = []
        for _ in range(run.repeats):
            began = time.perf_counter()
            live = LiveOrchestration(
                instance=OrchestrationInstance(instance_id=InstanceId(instance_id)),
                history=past,
                custom_status=None,
                lookup=registry.orchestrator,
                converter=DataConverter(),
                entity_codec=JsonEntityCodec(),
                options=ReplayOptions(),
                new_execution_id=new_execution_id,
            )
            episode = live.play_results((last,), now)
            values.append((time.perf_counter() - began) * 1e3)
            assert episode.is_terminal, episode
        median = sorted(values)[len(values) // 2]
        emit(
            run.peer,
            f"W6 replay alone, {len(history)} events",
            "ms",
            values,
            us_per_event=round(median / len(history) * 1e3, 2),
        )


async def cold_start(path: Path, synchronous: Literal["FULL", "NORMAL"], peer: str, repeats: int) -> None:
    """From the message that wakes an instance with 10 000 events to its end, nothing in memory, through the store."""
    values = []
    for repeat in range(repeats):
        file = path / f"cold{repeat}.db"
        async with run_task_hub(file, bench_registry(), synchronous=synchronous) as hub:
            instance_id = await hub.client.start("sequence_then_event", 2500)
            await _until_it_waits(hub, instance_id)
        async with run_task_hub(file, bench_registry(), synchronous=synchronous) as hub:
            began = time.perf_counter()
            await hub.client.raise_event(instance_id, "ev")
            status = await hub.client.wait_for_completion(instance_id)
            values.append((time.perf_counter() - began) * 1e3)
            assert status.runtime_status is OrchestrationStatus.COMPLETED, status
            events = len(await hub.client.get_history(instance_id))
    median = sorted(values)[len(values) // 2]
    emit(
        peer,
        f"W6 cold replay through the store, {events} events",
        "ms",
        values,
        us_per_event=round(median / events * 1e3, 2),
        rss_mb=round(own_rss_mb()),
    )


async def _until_it_waits(hub: RunningTaskHub, instance_id: str) -> None:
    row = None
    while row is None or row.custom_status is None:
        row = await hub.backend.instances.wait_for_change(InstanceId(instance_id), row, timedelta(seconds=10))
