"""`python -m tests.bench`: run workloads on our engine; `python -m tests.bench compare`: and on installed peers.

Examples:
    python -m tests.bench --synchronous FULL --which LAT,W1
    python -m tests.bench --hub azure --mode plain,local --which LAT,W1,IDLE
    python -m tests.bench compare --peers ../shared/bench/peers --python durabletask=/tmp/venv-dt/bin/python
"""

from __future__ import annotations

import argparse
import asyncio
import gc
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from durable_ext.hosting.local.garbage import collect_garbage_less_often
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.task_hub import run_task_hub
from tests.bench.azure import DEFAULT_WORKLOADS, MODES, WARM_UP_CALLS, measure_azure
from tests.bench.compare import compare
from tests.bench.functions import bench_registry
from tests.bench.replay import cold_start, pure_replay
from tests.bench.workloads import WORKLOADS, BenchRun, warm_up

_EMBEDDED_WORKLOADS = "LAT,W1,W2,W3,W4,W5,W6,W7"


async def measure(arguments: argparse.Namespace) -> None:
    """Run the wanted workloads, each on a fresh file, with the garbage collector as `durable start` sets it."""
    collect_garbage_less_often()
    for synchronous in arguments.synchronous.split(","):
        peer = f"durable_ext {version('durable-ext')} SQLite {synchronous}"
        for which in arguments.which.split(","):
            gc.collect()
            with TemporaryDirectory(prefix="durable-bench-", dir=arguments.dir) as folder:
                if which == "W6":
                    await cold_start(Path(folder), synchronous, peer, arguments.reps)
                settings = WorkerSettings(
                    max_concurrent_orchestrations=400, max_concurrent_activities=400, max_concurrent_entities=400
                )
                async with run_task_hub(
                    Path(folder) / "hub.db", bench_registry(), settings=settings, synchronous=synchronous
                ) as hub:
                    run = BenchRun(hub=hub, peer=peer, repeats=arguments.reps)
                    await warm_up(run)
                    await (pure_replay if which == "W6" else WORKLOADS[which])(run)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("command", nargs="?", choices=["run", "compare"], default="run")
    parser.add_argument("--which", default=None, help="workloads, separated by commas")
    parser.add_argument("--hub", choices=["embedded", "azure"], default="embedded", help="the store; azure starts Azurite")
    parser.add_argument("--mode", default=",".join(MODES), help="ways to run on Azure Storage, separated by commas")
    parser.add_argument("--synchronous", default="FULL,NORMAL", help="FULL, NORMAL or both")
    parser.add_argument("--reps", type=int, default=3, help="repeats of each workload")
    parser.add_argument(
        "--warm-up", type=int, default=WARM_UP_CALLS, help="storage calls that a fresh Azurite answers before measuring"
    )
    parser.add_argument("--dir", default=None, help="where the files are made (default: the temp folder)")
    parser.add_argument("--peers", type=Path, help="folder with the scripts of the peers (compare)")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="PEER=INTERPRETER",
        help="interpreter of a peer's environment, e.g. durabletask=/tmp/venv/bin/python (compare)",
    )
    arguments = parser.parse_args()
    if arguments.which is None:
        arguments.which = DEFAULT_WORKLOADS if arguments.hub == "azure" else _EMBEDDED_WORKLOADS
    if arguments.command == "compare":
        compare(arguments)
    elif arguments.hub == "azure":
        collect_garbage_less_often()
        asyncio.run(measure_azure(arguments))
    else:
        asyncio.run(measure(arguments))


if __name__ == "__main__":
    main()
