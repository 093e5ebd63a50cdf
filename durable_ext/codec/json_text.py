"""JSON text in the exact forms that other writers of a task hub give it; knows no durable word.

Two dialects: Python's (`", "` separators, ASCII) for what the SDK writes, and Newtonsoft's (compact, non-ASCII as it is)
for what the host rewrites (specs/execution-semantics.md 3.1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any

import orjson

_SPECIAL = re.compile("[\x85\u2028\u2029\ud800-\udfff]")
_decode: Callable[[str], Any] = json.JSONDecoder().decode


class JsonBody(str):
    """JSON text that a request sends as it is; other texts go out as a JSON string, the double encoding of 1.x clients."""


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def host_string(text: str) -> str:
    """Return a text as a JSON string the way Newtonsoft writes it.

    Non-ASCII characters stay, except U+0085, U+2028 and U+2029. A lone surrogate is escaped, so that it survives UTF-8.
    """
    quoted = encode_basestring(text)
    return quoted if quoted.isascii() else _SPECIAL.sub(_escape, quoted)


def sdk_string(text: str) -> str:
    """Return a text as the JSON string that Python's `json.dumps` writes."""
    return encode_basestring_ascii(text)


def host_document(document: str) -> str:
    """Return a compact JSON document with the escapes of `host_string` in all its texts."""
    return document if document.isascii() else _SPECIAL.sub(_escape, document)


def loads(document: str) -> Any:
    """Parse JSON as Python's `json.loads` does: NaN, lone surrogates and integers of any length included.

    Raises:
        json.JSONDecodeError: Not JSON.
        ValueError: An integer has more digits than the interpreter converts.
        RecursionError: Nested deeper than the interpreter's recursion limit.
    """
    if document[:1] == '"':  # the common payload; what orjson accepts of it, both parsers read alike
        try:
            return orjson.loads(document)
        except orjson.JSONDecodeError:
            pass
    return _decode(document)


def loads_strings(document: str) -> Any:
    """Parse JSON of which only the strings matter: faster than `loads`, but integers over 64 bits are rounded.

    Raises:
        json.JSONDecodeError: Not JSON.
    """
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError:
        return _decode(document)


def is_json(document: str) -> bool:
    """Whether a text is a JSON document."""
    try:
        orjson.loads(document)
    except orjson.JSONDecodeError:
        try:
            _decode(document)
        except (ValueError, RecursionError):
            return False
    return True
