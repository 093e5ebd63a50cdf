"""What the answer to a refused request says, for a log: the service's code and its message in one line (pure).

The services answer in XML or JSON, in a batch around it, and add the id of the request and the time in lines of their own.
"""

from __future__ import annotations

import json
import re
from html import unescape
from http.client import responses
from typing import Any, Final

from durable_ext.backends.azure_storage.transport.wire import HttpAnswer

_CODE: Final = re.compile(rb"<code>([^<]*)</code>", re.IGNORECASE)
_MESSAGE: Final = re.compile(rb"<message(?:\s[^>]*)?>(.*?)</message>", re.IGNORECASE | re.DOTALL)
_REQUEST: Final = re.compile(r"^RequestId:\s*(\S+)", re.MULTILINE)
_END: Final = re.compile(r"^(?:RequestId|Time|ErrorCode|Content):", re.MULTILINE)
_ODATA_ERROR: Final = re.compile(rb'\{\s*"odata\.error"')
_LONGEST: Final = 300


def refusal_code(answer: HttpAnswer) -> str:
    """Return the service's error code of an answer, the empty string if it has none."""
    header = answer.headers.get("x-ms-error-code")
    if header:
        return header
    found = _CODE.search(answer.body)
    if found:
        return found[1].decode("ascii", "replace")
    try:
        return str(_odata_error(answer.body)["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def refusal_text(answer: HttpAnswer) -> str:
    """Return the message of an answer in one line, with the id under which the service knows the request."""
    return one_line(_message(answer.body), answer.headers.get("x-ms-request-id"))


def failure_text(answer: HttpAnswer) -> str:
    """Return status, code and message of an answer; without a code what the status means, as some say nothing else."""
    said = (str(answer.status), refusal_code(answer) or responses.get(answer.status, ""), refusal_text(answer))
    return " ".join(part for part in said if part)


def one_line(text: str, request_id: str | None = None) -> str:
    """Return a service's message in one line, and the id of the request, which the text may hold too."""
    if request_id is None:
        found = _REQUEST.search(text)
        request_id = found[1] if found else None
    message = " ".join(_END.split(text)[0].split())[:_LONGEST]
    return f"{message} (request {request_id})".strip() if request_id else message


def _message(body: bytes) -> str:
    found = _MESSAGE.search(body)
    if found:
        return unescape(found[1].decode("utf-8", "replace"))
    try:
        return str(_odata_error(body)["message"]["value"])
    except (ValueError, KeyError, TypeError):
        return body[: _LONGEST * 2].decode("utf-8", "replace")  # of something between us and the service


def _odata_error(body: bytes) -> Any:
    found = _ODATA_ERROR.search(body)
    if found is None:
        return {}
    value, _ = json.JSONDecoder().raw_decode(body[found.start() :].decode("utf-8", "replace"))
    return value["odata.error"]
