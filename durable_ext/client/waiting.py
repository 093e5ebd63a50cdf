"""How long a client waits for an instance, in seconds."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final

from durable_ext.errors import ArgumentTypeError

LONG_POLL: Final = 600.0  # one request to the store


def patience_of(timeout: timedelta | None) -> float:
    """Return how many seconds a wait lasts.

    Raises:
        ArgumentTypeError: It is neither a time span nor `None`.
    """
    if timeout is None:
        return math.inf
    if not isinstance(timeout, timedelta):
        wanted = "a timedelta, as timedelta(seconds=30), or None to wait for ever"
        raise ArgumentTypeError("wait_for_completion", "timeout", timeout, wanted)
    return timeout.total_seconds()
