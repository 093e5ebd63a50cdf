"""RetryPolicy: `RetryOptions` with time spans, by the name of azure-functions-durable 2.x (specs/sdk.md 8)."""

from __future__ import annotations

from datetime import timedelta

from durable_ext.core.retry import RetryOptions


class RetryPolicy(RetryOptions):
    """When and how often a failed activity or sub-orchestration is tried again; takes the place of `RetryOptions`.

    Args:
        first_retry_interval: Delay after the first failure, at least 1 ms.
        max_number_of_attempts: Attempts in all, the first one included; at least 1.
        backoff_coefficient: Each further delay is the one before times this; `None` = 1.
        max_retry_interval: Upper bound of a delay; `None` = 6 days.
        retry_timeout: After this long since the first attempt nothing is tried again; `None` = never.

    Raises:
        ValueError: A value is out of its range.
    """

    __slots__ = ()

    def __init__(
        self,
        *,
        first_retry_interval: timedelta,
        max_number_of_attempts: int,
        backoff_coefficient: float | None = 1.0,
        max_retry_interval: timedelta | None = None,
        retry_timeout: timedelta | None = None,
    ) -> None:
        if max_number_of_attempts < 1:
            raise ValueError(f"max_number_of_attempts is {max_number_of_attempts}; it must be 1 or more.")
        super().__init__(
            _milliseconds(first_retry_interval),
            max_number_of_attempts,
            backoff_coefficient=1.0 if backoff_coefficient is None else backoff_coefficient,
            max_retry_interval_in_milliseconds=None if max_retry_interval is None else _milliseconds(max_retry_interval),
            retry_timeout_in_milliseconds=None if retry_timeout is None else _milliseconds(retry_timeout),
        )


def _milliseconds(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
