"""Prints the table of docs/performance.md: `python -m tests.bench > FILE; python -m tests.bench.table FILE`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

MARKS = {
    "LAT": "<= 4 / 2",
    "W1": ">= 1,000 / 1,500",
    "W2 fan-out 1000": ">= 5,000 / 8,000",
    "W2 fan-out 5000": ">= 5,000 / 8,000",
    "W3 sequential 3000": ">= 2,500 / 6,000",
    "W3 growth": ">= 1",
    "W6 cold": "<= 80",
    "W6 replay alone, 10004": "<= 40",
    "W7": "<= 0.15 / 0.12",
}
BEST_PEER = {
    "LAT": "9.8 (Restate run)",
    "W1 hello5 x200": "713 (Restate run), 200 (Restate call)",
    "W2 fan-out 1000": "1,122 (durabletask in memory)",
    "W2 fan-out 5000": "917 (durabletask in memory)",
    "W3 sequential 3000": "840–980 (Restate run), 424 (DBOS)",
    "W4 1000": "1,276 (Temporal)",
    "W4 2000": "1,157 (Restate call)",
    "W5": "250 (durabletask in memory)",
    "W7": "0.25 (Restate call)",
}


def main() -> None:
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for line in Path(sys.argv[1]).read_text().splitlines():
        if line.startswith("{"):
            row = json.loads(line)
            rows.setdefault(row["workload"], {})[row["peer"].split()[-1]] = row

    print("| Workload | Unit | FULL | NORMAL | Mark (FULL / NORMAL) | Best peer |\n|---|---|---|---|---|---|")
    for workload, by_kind in rows.items():
        unit = next(iter(by_kind.values()))["unit"]
        cells = [_cell(by_kind.get(kind)) for kind in ("FULL", "NORMAL")]
        print(f"| {workload} | {unit} | {' | '.join(cells)} | {_of(MARKS, workload)} | {_of(BEST_PEER, workload)} |")
    largest = max(row.get("rss_mb", 0) for by_kind in rows.values() for row in by_kind.values())
    print(f"\nHighest resident size in all of them: {largest} MB (mark: 200).")


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    return f"{_number(row['med'])} [{_number(row['min'])}–{_number(row['max'])}]" if row["n"] > 1 else _number(row["med"])


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _of(table: dict[str, str], workload: str) -> str:
    return next((text for prefix, text in table.items() if workload.startswith(prefix)), "")


if __name__ == "__main__":
    main()
