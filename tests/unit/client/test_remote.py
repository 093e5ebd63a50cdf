"""The verbs of a management API against a server that counts bytes and connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from durable_ext.client.remote import call, close_session
from durable_ext.errors import UnexpectedResponseError


class Server:
    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, str | None, bytes]] = []
        self.paths: list[str] = []
        self.connections: set[Any] = set()
        self.answer: Callable[[], web.Response] = web.Response

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.headers.get("Content-Type"), await request.read()))
        self.paths.append(request.raw_path)
        self.connections.add(request.transport)
        return self.answer()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}/"
    yield server
    await close_session()
    await runner.cleanup()


async def test_data_goes_out_as_a_json_string(server: Server) -> None:
    await call("POST", server.url, data='{"a": 1}')

    assert server.requests == [("POST", "application/json", b'"{\\"a\\": 1}"')]


async def test_no_data_is_an_empty_body(server: Server) -> None:
    await call("POST", server.url)

    assert server.requests[0][2] == b""


async def test_an_empty_answer_has_no_body(server: Server) -> None:
    answer = await call("GET", server.url)

    assert (answer.status, answer.body, answer.continuation) == (200, None, None)


async def test_an_answer_is_parsed_whatever_its_content_type(server: Server) -> None:
    server.answer = lambda: web.Response(text='{"a": 1}', headers={"x-ms-continuation-token": "next"})

    answer = await call("GET", server.url)

    assert (answer.body, answer.continuation) == ({"a": 1}, "next")


async def test_an_answer_that_is_not_json_is_an_error_that_shows_it(server: Server) -> None:
    server.answer = lambda: web.Response(status=502, text="<html>")

    with pytest.raises(UnexpectedResponseError, match="<html>") as refused:
        await call("GET", server.url)

    assert refused.value.status_code == 502


async def test_calls_share_one_connection(server: Server) -> None:
    for _ in range(3):
        await call("GET", server.url)

    assert len(server.connections) == 1


@pytest.mark.parametrize("path", ["instances/.", "instances/../x", "a%2Fb", "a%252Fb", "%2E%2E", "a%20b?q=%2B"])
async def test_a_path_is_sent_as_it_is_written(server: Server, path: str) -> None:
    await call("GET", f"{server.url}{path}")

    assert server.paths == [f"/{path}"]


def test_every_event_loop_has_a_session_of_its_own() -> None:
    async def refused() -> None:
        with pytest.raises(aiohttp.ClientError):
            await call("GET", "http://127.0.0.1:9/")

    asyncio.run(refused())
    asyncio.run(refused())
