"""Automatic retries: the options, and the pure rule from attempt and failure to the next delay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from durable_ext.core.timestamps import MAX_TICKS, TICKS_PER_SECOND, Ticks
from durable_ext.errors import ArgumentTypeError

_TICKS_PER_MILLISECOND = TICKS_PER_SECOND // 1000
_DEFAULT_MAX_INTERVAL = timedelta(days=6)


class RetryOptions:
    """When and how often a failed activity or sub-orchestration is tried again.

    Args:
        first_retry_interval_in_milliseconds: Delay after the first failure; more than 0.
        max_number_of_attempts: Attempts in all, the first one included; any number, as in 1.x.
        backoff_coefficient: Each further delay is the one before times this; 1 = always the same.
        max_retry_interval_in_milliseconds: Upper bound of a delay; `None` = 6 days.
        retry_timeout_in_milliseconds: After this long since the first attempt nothing is tried again; `None` = never.

    Raises:
        ValueError: An interval is not greater than 0, the coefficient is less than 1, or a number is not finite.
        ArgumentTypeError: A value is no number.

    Source: specs/sdk.md 2.8; specs/execution-semantics.md 4. The keyword-only ones are additions to 1.7.0.
    """

    __slots__ = ("_attempts", "_coefficient", "_first", "_max_interval", "_timeout")

    def __init__(
        self,
        first_retry_interval_in_milliseconds: int,
        max_number_of_attempts: int,
        *,
        backoff_coefficient: float = 1.0,
        max_retry_interval_in_milliseconds: int | None = None,
        retry_timeout_in_milliseconds: int | None = None,
    ) -> None:
        for label, number in (
            ("first_retry_interval_in_milliseconds", first_retry_interval_in_milliseconds),
            ("max_number_of_attempts", max_number_of_attempts),
            ("backoff_coefficient", backoff_coefficient),
            ("max_retry_interval_in_milliseconds", max_retry_interval_in_milliseconds),
            ("retry_timeout_in_milliseconds", retry_timeout_in_milliseconds),
        ):
            _check_number(label, number)
        if first_retry_interval_in_milliseconds <= 0:
            # compat: the missing space is in the 1.x text (specs/sdk.md 2.8).
            raise ValueError("first_retry_interval_in_milliseconds valuemust be greater than 0.")
        if backoff_coefficient < 1:
            raise ValueError(f"backoff_coefficient is {backoff_coefficient}; it must be 1 or more.")
        for label, interval in (
            ("max_retry_interval_in_milliseconds", max_retry_interval_in_milliseconds),
            ("retry_timeout_in_milliseconds", retry_timeout_in_milliseconds),
        ):
            if interval is not None and interval <= 0:
                raise ValueError(f"{label} is {interval}; it must be greater than 0, or None.")
        self._first = first_retry_interval_in_milliseconds
        self._attempts = max_number_of_attempts
        self._coefficient = backoff_coefficient
        self._max_interval = max_retry_interval_in_milliseconds
        self._timeout = retry_timeout_in_milliseconds

    @property
    def first_retry_interval_in_milliseconds(self) -> int:
        """Delay after the first failure."""
        return self._first

    @property
    def max_number_of_attempts(self) -> int:
        """Attempts in all."""
        return self._attempts

    @property
    def backoff_coefficient(self) -> float:
        """Factor from one delay to the next."""
        return self._coefficient

    @property
    def max_retry_interval_in_milliseconds(self) -> int | None:
        """Upper bound of a delay."""
        return self._max_interval

    @property
    def retry_timeout_in_milliseconds(self) -> int | None:
        """How long after the first attempt failures are still retried."""
        return self._timeout

    def to_json(self) -> dict[str, Any]:
        """Return `firstRetryIntervalInMilliseconds`, `maxNumberOfAttempts`, and the others where they are set."""
        document: dict[str, Any] = {
            "firstRetryIntervalInMilliseconds": self._first,
            "maxNumberOfAttempts": self._attempts,
        }
        if self._coefficient != 1:
            document["backoffCoefficient"] = self._coefficient
        if self._max_interval is not None:
            document["maxRetryIntervalInMilliseconds"] = self._max_interval
        if self._timeout is not None:
            document["retryTimeoutInMilliseconds"] = self._timeout
        return document

    def __repr__(self) -> str:
        return f"RetryOptions({self._first}, {self._attempts}, backoff_coefficient={self._coefficient})"


def _check_number(label: str, value: Any) -> None:
    if value is None and label in ("max_retry_interval_in_milliseconds", "retry_timeout_in_milliseconds"):
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        what = "milliseconds" if label.endswith("milliseconds") else "a number"
        raise ArgumentTypeError("RetryOptions", label, value, f"{what}, as in RetryOptions(5000, 3)")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{label} is {value}; it must be a finite number.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryStep:
    """What follows a failed attempt: a timer (`fire_at`) and then another attempt, the failure, or both in turn."""

    fire_at: Ticks | None
    try_again: bool


def after_failure(
    options: RetryOptions, *, attempt: int, first_attempt_at: Ticks, now: Ticks, non_retriable: bool
) -> RetryStep:
    """Decide what follows the failure of an attempt; `attempt` counts from 1.

    The last attempt is followed by a timer that fires at once: 1.x SDKs wait for it, and it takes an id
    (specs/execution-semantics.md 4).
    """
    if non_retriable:
        return RetryStep(fire_at=None, try_again=False)
    if attempt >= options.max_number_of_attempts:
        return RetryStep(fire_at=now, try_again=False)
    timeout = options.retry_timeout_in_milliseconds
    if timeout is not None and now >= first_attempt_at + timeout * _TICKS_PER_MILLISECOND:
        return RetryStep(fire_at=None, try_again=False)
    return RetryStep(fire_at=Ticks(min(now + _delay(options, attempt), MAX_TICKS)), try_again=True)


def _delay(options: RetryOptions, attempt: int) -> int:
    """Return the ticks before the next attempt; larger numbers than a float can hold count as the longest delay."""
    longest = options.max_retry_interval_in_milliseconds
    if longest is None:
        longest = int(_DEFAULT_MAX_INTERVAL.total_seconds() * 1000)
    try:
        delay = float(options.first_retry_interval_in_milliseconds)
        if options.backoff_coefficient != 1:
            delay *= options.backoff_coefficient ** (attempt - 1)
        return int(min(delay, longest) * _TICKS_PER_MILLISECOND)
    except OverflowError:
        return int(longest) * _TICKS_PER_MILLISECOND


def check_retry_options(call: str, options: Any, max_timer: timedelta | None) -> None:
    """Refuse what is no retry options, and intervals that the hub's timers cannot reach.

    Raises:
        ArgumentTypeError: `options` is something else; `call` is the name of the method that got it.
        ValueError: The first or the maximum interval is longer than `max_timer`.
    """
    if not isinstance(options, RetryOptions):
        wanted = "RetryOptions, as RetryOptions(5000, 3); the input comes after it"
        raise ArgumentTypeError(call, "retry_options", options, wanted)
    if max_timer is None:
        return
    limit = max_timer.total_seconds() * 1000
    for label, interval in (
        ("first_retry_interval_in_milliseconds", options.first_retry_interval_in_milliseconds),
        ("max_retry_interval_in_milliseconds", options.max_retry_interval_in_milliseconds or 0),
    ):
        if interval > limit:
            raise ValueError(
                f"{label} is {interval}, longer than the longest timer of this task hub ({limit:.0f} ms). Use a shorter "
                f"interval, or loop over create_timer in the orchestrator."
            )
