"""Whether the process of another worker has ended, as far as this process can tell for sure."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path


@functools.cache
def this_machine() -> str:
    """Return a text that equals that of another process only if both see the same process ids.

    The host name alone will not do: containers may share it. The boot id tells machines apart, the pid namespace
    containers of one machine.
    """
    return " ".join(part for part in (socket.gethostname(), _boot_id(), _pid_namespace()) if part)


def has_ended(process_id: int, machine: str) -> bool:
    """Whether a process surely does not run any more; `False` if it does, or if nobody here can know.

    A stopped process (SIGSTOP) runs; a process that was killed but not yet waited for does not.
    """
    if os.name != "posix" or machine != this_machine() or process_id == os.getpid():
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # it is there, but belongs to somebody else
    return _is_zombie(process_id)


def _is_zombie(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("Z", "X")


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
