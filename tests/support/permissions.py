"""Makes a process of root obey the permissions of files, as the processes of everybody else do (Linux)."""

from __future__ import annotations

import ctypes
import os

_DROP_FROM_BOUNDING_SET = 24  # PR_CAPBSET_DROP of prctl(2)
_OVERRIDE_PERMISSIONS = 1  # CAP_DAC_OVERRIDE of capabilities(7)


def obey_permissions() -> None:
    """Give up, from the next `exec` on, root's power to write what the file's mode forbids; for `preexec_fn`.

    Raises:
        OSError: The power cannot be given up, so the test would prove nothing.
    """
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_DROP_FROM_BOUNDING_SET, _OVERRIDE_PERMISSIONS, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
