"""How often and when a request is tried again (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Final

RETRIED_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential delays; `attempts` counts the first one. A longer `Retry-After` than `longest` ends it."""

    attempts: int = 5
    first_delay: timedelta = timedelta(milliseconds=200)
    longest: timedelta = timedelta(seconds=10)

    def delay(self, attempt: int, retry_after: float | None, jitter: float) -> float | None:
        """Return the seconds to wait after failed attempt `attempt` (from 1), or `None` to give up.

        `jitter` in 0..1 spreads the delay over 80 to 120 %.
        """
        if attempt >= self.attempts:
            return None
        if retry_after is not None:
            return retry_after if retry_after <= self.longest.total_seconds() else None
        delay = self.first_delay.total_seconds() * 2.0 ** (attempt - 1)
        return min(delay, self.longest.total_seconds()) * (0.8 + 0.4 * jitter)


DEFAULT_RETRY: Final = RetryPolicy()
ONCE: Final = RetryPolicy(attempts=1)


def retry_after_seconds(value: str | None, now: str | None = None) -> float | None:
    """Return a `Retry-After` header, seconds or a date, as seconds; `None` if it is absent or nothing of the kind.

    `now` is the `Date` of the same answer.
    """
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(now or "")).total_seconds())
    except (TypeError, ValueError):
        return None
