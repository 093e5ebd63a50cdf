"""Ids of worker processes, and whether one names a process of this machine that has ended.

Ids are unique per process: a second process with the same id would take the first one's leases for its own. The provider
uses the machine's name, so that a worker started again finds its own leases and does not wait for them to run out; ours
say which process of which machine they belong to, which comes to the same.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import uuid
from pathlib import Path
from typing import Final

_FORM: Final = re.compile(r"(?P<place>.+-[0-9a-f]{8})-(?P<pid>[0-9]+)-(?P<life>[0-9a-f]{8})-[0-9a-f]{4}")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE: Final = Path("/proc/self/ns/pid")
_LIFE: Final = uuid.uuid4().hex[:8]  # of this process: in a container every life may have the same process id


def new_worker_id() -> str:
    """Return an id for a worker in this process: host, place, process id, this life of it, and something random."""
    return f"{_place() or _somewhere()}-{os.getpid()}-{_LIFE}-{uuid.uuid4().hex[:4]}"


def has_ended_here(worker_id: str) -> bool:
    """Whether an id is that of a process which would be visible here and is not; false whenever that is not certain."""
    form = _FORM.fullmatch(worker_id)
    if form is None or form["place"] != _place():
        return False
    pid = int(form["pid"])
    return form["life"] != _LIFE if pid == os.getpid() else not _is_alive(pid)


def _place() -> str | None:
    """Return what two processes have in common if each can see whether the other lives; `None` where nobody can tell.

    That is the machine since it was booted, and in containers the namespace of process ids.
    """
    try:
        seen_together = _BOOT_ID.read_text() + os.readlink(_PID_NAMESPACE)
    except OSError:
        return None
    return f"{socket.gethostname()}-{hashlib.sha256(seen_together.encode()).hexdigest()[:8]}"


def _somewhere() -> str:
    return f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True
