"""The workloads on Azure Storage: a fresh Azurite in memory and a fresh hub for each repeat, storage calls counted.

One process runs worker and client. Azurite's hazards ask for fresh processes: it freezes every 60 s for the time that
it takes to forget the messages of the last minute.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version

from durable_ext.backends.azure_storage.settings import AzureStorageSettings, TransportKind
from durable_ext.runtime.settings import LocalActivities, WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import CallCounter
from tests.azure_hub import AzureHub, run_azure_hub
from tests.azurite import running_azurite
from tests.bench.functions import GREETINGS, bench_registry
from tests.bench.report import emit, own_cpu_seconds, own_rss_mb, process_cpu_seconds
from tests.bench.workloads import run_one

_PARTITIONS = 4
_REST_SECONDS = 150
_IDLE_MINUTES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A way to run: which transport, and whether activities run beside their orchestration."""

    name: str
    local_activities: LocalActivities
    transport: TransportKind = TransportKind.LEAN


MODES = {
    mode.name: mode
    for mode in (
        Mode(name="plain", local_activities="off"),
        Mode(name="local", local_activities="on"),
        Mode(name="batched", local_activities="batched"),
        Mode(name="sdk", local_activities="off", transport=TransportKind.SDK),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureRun:
    """One repeat on its own emulator."""

    hub: AzureHub
    calls: CallCounter
    emulator: int

    def cpu_seconds(self) -> tuple[float, float]:
        """Return the CPU time of this process and of the emulator."""
        return own_cpu_seconds(), process_cpu_seconds(self.emulator)


@dataclass(slots=True)
class Sample:
    """What one repeat gave; `calls` per unit, empty where they cannot be counted."""

    value: float
    calls: dict[str, float]
    cpu_ms: tuple[float, float]


@asynccontextmanager
async def _fresh_run(mode: Mode, *, concurrency: int | None = 400) -> AsyncIterator[AzureRun]:
    gc.collect()
    limits = WorkerSettings(local_activities=mode.local_activities)
    if concurrency is not None:
        limits = WorkerSettings(
            local_activities=mode.local_activities,
            max_concurrent_orchestrations=concurrency,
            max_concurrent_activities=concurrency,
            max_concurrent_entities=concurrency,
        )
    with running_azurite() as azurite:
        settings = AzureStorageSettings(
            connection=azurite.connection_string, task_hub="BenchHub", partition_count=_PARTITIONS, transport=mode.transport
        )
        calls = CallCounter()
        counted = calls if mode.transport is TransportKind.LEAN else None
        async with run_azure_hub(settings, bench_registry(), worker_settings=limits, interceptor=counted) as hub:
            await eventually(
                lambda: all(hub.backend.owns(index) for index in range(_PARTITIONS)), within=timedelta(seconds=60)
            )
            await asyncio.gather(*(run_one(hub.client, "hello5", None, GREETINGS) for _ in range(20)))
            yield AzureRun(hub=hub, calls=calls, emulator=azurite.process.pid)


def _per(calls: CallCounter, count: float) -> dict[str, float]:
    return {verb: round(number / count, 2) for verb, number in sorted(calls.by_verb.items())}


def _cpu_ms(run: AzureRun, before: tuple[float, float], count: int) -> tuple[float, float]:
    ours, theirs = run.cpu_seconds()
    return (ours - before[0]) / count * 1e3, (theirs - before[1]) / count * 1e3


async def _hello5(run: AzureRun) -> Sample:
    count = 100
    run.calls.reset()
    cpu, began = run.cpu_seconds(), time.perf_counter()
    await asyncio.gather(*(run_one(run.hub.client, "hello5", None, GREETINGS) for _ in range(count)))
    seconds = time.perf_counter() - began
    return Sample(count / seconds, _per(run.calls, count), _cpu_ms(run, cpu, count))


async def _latency(run: AzureRun) -> Sample:
    count = 20
    values = []
    run.calls.reset()
    cpu = run.cpu_seconds()
    for _ in range(count):
        await asyncio.sleep(0.05)
        values.append(await run_one(run.hub.client, "hello5", None, GREETINGS) * 1e3)
    return Sample(sorted(values)[count // 2], _per(run.calls, count), _cpu_ms(run, cpu, count))


def _one(name: str, count: int) -> Callable[[AzureRun], Awaitable[Sample]]:
    async def measure(run: AzureRun) -> Sample:
        run.calls.reset()
        cpu = run.cpu_seconds()
        seconds = await run_one(run.hub.client, name, count, count)
        return Sample(count / seconds, _per(run.calls, count), _cpu_ms(run, cpu, count))

    return measure


_WORKLOADS: dict[str, tuple[str, str, Callable[[AzureRun], Awaitable[Sample]]]] = {
    "LAT": ("LAT one idle hello5", "ms", _latency),
    "W1": ("W1 hello5 x100", "orch/s", _hello5),
    "W2": ("W2 fan-out 1000", "act/s", _one("fan", 1000)),
    "W3": ("W3 sequential 100", "act/s", _one("sequence", 100)),
    "W3L": ("W3 sequential 1000", "act/s", _one("sequence", 1000)),
}
DEFAULT_WORKLOADS = ",".join(_WORKLOADS)


async def measure_azure(arguments: argparse.Namespace) -> None:
    """Print one line per mode and workload; `IDLE` rests until the polls are slow and then counts calls."""
    for name in arguments.mode.split(","):
        mode = MODES[name]
        peer = f"durable_ext {version('durable-ext')} Azurite {mode.name}"
        for which in arguments.which.split(","):
            if which == "IDLE":
                await _idle(mode, peer)
                continue
            title, unit, workload = _WORKLOADS[which]
            samples = []
            for _ in range(arguments.reps):
                async with _fresh_run(mode) as run:
                    samples.append(await workload(run))
            by_value = sorted(samples, key=lambda sample: sample.value)
            middle = by_value[len(by_value) // 2]
            emit(
                peer,
                title,
                unit,
                [sample.value for sample in samples],
                calls=round(sum(middle.calls.values()), 1),
                by_kind=middle.calls,
                cpu_ms=round(middle.cpu_ms[0], 2),
                azurite_cpu_ms=round(middle.cpu_ms[1], 2),
                rss_mb=round(own_rss_mb()),
            )


async def _idle(mode: Mode, peer: str) -> None:
    async with _fresh_run(mode, concurrency=None) as run:
        await asyncio.sleep(_REST_SECONDS)
        run.calls.reset()
        await asyncio.sleep(60 * _IDLE_MINUTES)
        by_verb = Counter(run.calls.by_verb)
    by_kind = {verb: round(number / _IDLE_MINUTES, 2) for verb, number in sorted(by_verb.items())}
    emit(peer, "IDLE calls a minute, 4 partitions", "calls/min", [sum(by_verb.values()) / _IDLE_MINUTES], by_kind=by_kind)
