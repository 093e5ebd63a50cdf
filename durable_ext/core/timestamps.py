"""Instants and spans as .NET writes them, without losing their seventh digit; knows no clock.

An instant is `Ticks`: an `int` of 100-nanosecond steps since 0001-01-01T00:00:00Z. History events carry ticks and
nothing is parsed into a `datetime` before somebody asks (specs/azure-storage.md 4.2; bench/performance.md 4).
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Final, NewType

Ticks = NewType("Ticks", int)

TICKS_PER_SECOND: Final = 10_000_000
MIN_TICKS: Final = Ticks(0)
_EPOCH: Final = datetime(1, 1, 1, tzinfo=timezone.utc)
MAX_TICKS: Final = Ticks(3_155_378_975_999_999_999)  # the end of 9999, the last instant that .NET and Python can write
_ISO: Final = re.compile(r"^(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?\s*(Z|z|[+-]\d{2}:?\d{2})?$")
_SPAN: Final = re.compile(r"^(-)?(?:(\d+)\.)?(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,7}))?)?$")


def ticks_from_datetime(value: datetime) -> Ticks:
    """Return the ticks of an aware datetime; a naive one is read as UTC (.NET's unspecified kind)."""
    if value.tzinfo is None:
        value = value.replace(tzinfo=timezone.utc)
    span = value - _EPOCH
    return Ticks((span.days * 86_400 + span.seconds) * TICKS_PER_SECOND + span.microseconds * 10)


def ticks_to_datetime(ticks: Ticks) -> datetime:
    """Return an aware UTC datetime; the seventh digit is truncated."""
    return _EPOCH + timedelta(microseconds=ticks // 10)


def ticks_add(ticks: Ticks, span: timedelta) -> Ticks:
    """Return the instant `span` later (or earlier, if negative), exact to the microsecond of the span."""
    return Ticks(ticks + (span.days * 86_400 + span.seconds) * TICKS_PER_SECOND + span.microseconds * 10)


def reachable(ticks: int) -> Ticks:
    """Return an instant that can be written: before the first one is the first one.

    Raises:
        ValueError: It is later than the year 9999.
    """
    if ticks > MAX_TICKS:
        raise ValueError("The time lies after the year 9999 and cannot be stored. Use an earlier one.")
    return Ticks(max(ticks, MIN_TICKS))


def ticks_between(start: Ticks, end: Ticks) -> timedelta:
    """Return `end - start`."""
    return timedelta(microseconds=(end - start) // 10)


def ticks_from_iso(text: str) -> Ticks:
    """Parse ISO 8601 as .NET and Azure Tables write it: up to 7 fraction digits, `Z`, an offset, or neither (= UTC).

    Raises:
        ValueError: The text is no such instant; the message quotes it.
    """
    match = _ISO.match(text)
    if match is None:
        raise ValueError(f"'{text}' is not an ISO 8601 instant such as 2024-05-06T07:08:09.1234567Z.")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    whole = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=timezone.utc)
    ticks = ticks_from_datetime(whole) + (int(fraction[:7].ljust(7, "0")) if fraction else 0)
    if zone and zone not in "Zz":
        sign = -1 if zone[0] == "+" else 1
        ticks += sign * (int(zone[1:3]) * 3600 + int(zone[-2:]) * 60) * TICKS_PER_SECOND
    return Ticks(ticks)


def ticks_to_iso(ticks: Ticks) -> str:
    """Format as Newtonsoft does: `Z`, up to 7 digits, trailing zeros trimmed; the minimum has no `Z` (unspecified kind)."""
    whole, fraction = divmod(ticks, TICKS_PER_SECOND)
    text = _second_to_iso(whole)
    if fraction:
        text += f".{fraction:07d}".rstrip("0")
    return text if ticks == MIN_TICKS else text + "Z"


def ticks_to_round_trip_iso(ticks: Ticks) -> str:
    """Format as .NET's "o": always 7 fraction digits and `Z` (specs/azure-storage.md 9.4, execution-semantics.md 12.1)."""
    whole, fraction = divmod(ticks, TICKS_PER_SECOND)
    return f"{_second_to_iso(whole)}.{fraction:07d}Z"


@lru_cache(maxsize=64)  # what is written together is of the same second
def _second_to_iso(seconds: int) -> str:
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return text.rjust(19, "0")  # strftime does not pad years below 1000 everywhere


def timespan_from_text(text: str) -> timedelta:
    """Parse a .NET TimeSpan in "c" form: `[-][d.]hh:mm[:ss[.fffffff]]`.

    Raises:
        ValueError: The text is no such span; the message quotes it.
    """
    match = _SPAN.match(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a time span such as 00:00:30 or 3.00:00:00.")
    sign, days, hours, minutes, seconds, fraction = match.groups()
    span = timedelta(
        days=int(days or 0),
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds or 0),
        microseconds=int((fraction or "0").ljust(7, "0")[:6]),
    )
    return -span if sign else span


def timespan_to_text(span: timedelta) -> str:
    """Format a span in .NET "c" form, e.g. `3.00:00:00` or `00:00:01.5000000`."""
    sign, span = ("-", -span) if span < timedelta(0) else ("", span)
    hours, rest = divmod(span.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    days = f"{span.days}." if span.days else ""
    fraction = f".{span.microseconds * 10:07d}" if span.microseconds else ""
    return f"{sign}{days}{hours:02d}:{minutes:02d}:{seconds:02d}{fraction}"
