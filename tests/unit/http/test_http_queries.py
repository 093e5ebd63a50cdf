"""Query parameters of the management API: what counts and what counts as absent."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from durable_ext.core.events import OrchestrationStatus
from durable_ext.http.messages import QueryParameters
from durable_ext.http.queries import (
    InvalidDurationError,
    UnsupportedStatusError,
    parse_moment,
    parse_seconds,
    parse_statuses,
)


def test_names_have_no_case_and_repeated_values_are_joined() -> None:
    query = QueryParameters("A=1&a=2&b=x+y%20z")

    assert (query.get("a"), query.get("B"), query.get("c")) == ("1,2", "x y z", None)


def test_a_piece_without_equals_sign_belongs_to_the_empty_name() -> None:
    assert QueryParameters("flag&x=1").get("") == "flag"


@pytest.mark.parametrize(("text", "value"), [("true", True), (" FALSE ", False), ("1", True), ("yes", True), ("", True)])
def test_a_flag_is_true_or_false_and_anything_else_is_the_default(text: str, value: bool) -> None:
    assert QueryParameters(f"f={text}").flag("f", True) is value


@pytest.mark.parametrize(("text", "value"), [("5", 5), ("-1", -1), ("1.5", 100), ("x", 100)])
def test_an_integer_is_plain_or_the_default(text: str, value: int) -> None:
    assert QueryParameters(f"top={text}").integer("top", 100) == value


def test_statuses_are_a_list_with_unknown_items_dropped() -> None:
    found = parse_statuses(QueryParameters("runtimeStatus=Running, Failed&runtimeStatus=6,running,Nonsense"))

    assert found.statuses == {OrchestrationStatus.RUNNING, OrchestrationStatus.FAILED, OrchestrationStatus.PENDING}
    assert not found.matches_nothing


def test_only_invalid_statuses_do_not_filter() -> None:
    found = parse_statuses(QueryParameters("runtimeStatus=nope"))

    assert (found.statuses, found.matches_nothing) == (frozenset(), False)


def test_a_number_that_is_no_status_matches_nothing() -> None:
    assert parse_statuses(QueryParameters("runtimeStatus=99")).matches_nothing


def test_the_status_unknown_is_refused() -> None:
    with pytest.raises(UnsupportedStatusError, match="'Unknown'"):
        parse_statuses(QueryParameters("runtimeStatus=Running,Unknown"))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-05-01T10:00:00Z", datetime(2024, 5, 1, 10, tzinfo=timezone.utc)),
        ("2024-05-01T10:00:00.25+02:00", datetime(2024, 5, 1, 8, 0, 0, 250_000, tzinfo=timezone.utc)),
        ("2024-05-01T10:00:00 02:00", datetime(2024, 5, 1, 8, tzinfo=timezone.utc)),
        ("2024-05-01", datetime(2024, 5, 1, tzinfo=timezone.utc)),
        ("2024-05-01 10:30", datetime(2024, 5, 1, 10, 30, tzinfo=timezone.utc)),
        ("5/1/2024 10:30:05", datetime(2024, 5, 1, 10, 30, 5, tzinfo=timezone.utc)),
        ("1-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=timezone.utc)),
        ("yesterday", None),
        ("2024-13-01", None),
        ("", None),
        (None, None),
    ],
)
def test_a_moment_is_read_leniently_or_counts_as_absent(text: str | None, moment: datetime | None) -> None:
    assert parse_moment(text) == moment


@pytest.mark.parametrize(
    ("text", "span"),
    [("1.5", timedelta(seconds=1.5)), ("1,000", timedelta(seconds=1000)), ("x", None), (None, None), ("", None)],
)
def test_seconds_are_a_number_or_count_as_absent(text: str | None, span: timedelta | None) -> None:
    assert parse_seconds(text) == span


def test_seconds_that_are_not_a_number_are_refused() -> None:
    with pytest.raises(InvalidDurationError, match="Not-a-Number"):
        parse_seconds("NaN")


def test_seconds_beyond_a_time_span_overflow() -> None:
    with pytest.raises(OverflowError, match="too long"):
        parse_seconds("1e30")
