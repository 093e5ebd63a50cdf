"""RetryPolicy is RetryOptions in other words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import durable_ext as df


def test_a_policy_has_the_json_of_the_options_that_say_the_same() -> None:
    policy = df.RetryPolicy(
        first_retry_interval=timedelta(seconds=5),
        max_number_of_attempts=3,
        backoff_coefficient=2,
        max_retry_interval=timedelta(minutes=1),
        retry_timeout=timedelta(hours=1),
    )
    options = df.RetryOptions(
        5000,
        3,
        backoff_coefficient=2,
        max_retry_interval_in_milliseconds=60_000,
        retry_timeout_in_milliseconds=3_600_000,
    )

    assert isinstance(policy, df.RetryOptions)
    assert policy.to_json() == options.to_json()


@pytest.mark.parametrize(
    "options",
    [
        {"first_retry_interval": timedelta(0), "max_number_of_attempts": 1},
        {"first_retry_interval": timedelta(seconds=1), "max_number_of_attempts": 0},
        {"first_retry_interval": timedelta(seconds=1), "max_number_of_attempts": 1, "backoff_coefficient": 0.5},
        {
            "first_retry_interval": timedelta(seconds=1),
            "max_number_of_attempts": 1,
            "max_retry_interval": timedelta(seconds=-1),
        },
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        df.RetryPolicy(**options)
