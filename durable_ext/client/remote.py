"""The verbs of a management API on another process: one pooled HTTP session per event loop; knows no durable word.

Source: specs/sdk.md 2.11 (bodies, headers), 2.19, BUG-26.
"""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from yarl import URL

from durable_ext.client.query import CONTINUATION_HEADER
from durable_ext.codec.json_text import JsonBody
from durable_ext.errors import UnexpectedResponseError

_TOTAL_SECONDS: Final = 240
_CONNECT_SECONDS: Final = 10
_MOST_CONNECTIONS: Final = 30

_Lifetime = AsyncGenerator[aiohttp.ClientSession, None]
_sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[aiohttp.ClientSession, _Lifetime]] = (
    weakref.WeakKeyDictionary()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAnswer:
    """Status code, parsed JSON body (`None` if empty) and the token of the next page, if there is one."""

    status: int
    body: Any
    continuation: str | None = None


async def call(method: str, url: str, *, data: str | None = None, headers: Mapping[str, str] | None = None) -> RemoteAnswer:
    """Send one request; `data` goes out as a JSON string, the double encoding of 1.x clients, unless it is a `JsonBody`.

    Raises:
        UnexpectedResponseError: The body is not JSON.
        aiohttp.ClientError, asyncio.TimeoutError: No answer; the pooled session is dropped.
    """
    session = await _session()
    try:
        # As it is written: `/instances/..` would lose its last two segments.
        target = URL(url, encoded=True)
        async with session.request(method, target, headers=_with_type(headers, data), **_body(data)) as response:
            text = await response.text()
            status, continuation = response.status, response.headers.get(CONTINUATION_HEADER)
    except (aiohttp.ClientError, asyncio.TimeoutError):
        await close_session()
        raise
    if not text.strip():
        return RemoteAnswer(status=status, body=None, continuation=continuation or None)
    try:
        return RemoteAnswer(status=status, body=json.loads(text), continuation=continuation or None)
    except ValueError as exc:
        raise UnexpectedResponseError(
            status, text, f"{method} {url} answered {status} with a body that is not JSON: {text[:200]!r}"
        ) from exc


def _body(data: str | None) -> dict[str, Any]:
    return {"data": data.encode()} if isinstance(data, JsonBody) else {"json": data}


def _with_type(headers: Mapping[str, str] | None, data: str | None) -> Mapping[str, str]:
    return {**(headers or {}), **({"Content-Type": "application/json"} if isinstance(data, JsonBody) else {})}


async def close_session() -> None:
    """Close the session of the running loop; the next call opens another one."""
    entry = _sessions.pop(asyncio.get_running_loop(), None)
    if entry is not None:
        await entry[1].aclose()


async def _session() -> aiohttp.ClientSession:
    loop = asyncio.get_running_loop()
    entry = _sessions.get(loop)
    if entry is None or entry[0].closed:
        lifetime = _open_session()
        entry = (await lifetime.__anext__(), lifetime)
        _sessions[loop] = entry
    return entry[0]


async def _open_session() -> _Lifetime:
    """Yield one session and close it when this generator is closed.

    `asyncio.run` closes the generators of its loop: that is how sync functions leave no session behind.
    """
    session = aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=_TOTAL_SECONDS, sock_connect=_CONNECT_SECONDS, sock_read=None),
        connector=aiohttp.TCPConnector(limit=_MOST_CONNECTIONS, limit_per_host=_MOST_CONNECTIONS),
    )
    try:
        yield session
    finally:
        await session.close()
