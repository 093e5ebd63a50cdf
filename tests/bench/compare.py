"""Runs our workloads and those of installed peers in one go and prints the ratios."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_SCRIPTS = {
    "durabletask": ("bench_durabletask.py", "bench_replay_dt.py"),
    "dbos": ("bench_dbos.py",),
    "restate": ("bench_restate.py",),
    "temporal": ("bench_temporal.py",),
    "azure-functions-durable": ("bench_replay_afd.py",),
}


def compare(arguments: argparse.Namespace) -> None:
    """Measure ourselves, then every peer that has an interpreter, then print a table of medians and ratios."""
    ours = list(
        _lines(
            [
                sys.executable,
                "-m",
                "tests.bench",
                "--which",
                arguments.which,
                "--synchronous",
                arguments.synchronous,
                "--reps",
                str(arguments.reps),
            ],
            Path(__file__).resolve().parents[2],
        )
    )
    theirs: list[dict[str, object]] = []
    for assignment in arguments.python:
        peer, _, interpreter = assignment.partition("=")
        if peer not in _SCRIPTS or arguments.peers is None:
            sys.exit(f"'{assignment}': known peers are {', '.join(_SCRIPTS)}; give --peers, the folder with their scripts.")
        for script in _SCRIPTS[peer]:
            if "replay" in script and "W6" not in arguments.which:
                continue
            # the replay scripts have no options
            options = [] if "replay" in script else ["--reps", str(arguments.reps), "--which", _without_w6(arguments.which)]
            theirs.extend(_lines([interpreter, script, *options], arguments.peers))
    _print_table(ours, theirs)


def _without_w6(which: str) -> str:
    return ",".join(name for name in which.split(",") if name != "W6")


def _lines(command: list[str], folder: Path) -> Iterator[dict[str, object]]:
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for text in process.stdout:
            print(text, end="", flush=True)
            if text.startswith("{"):
                yield json.loads(text)
    if process.returncode:
        print(f"# {command[1]} ended with {process.returncode}", flush=True)


def _key(line: dict[str, object]) -> str:
    """Return what makes lines of different engines comparable: the workload's code and its size."""
    workload = str(line["workload"])
    code = workload.split()[0]
    if code == "W4":
        return "W4 one" if re.search(r"\b(on )?1\b", workload) else "W4 many"
    if code == "W6":
        return "W6"
    size = re.search(r"\d+", workload.split(" ", 1)[1]) if code in ("W1", "W2", "W3") else None
    if code == "W1":
        size = re.search(r"(?<=x)\d+", workload)
    return f"{code} {size.group()}" if size else code


def _print_table(ours: list[dict[str, object]], theirs: list[dict[str, object]]) -> None:
    rows = [("workload", "ours", "median", "unit", "peer: its median (how much better ours is)")]
    for line in ours:
        unit, median = str(line["unit"]), float(str(line["med"]))
        notes = []
        for other in theirs:
            if _key(other) == _key(line) and other["unit"] == unit:
                their_median = float(str(other["med"]))
                ratio = their_median / median if unit in ("ms", "s") else median / their_median
                notes.append(f"{other['peer']}: {their_median:g} ({ratio:.1f}x)")
        rows.append((str(line["workload"]), str(line["peer"]), f"{median:g}", unit, "; ".join(notes)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    print()
    for row in rows:
        name, peer, value, unit = (
            row[column].rjust(width) if column == 2 else row[column].ljust(width) for column, width in enumerate(widths)
        )
        print(f"{name}  {peer}  {value}  {unit}  {row[4]}".rstrip())
