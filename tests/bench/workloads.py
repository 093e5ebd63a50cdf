"""Workloads LAT and W1 to W7 on our engine: worker and client in one process, every result checked."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from durable_ext.client.client import DurableClient
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus
from durable_ext.testing.task_hub import RunningTaskHub
from tests.bench.functions import GREETINGS
from tests.bench.report import emit, own_cpu_seconds, own_rss_mb

_LONG = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRun:
    """A hub to measure; `repeats` of each workload, fewer of long ones."""

    hub: RunningTaskHub
    peer: str
    repeats: int

    @property
    def client(self) -> DurableClient:
        return self.hub.client


async def run_one(client: DurableClient, name: str, value: object, expected: object) -> float:
    """Run an orchestration, check its output, return the seconds from start call to result."""
    began = time.perf_counter()
    instance_id = await client.start(name, value)
    status = await client.wait_for_completion(instance_id, timeout=_LONG)
    seconds = time.perf_counter() - began
    assert status.runtime_status is OrchestrationStatus.COMPLETED, status
    assert status.output == expected, status.output
    return seconds


async def warm_up(run: BenchRun) -> None:
    await run_one(run.client, "hello5", None, GREETINGS)
    await asyncio.gather(*(run_one(run.client, "hello5", None, GREETINGS) for _ in range(20)))


async def latency(run: BenchRun) -> None:
    values = []
    for _ in range(30):
        await asyncio.sleep(0.05)
        values.append(await run_one(run.client, "hello5", None, GREETINGS) * 1e3)
    emit(run.peer, "LAT single idle hello5", "ms", values)


async def hello5(run: BenchRun) -> None:
    for count in (200, 2000):
        rates, cpu = [], []
        for _ in range(run.repeats):
            cpu_before, began = own_cpu_seconds(), time.perf_counter()
            await asyncio.gather(*(run_one(run.client, "hello5", None, GREETINGS) for _ in range(count)))
            rates.append(count / (time.perf_counter() - began))
            cpu.append((own_cpu_seconds() - cpu_before) / count * 1e3)
        emit(
            run.peer,
            f"W1 hello5 x{count}",
            "orch/s",
            rates,
            cpu_ms_per_orch=round(sorted(cpu)[len(cpu) // 2], 3),
            rss_mb=round(own_rss_mb()),
        )


async def fan_out(run: BenchRun) -> None:
    for count in (100, 1000, 5000):
        rates = [count / await run_one(run.client, "fan", count, count) for _ in range(run.repeats)]
        emit(run.peer, f"W2 fan-out {count}", "act/s", rates, rss_mb=round(own_rss_mb()))


async def sequential(run: BenchRun) -> None:
    medians = {}
    for count in (100, 1000, 3000):
        rates = [count / await run_one(run.client, "sequence", count, count) for _ in range(run.repeats)]
        line = emit(run.peer, f"W3 sequential {count}", "act/s", rates, rss_mb=round(own_rss_mb()))
        medians[count] = float(str(line["med"]))
    emit(run.peer, "W3 growth factor 3000/100", "ratio", [medians[3000] / medians[100]])


async def signals(run: BenchRun) -> None:
    for entities, count in ((1, 1000), (100, 2000)):
        rates = []
        for repeat in range(run.repeats):
            targets = [EntityId("Counter", f"r{repeat}e{entities}n{i}") for i in range(entities)]
            began = time.perf_counter()
            await _bounded([_signal(run.client, targets[i % entities]) for i in range(count)], 32)
            await _until_sum(run.client, targets, count)
            rates.append(count / (time.perf_counter() - began))
        emit(run.peer, f"W4 {count} signals on {entities} entities", "signals/s", rates)


def _signal(client: DurableClient, target: EntityId) -> Callable[[], Awaitable[None]]:
    return lambda: client.signal_entity(target, "add", 1)


async def _bounded(calls: Sequence[Callable[[], Awaitable[None]]], limit: int) -> None:
    waiting = iter(calls)

    async def work() -> None:
        for call in waiting:
            await call()

    await asyncio.gather(*(work() for _ in range(limit)))


async def _until_sum(client: DurableClient, targets: Sequence[EntityId], expected: int) -> None:
    while True:
        snapshots = [await client.read_entity(target) for target in targets]
        if sum(snapshot.state or 0 for snapshot in snapshots) == expected:
            return
        await asyncio.sleep(0.002)


async def ping_pong(run: BenchRun) -> None:
    rates = []
    for _ in range(run.repeats):
        client = run.client
        instance_id = await client.start("ping_pong", 50)
        began = time.perf_counter()
        for i in range(50):
            await client.raise_event(instance_id, "ev", i)
            await _until_status(run, instance_id, i)
        rates.append(50 / (time.perf_counter() - began))
        status = await client.wait_for_completion(instance_id, timeout=_LONG)
        assert status.output == 50, status
    emit(run.peer, "W5 ping-pong 50 events", "round trips/s", rates)


async def _until_status(run: BenchRun, instance_id: str, seen: int) -> None:
    instances = run.hub.backend.instances
    row = None
    while True:
        row = await instances.wait_for_change(instance_id, row, timedelta(seconds=10))  # type: ignore[arg-type]
        if row is not None and row.custom_status is not None and json.loads(row.custom_status) == {"seen": seen}:
            return
        assert row is not None
        assert seen == 49 or not row.status.is_terminal, row


async def tree(run: BenchRun) -> None:
    values = [await run_one(run.client, "tree", 10, 100) for _ in range(run.repeats)]
    emit(run.peer, "W7 10x10 sub-orchestrations (111 orch, 100 act)", "s", values)


WORKLOADS: dict[str, Callable[[BenchRun], Awaitable[None]]] = {
    "LAT": latency,
    "W1": hello5,
    "W2": fan_out,
    "W3": sequential,
    "W4": signals,
    "W5": ping_pong,
    "W7": tree,
}
