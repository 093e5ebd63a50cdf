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

from durable_ext.aio.clock import SystemClock
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, TransportKind
from durable_ext.backends.azure_storage.transport.http import Interceptor
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.runtime.settings import LocalActivities, WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import CallCounter
from tests.azure_hub import AzureHub, run_azure_hub
from tests.azurite import running_azurite
from tests.bench.functions import GREETINGS, bench_registry
from tests.bench.report import emit, machine_cpu_seconds, own_cpu_seconds, own_rss_mb, process_cpu_seconds
from tests.bench.workloads import run_one

WARM_UP_CALLS = 4000
"""What the emulator answers before measuring: fresh, its JavaScript is interpreted, and a call costs it up to three times
the CPU time that the same call costs after some thousand others (docs/performance.md)."""
_PARTITIONS = 4
_WARM_UP_AT_ONCE = 100
_REST_SECONDS = 150
_IDLE_MINUTES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A way to run: which transport, whether activities run beside their orchestration, where the client is.

    A client elsewhere knows nothing of the worker, as if it were another process; its calls count too, those that wait
    for the end (`table.get`) among them.
    """

    name: str
    local_activities: LocalActivities
    transport: TransportKind = TransportKind.LEAN
    client_elsewhere: bool = False

    @property
    def calls_of_hello5(self) -> int:
        """About how many storage calls one takes."""
        return {"off": 32, "on": 10, "batched": 6}[self.local_activities]


MODES = {
    mode.name: mode
    for mode in (
        Mode(name="plain", local_activities="off"),
        Mode(name="local", local_activities="on"),
        Mode(name="batched", local_activities="batched"),
        Mode(name="elsewhere", local_activities="on", client_elsewhere=True),
        Mode(name="sdk", local_activities="off", transport=TransportKind.SDK),
    )
}


@dataclass(frozen=True, slots=True)
class _Moment:
    """Wall time and the CPU time so far of this process, of the emulator and of the whole machine, in seconds."""

    at: float
    ours: float
    emulator: float
    machine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one repeat gave, per unit; `calls` is empty where they cannot be counted.

    `others` = cores that other work on the machine used meanwhile: rates are only comparable where it is small.
    """

    value: float
    calls: dict[str, float]
    cpu_ms: float
    emulator_cpu_ms: float
    others: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureRun:
    """One repeat on its own emulator."""

    client: DurableClient
    calls: CallCounter
    emulator: int

    def start(self) -> _Moment:
        """Begin to count."""
        self.calls.reset()
        return self._now()

    def _now(self) -> _Moment:
        return _Moment(time.perf_counter(), own_cpu_seconds(), process_cpu_seconds(self.emulator), machine_cpu_seconds())

    def sample(self, start: _Moment, count: int, value: float | None = None) -> Sample:
        """Return what `count` units since `start` have cost; the value is their rate unless one is given."""
        end = self._now()
        seconds, ours, theirs = end.at - start.at, end.ours - start.ours, end.emulator - start.emulator
        return Sample(
            value=count / seconds if value is None else value,
            calls={verb: round(number / count, 2) for verb, number in sorted(self.calls.by_verb.items())},
            cpu_ms=ours / count * 1e3,
            emulator_cpu_ms=theirs / count * 1e3,
            others=(end.machine - start.machine - ours - theirs) / seconds,
        )


@asynccontextmanager
async def _fresh_run(mode: Mode, *, concurrency: int | None = 400, warm_up: int = WARM_UP_CALLS) -> AsyncIterator[AzureRun]:
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
            async with _client(mode, settings, hub, counted) as client:
                await _warm_up(client, warm_up // mode.calls_of_hello5)
                yield AzureRun(client=client, calls=calls, emulator=azurite.process.pid)


async def _warm_up(client: DurableClient, orchestrations: int) -> None:
    for left in range(orchestrations, 0, -_WARM_UP_AT_ONCE):
        count = min(left, _WARM_UP_AT_ONCE)
        await asyncio.gather(*(run_one(client, "hello5", None, GREETINGS) for _ in range(count)))


@asynccontextmanager
async def _client(
    mode: Mode, settings: AzureStorageSettings, hub: AzureHub, interceptor: Interceptor | None
) -> AsyncIterator[DurableClient]:
    if not mode.client_elsewhere:
        yield hub.client
        return
    clock = SystemClock()
    async with AzureStorageBackend(settings, clock, interceptor=interceptor) as backend:
        yield DurableClient(backend.instances, converter=DataConverter(), entity_codec=JsonEntityCodec(), clock=clock)


async def _hello5(run: AzureRun) -> Sample:
    count, start = 100, run.start()
    await asyncio.gather(*(run_one(run.client, "hello5", None, GREETINGS) for _ in range(count)))
    return run.sample(start, count)


async def _latency(run: AzureRun) -> Sample:
    count, start, values = 20, run.start(), []
    for _ in range(count):
        await asyncio.sleep(0.05)
        values.append(await run_one(run.client, "hello5", None, GREETINGS) * 1e3)
    return run.sample(start, count, sorted(values)[count // 2])


def _one(name: str, count: int) -> Callable[[AzureRun], Awaitable[Sample]]:
    async def measure(run: AzureRun) -> Sample:
        start = run.start()
        await run_one(run.client, name, count, count)
        return run.sample(start, count)

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
                async with _fresh_run(mode, warm_up=arguments.warm_up) as run:
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
                cpu_ms=round(middle.cpu_ms, 2),
                azurite_cpu_ms=round(middle.emulator_cpu_ms, 2),
                others=[round(sample.others, 2) for sample in by_value],
                rss_mb=round(own_rss_mb()),
                warm_up_calls=arguments.warm_up,
            )


async def _idle(mode: Mode, peer: str) -> None:
    async with _fresh_run(mode, concurrency=None) as run:
        await asyncio.sleep(_REST_SECONDS)
        run.calls.reset()
        await asyncio.sleep(60 * _IDLE_MINUTES)
        by_verb = Counter(run.calls.by_verb)
    by_kind = {verb: round(number / _IDLE_MINUTES, 2) for verb, number in sorted(by_verb.items())}
    emit(peer, "IDLE calls a minute, 4 partitions", "calls/min", [sum(by_verb.values()) / _IDLE_MINUTES], by_kind=by_kind)
