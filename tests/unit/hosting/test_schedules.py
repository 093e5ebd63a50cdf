"""NCRONTAB expressions and time spans."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from durable_ext.errors import ConfigurationError
from durable_ext.hosting.local.schedules import parse_schedule

NOW = datetime(2024, 5, 1, 10, 0, 0, tzinfo=timezone.utc)  # a Wednesday


@pytest.mark.parametrize(
    ("text", "following"),
    [
        ("*/10 * * * * *", NOW + timedelta(seconds=10)),
        ("0 */5 * * * *", NOW + timedelta(minutes=5)),
        ("*/5 * * * *", NOW + timedelta(minutes=5)),
        ("30 0 9 * * MON-FRI", datetime(2024, 5, 2, 9, 0, 30, tzinfo=timezone.utc)),
        ("0 0 0 1 Jan *", datetime(2025, 1, 1, tzinfo=timezone.utc)),
        ("0 0 0 13 * 5", datetime(2024, 9, 13, tzinfo=timezone.utc)),
        ("00:05:00", NOW + timedelta(minutes=5)),
        ("1.00:00:00", NOW + timedelta(days=1)),
    ],
)
def test_the_next_occurrence_follows_the_schedule(text: str, following: datetime) -> None:
    assert parse_schedule(text, timezone.utc).after(NOW) == following


def test_a_schedule_follows_the_wall_clock_of_its_zone() -> None:
    schedule = parse_schedule("0 0 9 * * *", ZoneInfo("Europe/Berlin"))

    assert schedule.after(NOW) == datetime(2024, 5, 2, 7, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "61 * * * * *", "* * * * * * *", "@daily", "0 0 0 L * *", "00:00:00", "1:2:3:4"]
)
def test_a_schedule_that_cannot_be_used_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_schedule(text, timezone.utc)

    assert f"'{text}'" in str(caught.value)
