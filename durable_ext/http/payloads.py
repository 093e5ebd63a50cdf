"""JSON of the management API: what goes into bodies and what comes out of them; knows no client and no route.

Bodies are built as text because stored payloads are embedded without a detour through Python objects where possible.
Source: specs/http-api.md 4.5, 5.1 (token rule), 9.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from durable_ext.core.instances import InstanceRow
from durable_ext.core.timestamps import TICKS_PER_SECOND, Ticks, ticks_to_round_trip_iso
from durable_ext.http.messages import HttpResponseValue

JSON_TYPE = ("Content-Type", "application/json; charset=utf-8")
_CHARSET = re.compile(r"charset\s*=\s*\"?([^\s;\"]+)", re.IGNORECASE)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class InvalidJsonError(ValueError):
    """A request body is not JSON."""


class UnknownCharsetError(LookupError):
    """The request names a character set that Python does not have."""


def quote(text: str) -> str:
    """Return the text as a JSON string; only what JSON demands is escaped."""
    return json.dumps(text, ensure_ascii=False)


def double_text(value: float) -> str:
    """Write a double as .NET does: `1.0`, `1E+20`, `1E-05`; NaN and infinities become JSON strings."""
    if value != value:
        return '"NaN"'
    if value in (float("inf"), float("-inf")):
        return '"Infinity"' if value > 0 else '"-Infinity"'
    sign, digit_tuple, exponent = Decimal(repr(value)).as_tuple()
    digits = "".join(map(str, digit_tuple)).rstrip("0")
    if not digits:
        return "-0.0" if sign else "0.0"
    scale = len(digit_tuple) + int(exponent) - 1
    prefix = "-" if sign else ""
    if -5 < scale < 15:
        if scale < 0:
            return f"{prefix}0.{'0' * (-scale - 1)}{digits}"
        whole, fraction = digits[: scale + 1].ljust(scale + 1, "0"), digits[scale + 1 :]
        return f"{prefix}{whole}.{fraction or '0'}"
    mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{prefix}{mantissa}E{'+' if scale > 0 else '-'}{abs(scale):02d}"


def _write(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{quote(key)}:{_write(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_write, value)) + "]"
    if isinstance(value, float):
        return double_text(value)
    return json.dumps(value, ensure_ascii=False)


def rewrite_json(text: str) -> str:
    """Parse JSON and write it again without white space, numbers as .NET writes them; big integers keep their digits.

    Raises:
        ValueError: The text is not JSON, or is nested too deeply to be parsed.
    """
    doubles = False

    def parse_double(literal: str) -> float:
        nonlocal doubles
        doubles = True
        return float(literal)

    try:
        value = json.loads(text, parse_float=parse_double, parse_constant=parse_double, parse_int=_parse_integer)
        return _write(value) if doubles else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError as exc:
        raise ValueError("The JSON text is nested too deeply.") from exc


def _parse_integer(literal: str) -> int | float:  # Python refuses int() of over 4,300 digits
    return int(literal) if len(literal) < 4000 else float(literal)


def token(text: str | None) -> str:
    """Return stored text as a JSON value: `null`, `""` if blank, the JSON it holds, or else itself as a string."""
    if text is None:
        return "null"
    if not text or text.isspace():
        return '""'
    try:
        return rewrite_json(text)
    except ValueError:
        return quote(text)


def seconds_iso(ticks: Ticks) -> str:
    """Format an instant as status bodies have it: `yyyy-MM-ddTHH:mm:ssZ`, the fraction cut off."""
    return ticks_to_round_trip_iso(Ticks(ticks - ticks % TICKS_PER_SECOND))[:19] + "Z"


def instance_body(row: InstanceRow, *, show_input: bool = True, history: str | None = None) -> str:
    """Return the status object of an instance; `history` is the JSON array of `historyEvents`, left out if `None`."""
    parts = [
        f'{{"name":{quote(row.name)},"instanceId":{quote(row.instance_id)},"runtimeStatus":"{row.status.value}"',
        f'"input":{token(row.input) if show_input else "null"}',
        f'"customStatus":{token(row.custom_status)}',
        f'"output":{token(row.output)}',
        f'"createdTime":"{seconds_iso(row.created_at)}","lastUpdatedTime":"{seconds_iso(row.last_updated_at)}"',
    ]
    if history is not None:
        parts.append(f'"historyEvents":{history}')
    return ",".join(parts) + "}"


def encode(text: str) -> bytes:
    """Encode a body; half a surrogate pair, which UTF-8 cannot hold, becomes U+FFFD."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return _LONE_SURROGATE.sub("�", text).encode("utf-8")


def json_response(status: int, text: str, *headers: tuple[str, str]) -> HttpResponseValue:
    """Return a response whose body is the given JSON text."""
    return HttpResponseValue(status=status, headers=(JSON_TYPE, *headers), body=encode(text))


def empty_response(status: int) -> HttpResponseValue:
    """Return a response without any body."""
    return HttpResponseValue(status=status)


def error_response(status: int, message: str, error: BaseException | str | None = None) -> HttpResponseValue:
    """Return an error object: `Message`, and with an error also `ExceptionMessage`, `ExceptionType`, `StackTrace`.

    Only what went wrong here has a stack; what the caller can put right, and a store that is away (503), have `null` there.
    """
    body: dict[str, str | None] = {"Message": message}
    if isinstance(error, str):
        body.update(ExceptionMessage=error, ExceptionType="System.ArgumentException", StackTrace=None)
    elif error is not None:
        frames = traceback.format_tb(error.__traceback__) if status >= 500 and status != 503 else []
        body.update(ExceptionMessage=str(error), ExceptionType=type(error).__qualname__, StackTrace="".join(frames) or None)
    return json_response(status, json.dumps(body, ensure_ascii=False, separators=(",", ":")))


def body_text(body: bytes, content_type: str) -> str:
    """Decode a body with the charset of its content type, UTF-8 by default; a byte-order mark is dropped.

    Raises:
        UnknownCharsetError: The charset is unknown.
        InvalidJsonError: The bytes are not of that charset.
    """
    match = _CHARSET.search(content_type)
    charset = match.group(1) if match else "utf-8"
    try:
        return body.decode(charset).removeprefix("\ufeff")
    except LookupError as exc:
        raise UnknownCharsetError(f"The character set '{charset}' is not supported.") from exc
    except UnicodeDecodeError as exc:
        raise InvalidJsonError(f"The body is not valid {charset}: {exc.reason} at byte {exc.start}.") from exc


def check_json(text: str) -> None:
    """Accept a text that is one JSON value.

    Raises:
        InvalidJsonError: It is not; the text says where.
    """
    try:
        json.loads(text)
    except RecursionError as exc:
        raise InvalidJsonError("The JSON text is nested too deeply.") from exc
    except ValueError as exc:
        raise InvalidJsonError(str(exc)) from exc


def first_json_value(text: str) -> str:
    """Return the first JSON value of a text, rewritten without white space; what follows it is ignored.

    Raises:
        InvalidJsonError: The text is blank or does not begin with a JSON value.
    """
    stripped = text.lstrip(" \t\r\n")
    try:
        _, end = json.JSONDecoder(parse_int=_parse_integer).raw_decode(stripped)
        return rewrite_json(stripped[:end])
    except RecursionError as exc:
        raise InvalidJsonError("The JSON text is nested too deeply.") from exc
    except ValueError as exc:
        raise InvalidJsonError(str(exc)) from exc


def compact_object(values: Mapping[str, str]) -> str:
    """Return a JSON object of strings without white space."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))
