"""Filters of list and purge requests: invalid values count as absent (specs/http-api.md 4.2), except in purges of many."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.timestamps import ticks_from_iso, ticks_to_datetime
from durable_ext.http.messages import QueryParameters

_STATUSES: Final = {status.value: status for status in OrchestrationStatus}
_NUMBERED: Final = tuple(OrchestrationStatus)
_SPACE_OFFSET: Final = re.compile(r"(:\d{2}(?:\.\d+)?) (\d{2}:?\d{2})$")
_DATE: Final = re.compile(r"^(\d{1,4})-(\d{2})-(\d{2})(.*)$")
_MINUTES: Final = re.compile(r"^\d{2}:\d{2}$")
_SLASHED: Final = re.compile(r"^(\d{1,2})/(\d{1,2})/(\d{4})(?:\s+(\d{1,2}):(\d{2})(?::(\d{2}))?)?$")


class UnsupportedStatusError(ValueError):
    """A list request filters by `Unknown`."""


class InvalidDurationError(ValueError):
    """A number of seconds is not a number."""


class WaitTooShortError(InvalidDurationError):
    """A start that waits would be polled more rarely than it waits."""


class InvalidFilterError(ValueError):
    """A filter of a purge cannot be read; the text names it and its value."""


@dataclass(frozen=True, slots=True)
class StatusFilter:
    """Statuses of a request. `matches_nothing`: only numbers that stand for no status were given."""

    statuses: frozenset[OrchestrationStatus] = frozenset()
    matches_nothing: bool = False


def parse_statuses(query: QueryParameters) -> StatusFilter:
    """Read `runtimeStatus`: comma-separated or repeated, names in their exact case or numbers, others dropped.

    Raises:
        UnsupportedStatusError: `Unknown` is named, which no store can look for.
    """
    statuses: set[OrchestrationStatus] = set()
    foreign = False
    for item in ",".join(query.all("runtimeStatus")).split(","):
        name = item.strip()
        if name in _STATUSES:
            statuses.add(_STATUSES[name])
        elif name == "Unknown":
            raise UnsupportedStatusError("Requested value 'Unknown' was not found.")
        elif re.fullmatch(r"-?\d+", name):
            number = int(name) if len(name) < 10 else -1
            if 0 <= number < len(_NUMBERED):
                statuses.add(_NUMBERED[number])
            else:
                foreign = True
    return StatusFilter(frozenset(statuses), foreign and not statuses)


def check_purge_filters(query: QueryParameters) -> datetime:
    """Refuse a purge of many whose filters would be dropped as invalid: it would delete more than was asked for.

    Returns:
        `createdTimeFrom`.

    Raises:
        InvalidFilterError: `runtimeStatus` has an item that is no status, `createdTimeFrom` or `createdTimeTo` no time.
    """
    for item in ",".join(query.all("runtimeStatus")).split(","):
        name = item.strip()
        if name and name not in _STATUSES and name != "Unknown" and not re.fullmatch(r"-?\d+", name):
            known = ", ".join(_STATUSES)
            raise InvalidFilterError(f"runtimeStatus '{name}' is not a status; nothing was deleted. Statuses are: {known}.")
    if query.get("createdTimeTo"):
        _moment_of(query, "createdTimeTo")
    return _moment_of(query, "createdTimeFrom")


def _moment_of(query: QueryParameters, name: str) -> datetime:
    text = query.get(name)
    moment = parse_moment(text)
    if moment is None:
        raise InvalidFilterError(
            f"{name} '{text}' is not a time; nothing was deleted. Write it as 2024-01-31 or 2024-01-31T12:00:00Z."
        )
    return moment


def parse_moment(text: str | None) -> datetime | None:
    """Read a date and time: ISO 8601 (a date alone, no seconds, short years allowed) or `MM/dd/yyyy HH:mm:ss`; UTC."""
    if not text:
        return None
    text = _SPACE_OFFSET.sub(r"\1+\2", text.strip())  # a `+` that the caller did not escape
    slashed = _SLASHED.match(text)
    if slashed:
        month, day, year, hour, minute, second = (int(part or 0) for part in slashed.groups())
        iso = f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"
    else:
        dated = _DATE.match(text)
        if dated is None:
            return None
        year_text, month_text, day_text, rest = dated.groups()
        clock = rest.lstrip("T ") or "00:00:00"
        clock = f"{clock}:00" if _MINUTES.match(clock) else clock
        iso = f"{year_text.zfill(4)}-{month_text}-{day_text}T{clock}"
    try:
        return ticks_to_datetime(ticks_from_iso(iso))
    except (ValueError, OverflowError):
        return None


def parse_wait(query: QueryParameters) -> timedelta | None:
    """Return how long a start waits for the end of its instance, `None` = not at all.

    Raises:
        InvalidDurationError: `timeout` or `pollingInterval` is NaN.
        WaitTooShortError: `pollingInterval` is longer than `timeout`.
        OverflowError: One is longer than a time span can be.
    """
    timeout, interval = parse_seconds(query.get("timeout")), parse_seconds(query.get("pollingInterval"))
    if timeout is not None and interval is not None and interval > timeout:
        raise WaitTooShortError(
            f"Total timeout {timeout.total_seconds():g} should be bigger than retry timeout {interval.total_seconds():g}"
        )
    return timeout


def parse_seconds(text: str | None) -> timedelta | None:
    """Read a number of seconds such as `1.5` or `1,000`; text that is no number counts as absent.

    Raises:
        InvalidDurationError: It is NaN.
        OverflowError: It is longer than a time span can be.
    """
    if not text:
        return None
    try:
        seconds = float(text.replace(",", ""))
    except ValueError:
        return None
    if math.isnan(seconds):
        raise InvalidDurationError("TimeSpan does not accept floating point Not-a-Number values.")
    try:
        return timedelta(seconds=seconds)
    except OverflowError as exc:
        raise OverflowError("TimeSpan overflowed because the duration is too long.") from exc
