"""HTTP requests through one shared session (specs/sdk.md 2.19)."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import aiohttp

_client_session: aiohttp.ClientSession | None = None
_session_lock = asyncio.Lock()


async def _get_session() -> aiohttp.ClientSession:
    global _client_session
    async with _session_lock:
        if _client_session is None or _client_session.closed:
            with warnings.catch_warnings():
                # compat: newer versions of aiohttp say that they ignore enable_cleanup_closed
                warnings.simplefilter("ignore", DeprecationWarning)
                connector = aiohttp.TCPConnector(limit=30, limit_per_host=30, enable_cleanup_closed=True)
            timeout = aiohttp.ClientTimeout(total=240, sock_connect=10, sock_read=None)
            _client_session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        return _client_session


async def _close_session() -> None:
    global _client_session
    async with _session_lock:
        session, _client_session = _client_session, None
        if session is not None and not session.closed:
            await session.close()


async def post_async_request(
    url: str,
    data: Any = None,
    trace_parent: str | None = None,
    trace_state: str | None = None,
    function_invocation_id: str | None = None,
) -> list[Any]:
    """POST data as JSON; return status and parsed body, `None` for an empty one."""
    headers = _headers(function_invocation_id)
    if trace_parent:
        headers["traceparent"] = trace_parent
    if trace_state:
        headers["tracestate"] = trace_state
    session = await _get_session()
    try:
        async with session.post(url, json=data, headers=headers) as response:
            return [response.status, await response.json(content_type=None)]
    except (aiohttp.ClientError, asyncio.TimeoutError):
        await _close_session()
        raise


async def get_async_request(url: str, function_invocation_id: str | None = None) -> list[Any]:
    """GET; return status and parsed body, an empty text for an empty one."""
    session = await _get_session()
    try:
        async with session.get(url, headers=_headers(function_invocation_id)) as response:
            body = await response.json(content_type=None)
            return [response.status, "" if body is None else body]
    except (aiohttp.ClientError, asyncio.TimeoutError):
        await _close_session()
        raise


async def delete_async_request(url: str, function_invocation_id: str | None = None) -> list[Any]:
    """DELETE; return status and parsed body, `None` for an empty one."""
    session = await _get_session()
    try:
        async with session.delete(url, headers=_headers(function_invocation_id)) as response:
            return [response.status, await response.json(content_type=None)]
    except (aiohttp.ClientError, asyncio.TimeoutError):
        await _close_session()
        raise


def _headers(function_invocation_id: str | None) -> dict[str, str]:
    return {"X-Azure-Functions-InvocationId": function_invocation_id} if function_invocation_id else {}


__all__ = ["delete_async_request", "get_async_request", "post_async_request"]
