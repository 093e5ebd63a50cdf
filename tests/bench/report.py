"""One JSON line per workload: {peer, workload, unit, min, med, max, n, ...}, as the scripts of the peers print it."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path


def emit(peer: str, workload: str, unit: str, values: Sequence[float], **more: object) -> dict[str, object]:
    """Print and return the line of one workload."""
    ordered = sorted(values)
    line: dict[str, object] = {
        "peer": peer,
        "workload": workload,
        "unit": unit,
        "min": round(ordered[0], 3),
        "med": round(statistics.median(ordered), 3),
        "max": round(ordered[-1], 3),
        "n": len(ordered),
        **more,
    }
    print(json.dumps(line), flush=True)
    return line


def own_cpu_seconds() -> float:
    """Return the CPU time of this process."""
    times = os.times()
    return times.user + times.system


def process_cpu_seconds(pid: int) -> float:
    """Return the CPU time of another process, 0 where /proc does not tell."""
    status = Path(f"/proc/{pid}/stat")
    if not status.exists():
        return 0.0
    fields = status.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_cpu_seconds() -> float:
    """Return the CPU time of everything on this machine, 0 where /proc does not tell."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _, _, irq, softirq, *_ = (int(field) for field in stat.read_text().split(maxsplit=9)[1:9])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def own_rss_mb() -> float:
    """Return the resident memory of this process in MB, 0 where /proc does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    for line in status.read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0
