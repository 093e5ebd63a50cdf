"""Instants and spans as .NET writes them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_ext.core.timestamps import (
    MIN_TICKS,
    Ticks,
    ticks_between,
    ticks_from_datetime,
    ticks_from_iso,
    ticks_to_datetime,
    ticks_to_iso,
    ticks_to_round_trip_iso,
    timespan_from_text,
    timespan_to_text,
)

MAX_TICKS = ticks_from_datetime(datetime(9999, 12, 31, tzinfo=timezone.utc))


@given(st.integers(1, MAX_TICKS))
def test_an_instant_survives_being_written_and_read(ticks: int) -> None:
    assert ticks_from_iso(ticks_to_iso(Ticks(ticks))) == ticks
    assert ticks_from_iso(ticks_to_round_trip_iso(Ticks(ticks))) == ticks


@given(st.datetimes(timezones=st.just(timezone.utc)))
def test_a_datetime_survives_being_ticks(value: datetime) -> None:
    assert ticks_to_datetime(ticks_from_datetime(value)) == value


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2024-05-06T07:08:09.1234567Z", "2024-05-06T07:08:09.1234567Z"),
        ("2024-05-06T07:08:09.5000000Z", "2024-05-06T07:08:09.5Z"),
        ("2024-05-06T07:08:09", "2024-05-06T07:08:09Z"),
        ("2024-05-06 09:08:09+02:00", "2024-05-06T07:08:09Z"),
        ("2024-05-06T05:38:09-0130", "2024-05-06T07:08:09Z"),
        ("0001-01-01T00:00:00", "0001-01-01T00:00:00"),
    ],
)
def test_forms_of_an_instant_are_read(text: str, written: str) -> None:
    assert ticks_to_iso(ticks_from_iso(text)) == written


def test_a_naive_datetime_is_utc() -> None:
    assert ticks_from_datetime(datetime(1, 1, 1)) == MIN_TICKS


def test_something_else_is_no_instant() -> None:
    with pytest.raises(ValueError, match="'yesterday' is not an ISO 8601 instant"):
        ticks_from_iso("yesterday")


def test_the_span_between_instants_is_exact_to_the_microsecond() -> None:
    assert ticks_between(Ticks(10), Ticks(25)) == timedelta(microseconds=1)


@given(st.timedeltas())
def test_a_span_survives_being_written_and_read(span: timedelta) -> None:
    assert timespan_from_text(timespan_to_text(span)) == span


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("6.00:00:00", timedelta(days=6)),
        ("00:00:30", timedelta(seconds=30)),
        ("01:30", timedelta(hours=1, minutes=30)),
        ("-00:00:01.5000000", timedelta(seconds=-1.5)),
    ],
)
def test_forms_of_a_span_are_read(text: str, span: timedelta) -> None:
    assert timespan_from_text(text) == span


def test_something_else_is_no_span() -> None:
    with pytest.raises(ValueError, match="'soon' is not a time span"):
        timespan_from_text("soon")
