"""`python -m tests.bench.threads`: what each thread of the process does per activity or orchestration (Linux).

Prints one JSON line per workload: time per unit, and for each thread its CPU time and how often it slept and was woken
(voluntary context switches) or lost its core (involuntary ones), per unit. Unlike rates, the numbers of a busy machine can
be compared with those of an idle one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from durable_ext.backends.protocol import Backend
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.hosting.local.garbage import collect_garbage_less_often
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.task_hub import run_task_hub
from tests.bench.functions import GREETINGS, bench_registry
from tests.bench.workloads import BenchRun, run_one, warm_up

_TASKS = Path("/proc/self/task")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadUse:
    """What a thread has used since it began."""

    cpu_seconds: float
    sleeps: int
    preemptions: int


def thread_use() -> dict[str, ThreadUse]:
    """Return the use of every Python thread of this process by name; the main thread is the event loop."""
    found = {}
    for thread in threading.enumerate():
        task = _TASKS / str(thread.native_id)
        status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        found["event loop" if thread is threading.main_thread() else thread.name] = ThreadUse(
            cpu_seconds=int((task / "schedstat").read_text().split()[0]) / 1e9,
            sleeps=int(status["voluntary_ctxt_switches"]),
            preemptions=int(status["nonvoluntary_ctxt_switches"]),
        )
    return found


async def _run_all(run: BenchRun, which: str, count: int) -> None:
    if which == "W3":
        await run_one(run.client, "sequence", count, count)
    elif which == "W1":
        await asyncio.gather(*(run_one(run.client, "hello5", None, GREETINGS) for _ in range(count)))
    else:
        for _ in range(count):
            await asyncio.sleep(0.05)
            await run_one(run.client, "hello5", None, GREETINGS)


async def measure(which: str, count: int, synchronous: str, repeats: int) -> None:
    """Run a workload several times on one hub and print what each took."""
    with TemporaryDirectory(prefix="durable-bench-") as folder:
        settings = WorkerSettings(max_concurrent_orchestrations=400, max_concurrent_activities=400)
        path = Path(folder) / "hub.db"
        async with run_task_hub(path, bench_registry(), settings=settings, synchronous=synchronous) as hub:  # type: ignore[arg-type]
            run = BenchRun(hub=hub, peer="", repeats=1)
            await warm_up(run)
            for _ in range(repeats):
                before, began = thread_use(), time.perf_counter()
                commits = _commits(hub.backend)
                await _run_all(run, which, count)
                seconds, after = time.perf_counter() - began, thread_use()
                commits = _commits(hub.backend) - commits
                print(json.dumps(_line(which, count, synchronous, seconds, commits, before, after)), flush=True)


def _commits(backend: Backend) -> int:
    assert isinstance(backend, SqliteBackend)
    return backend.commits


def _line(
    which: str,
    count: int,
    synchronous: str,
    seconds: float,
    commits: int,
    before: dict[str, ThreadUse],
    after: dict[str, ThreadUse],
) -> dict[str, object]:
    threads = {}
    none = ThreadUse(cpu_seconds=0, sleeps=0, preemptions=0)
    for name, use in after.items():
        old = before.get(name, none)
        threads[name] = {
            "cpu_us": round((use.cpu_seconds - old.cpu_seconds) / count * 1e6, 1),
            "sleeps": round((use.sleeps - old.sleeps) / count, 2),
            "preemptions": round((use.preemptions - old.preemptions) / count, 2),
        }
    return {
        "workload": f"{which} {count}",
        "synchronous": synchronous,
        "us": round(seconds / count * 1e6, 1),
        "commits": round(commits / count, 3),
        "cpu_us": round(sum(thread["cpu_us"] for thread in threads.values()), 1),
        "sleeps": round(sum(thread["sleeps"] for thread in threads.values()), 2),
        "threads": threads,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.threads")
    parser.add_argument("--which", choices=["LAT", "W1", "W3"], default="W3")
    parser.add_argument("--count", type=int, default=3000, help="activities of W3, orchestrations of W1 and LAT")
    parser.add_argument("--synchronous", choices=["FULL", "NORMAL"], default="NORMAL")
    parser.add_argument("--reps", type=int, default=3)
    arguments = parser.parse_args()
    collect_garbage_less_often()
    asyncio.run(measure(arguments.which, arguments.count, arguments.synchronous, arguments.reps))


if __name__ == "__main__":
    main()
