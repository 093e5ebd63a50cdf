"""Settings of the embedded store; knows no host.json."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteSettings:
    """One task hub in one SQLite file.

    Attributes:
        path: The file; it and missing folders are created. `-wal` and `-shm` files appear beside it while it is open.
        task_hub: Name of the hub; a file holds one.
        synchronous: `"FULL"`: a commit has reached the disk when it returns. `"NORMAL"`: a power failure may take back
            the last commits (a killed process never does), in exchange for about twice the speed of a single writer.
        lock_timeout: Locks of a worker that gave no sign of life for so long are taken over.
        heartbeat: How often a worker gives a sign of life; well below `lock_timeout`.
        busy_timeout: How long a write waits for other processes before it fails with the pid of the one that blocks it.
    """

    path: Path
    task_hub: str
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    lock_timeout: timedelta = timedelta(seconds=15)
    heartbeat: timedelta = timedelta(seconds=5)
    busy_timeout: timedelta = timedelta(seconds=10)
