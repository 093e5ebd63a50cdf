"""The shared HTTP session of the old package (specs/sdk.md 2.19), against `aiohttp` names that tests of 1.x replace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from azure.durable_functions.models.utils import http_utils


@pytest.fixture(autouse=True)
async def _no_session_left() -> AsyncIterator[None]:
    http_utils._client_session = None
    yield
    await http_utils._close_session()


class Server:
    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.body = b""

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, dict(request.headers), await request.read()))
        return web.Response(body=self.body, status=202)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}/"
    yield server
    await http_utils._close_session()
    await runner.cleanup()


async def test_post_sends_json_and_headers(server: Server) -> None:
    server.body = b'{"id": "i1"}'

    answer = await http_utils.post_async_request(server.url, '{"a": 1}', "tp", "ts", "inv")

    method, headers, body = server.requests[0]
    assert answer == [202, {"id": "i1"}]
    assert (method, json.loads(json.loads(body))) == ("POST", {"a": 1})
    assert (headers["traceparent"], headers["tracestate"]) == ("tp", "ts")
    assert headers["X-Azure-Functions-InvocationId"] == "inv"


async def test_get_of_an_empty_body_is_an_empty_text(server: Server) -> None:
    assert await http_utils.get_async_request(server.url) == [202, ""]


async def test_delete_of_an_empty_body_is_none(server: Server) -> None:
    assert await http_utils.delete_async_request(server.url) == [202, None]


async def test_requests_share_the_session(server: Server) -> None:
    await http_utils.get_async_request(server.url)
    session = http_utils._client_session
    await http_utils.get_async_request(server.url)

    assert http_utils._client_session is session


async def test_a_closed_session_is_replaced(server: Server) -> None:
    await http_utils.get_async_request(server.url)
    session = http_utils._client_session
    assert session is not None
    await session.close()

    await http_utils.get_async_request(server.url)

    assert http_utils._client_session is not session


async def test_the_session_has_the_limits_of_1x(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}

    class Session:
        closed = False

        def __init__(self, **options: Any) -> None:
            made.update(options)

        async def close(self) -> None: ...

    monkeypatch.setattr(aiohttp, "ClientSession", Session)
    monkeypatch.setattr(aiohttp, "TCPConnector", lambda **options: options)

    await http_utils._get_session()

    assert (made["timeout"].total, made["timeout"].sock_connect) == (240, 10)
    assert made["connector"] == {"limit": 30, "limit_per_host": 30, "enable_cleanup_closed": True}


@pytest.mark.parametrize("error", [aiohttp.ClientError("x"), asyncio.TimeoutError()])
async def test_a_transport_error_drops_the_session_and_is_raised(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    class Session:
        closed = False
        closes = 0

        def get(self, *args: Any, **kwargs: Any) -> Any:
            raise error

        async def close(self) -> None:
            Session.closes += 1

    http_utils._client_session = Session()  # type: ignore[assignment]

    with pytest.raises(type(error)):
        await http_utils.get_async_request("http://x")

    assert http_utils._client_session is None
    assert Session.closes == 1
