"""Calls of a durable client to the management API its binding names: over HTTP, or straight to a host in this process.

A host announces its own base URL here while it serves, so that a client made by hand from the binding's JSON takes no
detour through a socket. The table is the one thing that a host and the clients in user code can share.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from durable_ext.codec.json_text import JsonBody

Endpoint = Callable[[str, str, Mapping[str, str], "bytes | None"], Awaitable["EndpointAnswer"]]
"""`(method, url, headers with lower-case names, body)` → answer; runs on the loop it was announced from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointAnswer:
    """What an endpoint in this process says; `body` is JSON text or empty."""

    status: int
    body: bytes
    continuation: str | None = None


class Answer(list[Any]):
    """`[status, body]`, with the token of the next page."""

    continuation: str | None = None


_endpoints: dict[str, tuple[Endpoint, asyncio.AbstractEventLoop]] = {}


@contextmanager
def announced(base_url: str | None, endpoint: Endpoint) -> Iterator[None]:
    """Answer calls below `base_url` (ends with `/`) in this process while the context lasts; from the endpoint's loop."""
    if base_url is None:
        yield
        return
    _endpoints[base_url] = endpoint, asyncio.get_running_loop()
    try:
        yield
    finally:
        _endpoints.pop(base_url, None)


async def call_endpoint(method: str, url: str, data: str | None, headers: dict[str, str]) -> Answer:
    """Call a management API and return status and parsed body; `data` as in `durable_ext.client.remote.call`.

    Raises:
        UnexpectedResponseError: The body is not JSON.
        aiohttp.ClientError, asyncio.TimeoutError: No answer.
    """
    here = next((found for base, found in _endpoints.items() if url.startswith(base)), None)
    if here is not None:
        return await _call_here(*here, method, url, data, headers)
    from durable_ext.client.remote import call  # aiohttp is loaded only by apps that call another process

    answer = await call(method, url, data=data, headers=headers)
    return _answer(answer.status, answer.body, answer.continuation)


async def _call_here(
    endpoint: Endpoint,
    loop: asyncio.AbstractEventLoop,
    method: str,
    url: str,
    data: str | None,
    headers: dict[str, str],
) -> Answer:
    sent = {name.lower(): value for name, value in headers.items()}
    body = None
    if data is not None:
        body = (data if isinstance(data, JsonBody) else json.dumps(data)).encode()
        sent["content-type"] = "application/json"

    async def answered() -> EndpointAnswer:
        return await endpoint(method, url, sent, body)

    if loop is asyncio.get_running_loop():
        answer = await answered()
    else:
        answer = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answered(), loop))
    return _answer(answer.status, json.loads(answer.body) if answer.body.strip() else None, answer.continuation)


def _answer(status: int, body: Any, continuation: str | None) -> Answer:
    pair = Answer([status, body])
    pair.continuation = continuation
    return pair
