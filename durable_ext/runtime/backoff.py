"""Pauses that grow while a store cannot be reached, and one log line per outage."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from durable_ext.errors import BackendUnavailableError

_FIRST: Final = 0.1
_LONGEST: Final = 10.0


class Backoff:
    """Doubles from 100 ms to 10 s; `reset()` after a success."""

    def __init__(self) -> None:
        self._seconds = _FIRST
        self._failing = False

    async def pause(self, log: logging.Logger, what: str, error: BaseException) -> None:
        """Wait; the first time since the last success, say why, unless the store has."""
        if not self._failing:
            self._failing = True
            level = logging.INFO if isinstance(error, BackendUnavailableError) and error.is_told else logging.WARNING
            log.log(level, "%s; trying again: %s", what, error, extra={"event": "backend_unavailable"})
        await asyncio.sleep(self._seconds)
        self._seconds = min(self._seconds * 2, _LONGEST)

    def reset(self) -> None:
        """Start over."""
        if self._failing:
            self._failing = False
            self._seconds = _FIRST
