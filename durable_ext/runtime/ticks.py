"""The clock as the ticks that history carries; the machine's clock is read without building a datetime."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from durable_ext.aio.clock import Clock, SystemClock
from durable_ext.core.timestamps import Ticks, ticks_from_datetime

_UNIX_EPOCH: Final = 621_355_968_000_000_000
_time_ns = time.time_ns


def _machine_ticks() -> Ticks:
    return Ticks(_UNIX_EPOCH + _time_ns() // 100)


def tick_source(clock: Clock) -> Callable[[], Ticks]:
    """Return a function of the current time in ticks; it may be called from any thread."""
    if type(clock) is SystemClock:
        return _machine_ticks
    return lambda: ticks_from_datetime(clock.now())
