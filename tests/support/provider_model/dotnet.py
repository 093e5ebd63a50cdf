"""What .NET makes of times, ids and keys: ticks, FNV-1a, escaped table keys (specs/azure-storage.md 3, 4.2)."""

from __future__ import annotations

import datetime
import re
from typing import Final

SECOND: Final = 10_000_000
MINUTE: Final = 60 * SECOND
MINIMUM: Final = "0001-01-01T00:00:00"
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,7}))?(Z?)")
_ESCAPED: Final = {"^": "^^", "/": "^0", "\\": "^1", "#": "^2", "?": "^3"}
_EPOCH: Final = datetime.datetime(1, 1, 1)


class UnreadableError(Exception):
    """The typed reader of .NET would throw here, or read something else than was meant."""


def ticks(text: str, *, utc: bool = True) -> int:
    """Read a date-time as 100 ns since year 1; with `utc` it must say so."""
    found = _TIME.fullmatch(text)
    if found is None or (utc and not found[3] and text != MINIMUM):
        raise UnreadableError(f"{text!r} is no UTC date-time")
    whole = datetime.datetime.fromisoformat(found[1]) - _EPOCH
    return (whole.days * 86_400 + whole.seconds) * SECOND + int((found[2] or "").ljust(7, "0"))


def time_text(moment: int) -> str:
    """Write ticks as ISO 8601, zeros at the end of the fraction left out."""
    whole = (_EPOCH + datetime.timedelta(seconds=moment // SECOND)).isoformat()
    fraction = f".{moment % SECOND:07}".rstrip("0").rstrip(".")
    return f"{whole}{fraction}Z"


def seven_digits(moment: int) -> str:
    """Write ticks with all seven digits, as names of delayed signals have them."""
    return f"{(_EPOCH + datetime.timedelta(seconds=moment // SECOND)).isoformat()}.{moment % SECOND:07}Z"


def partition_of(instance_id: str, partitions: int) -> int:
    """Return the control queue of an instance."""
    value = 2166136261
    for byte in instance_id.encode():
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return value % partitions


def escaped_key(instance_id: str) -> str:
    """Return the PartitionKey of an instance."""
    return "".join(_ESCAPED.get(one) or (_control(one) if _is_control(one) else one) for one in instance_id)


def _is_control(one: str) -> bool:
    return ord(one) <= 0x1F or 0x7F <= ord(one) <= 0x9F


def _control(one: str) -> str:
    return "^" + chr(ord(one) + 0xC0)


def utf16_units(text: str) -> int:
    """Count what .NET counts as characters."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
