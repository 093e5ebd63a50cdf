"""How far the clock of a storage account is ahead of ours, from the `Date` of its last answer."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from durable_ext.aio.clock import Clock

_TOLERANCE: Final = timedelta(seconds=2)


class ServerClock:
    """Of one account; `clock` is ours. Used from one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: tuple[str, datetime] | None = None

    def heard(self, date: str | None) -> None:
        """An answer has come, with this `Date`; it is parsed when somebody wants to know."""
        if date is not None:
            self._heard = (date, self._clock.now())

    def offset(self) -> timedelta:
        """Return the difference; zero before the first answer, and below two seconds.

        The service tells whole seconds only, so a small difference says nothing.
        """
        if self._heard is None:
            return timedelta(0)
        text, received = self._heard
        try:
            offset = parsedate_to_datetime(text) - received
        except (TypeError, ValueError):  # no date, or one without a zone
            return timedelta(0)
        return offset if abs(offset) > _TOLERANCE else timedelta(0)
