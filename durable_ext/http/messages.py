"""HTTP requests and responses as values; know no framework and no durable word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_plus


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequestValue:
    """One request as it came in.

    Attributes:
        method: Upper case.
        url: Absolute URI as received, with its query.
        path: Absolute path as received, still percent-encoded.
        query: Query text without `?`, still percent-encoded.
        headers: Names in lower case; repeated headers joined by a comma.
        body: The whole body; `None` if the request said that it has none (`Content-Length: 0` or no content).
    """

    method: str
    url: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponseValue:
    """One response; `headers` may repeat a name (Set-Cookie)."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class QueryParameters:
    """Query text by the rules of specs/http-api.md 4.1: names without case, values trimmed, then decoded."""

    __slots__ = ("_values",)

    def __init__(self, query: str) -> None:
        self._values: dict[str, list[str]] = {}
        for piece in query.removeprefix("?").split("&"):
            name, found, value = piece.partition("=")
            if not found:
                name, value = "", name
            if piece:
                self._values.setdefault(unquote_plus(name.strip()).lower(), []).append(unquote_plus(value.strip()))

    def get(self, name: str) -> str | None:
        """Return the value, repeated ones joined by a comma; `None` if the name is absent."""
        values = self._values.get(name.lower())
        return ",".join(values) if values is not None else None

    def all(self, name: str) -> list[str]:
        """Return each value of a repeated name."""
        return list(self._values.get(name.lower(), ()))

    def flag(self, name: str, default: bool) -> bool:
        """Return `true`/`false` in any case; anything else counts as absent."""
        return {"true": True, "false": False}.get((self.get(name) or "").strip().lower(), default)

    def integer(self, name: str, default: int) -> int:
        """Return a plain signed integer; anything else counts as absent."""
        try:
            return int(self.get(name) or "")
        except ValueError:
            return default
