"""The request that `call_http` records; knows no HTTP client and no JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from durable_ext.core.timestamps import TICKS_PER_SECOND, Ticks, ticks_from_datetime

_FUNCTION_KEY: Final = frozenset({"x-functions-key"})
_CREDENTIALS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})


class TokenSource:
    """Where a bearer token for `call_http` comes from; see `ManagedIdentityTokenSource`."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """Return the recorded form.

        Raises:
            TypeError: This class is no kind of token source.
        """
        raise TypeError(f"{type(self).__name__} is no token source. Use ManagedIdentityTokenSource.")


class ManagedIdentityTokenSource(TokenSource):
    """A token of the app's managed identity for a resource, e.g. `https://management.core.windows.net`.

    `authority_host` and `tenant_id` are additions to 1.7.0.
    """

    __slots__ = ("_authority_host", "_resource", "_tenant_id")

    def __init__(self, resource: str, *, authority_host: str | None = None, tenant_id: str | None = None) -> None:
        self._resource, self._authority_host, self._tenant_id = resource, authority_host, tenant_id

    @property
    def resource(self) -> str:
        """The resource that the token is for."""
        return self._resource

    def to_json(self) -> dict[str, Any]:
        """Return `resource`, `kind`, and `options` if there are any."""
        document: dict[str, Any] = {"resource": self._resource, "kind": "AzureManagedIdentity"}
        options = {"authorityhost": self._authority_host, "tenantid": self._tenant_id}
        given = {name: value for name, value in options.items() if value is not None}
        if given:
            document["options"] = given
        return document


@dataclass(frozen=True, slots=True)
class DurableHttpRequest:
    """One HTTP request of an orchestration (specs/sdk.md 2.10, specs/execution-semantics.md 11.1).

    `content` is the body as text. `enable_polling` is written only if true: absent means that a 202 is the result.
    """

    method: str
    uri: str
    content: str | None = None
    headers: Mapping[str, str] | None = None
    token_source: TokenSource | None = None
    enable_polling: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return `method`, `uri`, `content`, `headers`, and `tokenSource`, `asynchronousPatternEnabled` if set."""
        document: dict[str, Any] = {
            "method": self.method,
            "uri": self.uri,
            "content": self.content,
            "headers": dict(self.headers) if self.headers is not None else None,
        }
        if self.token_source is not None:
            document["tokenSource"] = self.token_source.to_json()
        if self.enable_polling:
            document["asynchronousPatternEnabled"] = True
        return document

    def polling(self, location: object) -> DurableHttpRequest:
        """Return the GET that asks `location` again: same headers and token, no body, never the function key.

        A relative location is meant from this request's URL. What proves an identity stays behind when the location is on
        another origin.

        Raises:
            ValueError: The location is missing or leads to something other than http(s).
        """
        target = urljoin(self.uri, location) if isinstance(location, str) else ""
        there, here = urlsplit(target), urlsplit(self.uri)
        if there.scheme not in ("http", "https") or not there.netloc:
            raise ValueError(
                f"The answer 202 of {self.uri} has the Location header {location!r}; polling needs an http or https URL. "
                f"Call it with enable_polling=False and poll in the orchestrator."
            )
        same_origin = (there.scheme, there.netloc.lower()) == (here.scheme, here.netloc.lower())
        hidden = _FUNCTION_KEY if same_origin else _FUNCTION_KEY | _CREDENTIALS
        headers = {name: value for name, value in (self.headers or {}).items() if name.lower() not in hidden}
        token_source = self.token_source if same_origin else None
        return replace(self, method="GET", uri=target, content=None, headers=headers or None, token_source=token_source)


def retry_after_ticks(header: object, now: Ticks) -> int | None:
    """Return how long a Retry-After header asks to wait, `None` if it asks nothing: seconds, or an HTTP date.

    Raises:
        ValueError: It is neither; the text quotes it.
    """
    if header is None:
        return None
    text = str(header).strip()
    if text.isdigit():
        return int(text) * TICKS_PER_SECOND
    try:
        date = parsedate_to_datetime(text)
    except ValueError as error:
        raise ValueError(f"The Retry-After header '{text}' is neither a number of seconds nor an HTTP date.") from error
    return max(0, ticks_from_datetime(date) - now)
