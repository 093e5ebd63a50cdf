"""What SQLite says went wrong, in words that tell a user what to do; and who blocks the file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from durable_ext.errors import BackendError, BackendUnavailableError, ConfigurationError, PayloadTooLargeError

_WAL_WRITE_LOCK: Final = 120  # byte of the -shm file that a writer locks (sqlite.org/walformat.html, 2.3)
MAX_TEXT_BYTES: Final = 500_000_000
"""Longest text we store; half of SQLite's own limit, because one row holds several."""
_LITTLE_SPACE: Final = 64 * 1024


def is_busy(error: Exception) -> bool:
    """Whether another connection has the lock that was asked for."""
    text = str(error)
    return "locked" in text or "busy" in text


def translate(error: Exception, path: Path) -> BackendError | ConfigurationError:
    """Return our error for one of `sqlite3`'s. Texts, because Python 3.10 does not expose SQLite's codes."""
    text = str(error)
    if is_busy(error):
        return busy_error(path, None)
    free = _free_bytes(path)
    # Without space for its -wal and -shm files SQLite speaks of an I/O error.
    if "full" in text or ("disk I/O" in text and free is not None and free < _LITTLE_SPACE):
        left = "" if free is None else f" ({free} bytes are free)"
        return BackendUnavailableError(
            f"The disk of the task hub file '{path}' is full{left}: {text}. Nothing of this write was stored and nothing "
            f"older is lost. Free some space; work goes on by itself."
        )
    if "readonly" in text:
        return ConfigurationError(
            f"The task hub file '{path}' cannot be written: {text}. Give this user write permission on the file and its "
            f"folder, or choose another place for the hub."
        )
    if "not a database" in text or "malformed" in text or "encrypted" in text:
        return ConfigurationError(
            f"The task hub file '{path}' is no usable SQLite database: {text}. Move it away to begin with an empty hub, or "
            f"restore a backup."
        )
    if "unable to open" in text:
        return ConfigurationError(
            f"The task hub file '{path}' cannot be opened: {text}. Check that its folder is a folder and that this user may "
            f"write there."
        )
    if "too big" in text or "too large" in text:
        return PayloadTooLargeError("A value of this write", MAX_TEXT_BYTES + 1, MAX_TEXT_BYTES)
    return BackendUnavailableError(f"The task hub file '{path}' reported: {text}. Check the disk, then try again.")


def replaced_error(path: Path) -> BackendUnavailableError:
    """Return the error for a file that is no longer the one that was opened."""
    return BackendUnavailableError(
        f"The task hub file '{path}' was deleted or replaced while it was open. Nothing is stored until the file that was "
        f"there is back; to work with what is there now, restart this process."
    )


def busy_error(path: Path, seconds: float | None) -> BackendUnavailableError:
    """Return the error for a file that somebody else keeps locked, naming the process if the system tells."""
    waited = "" if seconds is None else f" for {seconds:g} s"
    holders = lock_holders(path)
    if not holders:
        return BackendUnavailableError(
            f"Another process keeps the task hub file '{path}' locked{waited}. Find it (for example with 'lsof {path}'), "
            f"let it go on or end it."
        )
    who = ", ".join(f"{pid} ({_describe(pid)})" for pid in holders)
    return BackendUnavailableError(
        f"Process {who} keeps the task hub file '{path}' locked{waited}. If it is stopped, let it go on (kill -CONT "
        f"{holders[0]}) or end it (kill -KILL {holders[0]}): nothing that was acknowledged is lost."
    )


def lock_holders(path: Path) -> list[int]:
    """Return the pids that hold the write lock of a WAL file, as Linux lists them in /proc/locks; else an empty list."""
    try:
        inode = os.stat(f"{path}-shm").st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        parts = line.split()
        if len(parts) != 8 or parts[1] != "POSIX" or parts[3] != "WRITE" or not parts[5].endswith(f":{inode}"):
            continue
        end = int(parts[7]) if parts[7] != "EOF" else 1 << 62
        if int(parts[6]) <= _WAL_WRITE_LOCK <= end:
            found.append(int(parts[4]))
    return found


def _describe(pid: int) -> str:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("State:"):
                return line.split("(")[-1].rstrip(")")
    except OSError:
        pass
    return "this process" if pid == os.getpid() else "state unknown"


def _free_bytes(path: Path) -> int | None:
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return None
