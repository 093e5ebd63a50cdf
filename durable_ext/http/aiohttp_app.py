"""The HTTP server on aiohttp: turns its requests into values and values into its responses; knows no route."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from durable_ext.http.messages import HttpRequestValue, HttpResponseValue

MAX_BODY_BYTES: Final = 210 * 1024 * 1024  # what the Functions host takes

Answer = Callable[[HttpRequestValue], Awaitable[HttpResponseValue]]


def make_server(answer: Answer) -> web.Server:
    """Return a protocol factory for `loop.create_server()`: every request goes to `answer`.

    Bodies over `MAX_BODY_BYTES` are refused with 413.
    """

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        return to_response(await answer(await to_value(request)))

    return web.Server(respond, request_factory=_make_request, access_log=None)


async def to_value(request: web.BaseRequest) -> HttpRequestValue:
    """Read a request, its body included."""
    target = request.raw_path
    if not target.startswith("/"):  # absolute form, as proxies send it
        target = request.rel_url.raw_path_qs
    path, _, query = target.partition("?")
    headers: dict[str, str] = {}
    for name, text in request.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    has_body = request.can_read_body or request.headers.get("Transfer-Encoding") is not None
    return HttpRequestValue(
        method=request.method,
        url=f"{request.scheme}://{request.host}{target}",
        path=path,
        query=query,
        headers=headers,
        body=await request.read() if has_body else None,
    )


def to_response(value: HttpResponseValue) -> web.Response:
    """Return the aiohttp response of a value."""
    response = web.Response(status=value.status, body=value.body or None)
    for name, text in value.headers:
        if name.lower() == "content-type":
            response.headers[name] = text
        elif name.lower() not in ("content-length", "transfer-encoding"):  # the server's own business
            response.headers.add(name, text)
    return response


def _make_request(
    message: RawRequestMessage, payload: StreamReader, protocol: Any, writer: Any, task: asyncio.Task[None]
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)
