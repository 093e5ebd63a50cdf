"""How often a host process looks for garbage cycles; a process of our own may set this, a library may not."""

from __future__ import annotations

import gc
from typing import Final

_THRESHOLDS: Final = (50_000, 20, 20)


def collect_garbage_less_often() -> None:
    """Leave what was loaded at start out of every later collection, and collect after 50,000 new objects instead of 700.

    Histories and messages are thousands of small objects without cycles: by Python's defaults a tenth to a quarter of the
    CPU time under load goes into looking at them again and again (docs/performance.md). Call it once, after the app was
    loaded.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
