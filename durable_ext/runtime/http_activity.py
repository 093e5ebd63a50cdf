"""The built-in activity behind `call_http`: one HTTP request per call (specs/execution-semantics.md 11)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from durable_ext.core.instance_ids import check_whole_characters
from durable_ext.core.orchestrators import HTTP_ACTIVITY_NAME
from durable_ext.core.timestamps import timespan_from_text
from durable_ext.errors import ConfigurationError, HttpCallError, InvalidArgumentError
from durable_ext.runtime.registry import ActivityDefinition

_CLIENT_TIMEOUT: Final = timedelta(seconds=240)
_MAX_REDIRECTS: Final = 50
_USER_AGENT: Final = "Microsoft.Azure.WebJobs.Extensions.DurableTask/3.0.0 durable_ext"  # compat: servers may look for it
# compat: .NET counts these as headers of the content, and results carry headers of the response only (11.3)
_CONTENT_HEADERS: Final = frozenset(
    {
        "allow",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-length",
        "content-location",
        "content-md5",
        "content-range",
        "content-type",
        "expires",
        "last-modified",
    }
)
# Resources that take a scope's suffix; others are used as they are (11.2)
_SCOPED: Final = ("https://management.core.windows.net", "https://graph.microsoft.com")


class HttpActivity:
    """Makes requests for orchestrations. Used from one event loop; the connection pool opens with the first request."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._credentials: dict[tuple[str | None, str | None], Any] = {}

    @property
    def definition(self) -> ActivityDefinition:
        """The activity under its built-in name."""
        return ActivityDefinition(name=HTTP_ACTIVITY_NAME, call=self.call, is_async=True)

    async def call(self, request: Any) -> dict[str, Any]:
        """Send one request.

        Args:
            request: `method`, `uri`, `headers`, `content`, `tokenSource`, `timeout`, `retryOptions` as in 11.1.

        Returns:
            `statusCode`, `headers` (text, or a list of texts), `content` (text). Any status is a result, unless
            `retryOptions` ask to fail on it.

        Raises:
            HttpCallError: Bad request values, no answer, no token, the timeout, or a status to be retried.
        """
        if not isinstance(request, Mapping):
            raise HttpCallError(f"An HTTP request is expected as an object with 'uri', but got {type(request).__name__}.")
        uri = request.get("uri")
        if not isinstance(uri, str) or not uri.lower().startswith(("http://", "https://")):
            raise HttpCallError(f"The uri {uri!r} is no absolute http or https URL. Give call_http a full URL.")
        method = request.get("method")
        content = request.get("content")
        headers = _request_headers(request.get("headers"), has_body=content is not None)
        token_source = request.get("tokenSource")
        if token_source:
            headers = [(name, value) for name, value in headers if name.lower() != "authorization"]
            headers.append(("Authorization", f"Bearer {await self._token(token_source)}"))
        timeout_text = request.get("timeout")
        limit = timespan_from_text(timeout_text) if isinstance(timeout_text, str) else _CLIENT_TIMEOUT
        _check_characters(uri, method, content, headers)
        try:
            response = await self._send(method if isinstance(method, str) else "GET", uri, headers, content, limit)
        except asyncio.TimeoutError as error:
            reached = f" Reached user specified timeout: {timeout_text}." if isinstance(timeout_text, str) else ""
            raise HttpCallError(f"The operation was canceled.{reached}") from error
        except (aiohttp.ClientError, ValueError, OSError) as error:
            raise HttpCallError(f"{method or 'GET'} {uri} failed: {error or type(error).__name__}") from error
        _check_status(response["statusCode"], request.get("retryOptions"))
        return response

    async def close(self) -> None:
        """Close connections and credentials."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        for credential in self._credentials.values():
            await credential.close()
        self._credentials.clear()

    async def _send(
        self, method: str, uri: str, headers: list[tuple[str, str]], content: Any, limit: timedelta
    ) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=0), trust_env=True
            )
        async with self._session.request(
            method,
            uri,
            headers=headers,
            data=None if content is None else str(content).encode(),
            timeout=aiohttp.ClientTimeout(total=limit.total_seconds()),
            max_redirects=_MAX_REDIRECTS,
        ) as response:
            return {
                "statusCode": response.status,
                "headers": _response_headers(response.headers.items()),
                "content": await response.text(errors="replace"),
            }

    async def _token(self, source: Any) -> str:
        kind = source.get("kind") if isinstance(source, Mapping) else None
        if kind != "AzureManagedIdentity":
            raise HttpCallError(f"The token source kind '{kind}' is not supported.")
        resource = str(source.get("resource") or "")
        bare = resource.rstrip("/")
        scope = f"{bare}/.default" if bare in _SCOPED else resource
        options = source.get("options") or {}
        key = (options.get("authorityhost"), options.get("tenantid"))
        try:
            credential = self._credentials.get(key)
            if credential is None:
                credential = self._credentials[key] = _default_credential(*key)
            return str((await credential.get_token(scope)).token)
        except Exception as error:  # azure-identity raises many kinds; all mean that there is no token
            raise HttpCallError(f"No token for '{resource}': {error}") from error


def _default_credential(authority: str | None, tenant: str | None) -> Any:
    try:
        from azure.identity.aio import DefaultAzureCredential
    except ImportError as error:
        raise ConfigurationError("call_http with a token source needs azure-identity: pip install azure-identity") from error
    wanted = {"authority": authority, "additionally_allowed_tenants": [tenant] if tenant else None}
    return DefaultAzureCredential(**{name: value for name, value in wanted.items() if value is not None})


def _check_characters(uri: str, method: Any, content: Any, headers: list[tuple[str, str]]) -> None:
    """Refuse half a character: it has no bytes, and would be left out of addresses and headers without a word."""
    parts = [("uri", uri), ("method", method), ("content", content)]
    parts += [("header", text) for header in headers for text in header]
    try:
        for part, text in parts:
            check_whole_characters(part, f"The {part} of an HTTP request", str(text))
    except InvalidArgumentError as error:
        raise HttpCallError(str(error)) from error


def _request_headers(given: Any, *, has_body: bool) -> list[tuple[str, str]]:
    headers: list[tuple[str, str]] = []
    content_type = None
    for name, value in (given or {}).items():
        if name.lower() == "content-type":
            content_type = str(value[0] if isinstance(value, list) else value)
            continue
        headers.extend((name, str(each)) for each in (value if isinstance(value, list) else [value]))
    if not any(name.lower() == "user-agent" for name, _ in headers):
        headers.append(("User-Agent", _USER_AGENT))
    if content_type is not None and "multipart" in content_type.lower():
        raise HttpCallError("Multipart content is not supported with CallHttpAsync.")
    if has_body:
        if content_type is None:
            content_type = "text/plain"
        elif content_type.lower() == "application/x-www-form-urlencoded":
            content_type += "; charset=utf-8"
        headers.append(("Content-Type", content_type))
    return headers


def _response_headers(received: Any) -> dict[str, str | list[str]]:
    collected: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for name, value in received:
        if name.lower() in _CONTENT_HEADERS:
            continue
        kept = names.setdefault(name.lower(), name)
        # compat: .NET takes the product tokens of Server apart
        collected.setdefault(kept, []).extend(value.split() if name.lower() == "server" else [value])
    return {name: values[0] if len(values) == 1 else values for name, values in collected.items()}


def _check_status(status: int, retry: Any) -> None:
    """Fail on statuses that the request wants retried; the orchestrator's retry logic sees a failed activity."""
    if not isinstance(retry, Mapping):
        return
    codes = retry.get("StatusCodesToRetry") or retry.get("statusCodesToRetry") or []
    if not codes and not 200 <= status < 300:
        raise HttpCallError(f"Response status code does not indicate success: {status} ({_status_name(status)}).")
    if status in {_code(code) for code in codes}:
        raise HttpCallError(f"Status code {_status_name(status)} received, retry requested.")


def _code(code: Any) -> int:
    if isinstance(code, int):
        return code
    text = str(code)
    if text.isdigit():
        return int(text)
    return next((known.value for known in HTTPStatus if _status_name(known.value) == text), 0)


def _status_name(status: int) -> str:
    """Return .NET's name of a status, e.g. `NotFound`."""
    try:
        return HTTPStatus(status).phrase.replace(" ", "").replace("-", "").replace("'", "")
    except ValueError:
        return str(status)
