"""Dates, spans, UUIDs and decimals from what JSON holds of them; knows no containers."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from durable_ext.core.timestamps import timespan_from_text

_FRACTION: Final = re.compile(r"\.(\d+)")


def _python_iso(value: Any) -> str:
    """Bring an ISO text to what `fromisoformat` of Python 3.10 reads: no `Z`, no seventh digit."""
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is not a text")
    text = value[:-1] + "+00:00" if value[-1:] in ("Z", "z") else value
    return _FRACTION.sub(lambda match: "." + match[1][:6].ljust(6, "0"), text, count=1)


def read_datetime(value: Any) -> datetime:
    """Read ISO 8601 as Python, .NET or JavaScript writes it; naive if it has no offset."""
    return datetime.fromisoformat(_python_iso(value))


def read_date(value: Any) -> date:
    """Read `YYYY-MM-DD`."""
    return date.fromisoformat(_python_iso(value))


def read_time(value: Any) -> time:
    """Read `hh:mm[:ss[.f]][offset]`."""
    return time.fromisoformat(_python_iso(value))


def read_timedelta(value: Any) -> timedelta:
    """Read `[-][d.]hh:mm:ss[.f]`, or a number of seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return timedelta(seconds=value)
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is not a text")
    return timespan_from_text(value)


def read_uuid(value: Any) -> UUID:
    """Read any text that `uuid.UUID` takes."""
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is not a text")
    return UUID(value)


def read_decimal(value: Any) -> Decimal:
    """Read a text or a JSON number; a number that was a float has the digits of its shortest form."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TypeError(f"{type(value).__name__} is not a number")
    try:
        return Decimal(str(value))
    except InvalidOperation as error:
        raise ValueError(f"{value!r} is not a number") from error


SCALAR_READERS: Final[dict[type, Callable[[Any], Any]]] = {
    datetime: read_datetime,
    date: read_date,
    time: read_time,
    timedelta: read_timedelta,
    UUID: read_uuid,
    Decimal: read_decimal,
}
