"""The lean HTTP client against a server whose every byte is scripted."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Union

import pytest
from support.managed_identity import write_certificate

from durable_ext.backends.azure_storage.transport.aiohttp_wire import AiohttpWire
from durable_ext.backends.azure_storage.transport.keep_alive_wire import KeepAliveWire
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer, Wire, WireError, open_wire, proxy_of
from durable_ext.testing.eventually import eventually

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LIMIT = timedelta(seconds=20)


@dataclass
class Script:
    """Answers of one connection after the other; each is a list of pieces per request, `None` closes the connection.

    Attributes:
        connections: What is left of the script; the last connection's repeats for all that follow.
        requests: Heads of the requests, in order.
        bodies: Their bodies.
        opened: How many connections were made.
    """

    connections: list[list[list[bytes | None]]]
    requests: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    origin: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        answers = self.connections.pop(0) if len(self.connections) > 1 else list(self.connections[0])
        try:
            for pieces in answers:
                await self._answer(reader, writer, pieces)
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed += 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: list[bytes | None]) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = [line.partition(":")[2] for line in head.lower().split("\r\n") if line.startswith("content-length:")]
        self.requests.append(head)
        self.bodies.append(await reader.readexactly(int(length[0])) if length else b"")
        for piece in pieces:
            if piece is None:
                raise ConnectionError
            if piece == b"wait":
                await self.gate.wait()
                continue
            writer.write(piece)
            await writer.drain()


Serve = Callable[[list[list[list[Union[bytes, None]]]]], Awaitable[Script]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[asyncio.Server] = []

    async def start(connections: list[list[list[bytes | None]]]) -> Script:
        script = Script(connections)
        server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
        servers.append(server)
        script.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return script

    yield start
    for server in servers:
        server.close()


@pytest.fixture
async def wire() -> AsyncIterator[KeepAliveWire]:
    opened = KeepAliveWire(timeout=LIMIT, max_connections=10)
    yield opened
    await opened.close()


@pytest.fixture(params=["lean", "aiohttp"])
async def any_wire(request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    kinds: dict[str, Callable[..., Wire]] = {"lean": KeepAliveWire, "aiohttp": AiohttpWire}
    opened = kinds[request.param](timeout=LIMIT, max_connections=10)
    yield opened
    await opened.close()


async def get(wire: Wire, script: Script, target: str = "/a/q?x=1") -> HttpAnswer:
    return await wire.send("GET", script.origin, target, {"x-ms-version": "1"}, b"")


ANSWERS = {
    "with a length": (b"HTTP/1.1 201 Created\r\nX-MS-Id: 7\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "in chunks": (
        b"HTTP/1.1 201 Created\r\nx-ms-id:7\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        b"hello",
    ),
    "empty": (b"HTTP/1.1 201 Created\r\nx-ms-id: 7\r\nContent-Length: 0\r\n\r\n", b""),
    "after an interim answer": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nx-ms-id: 7\r\nContent-Length: 2\r\n\r\nhi",
        b"hi",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_the_same_in_one_piece_and_byte_by_byte(any_wire: Wire, serve: Serve, name: str) -> None:
    text, body = ANSWERS[name]
    script = await serve([[[text], [text[i : i + 1] for i in range(len(text))]]])

    found = [await get(any_wire, script) for _ in range(2)]

    assert [(one.status, one.headers["x-ms-id"], one.body) for one in found] == [(201, "7", body)] * 2
    assert script.opened == 1


async def test_an_answer_without_a_length_ends_with_its_connection(any_wire: Wire, serve: Serve) -> None:
    script = await serve([[[b"HTTP/1.1 200 OK\r\n\r\nall ", b"of it", None]]])

    assert (await get(any_wire, script)).body == b"all of it"


async def test_no_content_needs_no_length(any_wire: Wire, serve: Serve) -> None:
    script = await serve([[[b"HTTP/1.1 204 No Content\r\n\r\n"], [OK]]])

    assert (await get(any_wire, script)).status == 204
    assert (await get(any_wire, script)).body == b"ok"
    assert script.opened == 1


async def test_the_answer_to_head_has_a_length_but_no_body(any_wire: Wire, serve: Serve) -> None:
    script = await serve([[[b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"], [OK]]])

    assert (await any_wire.send("HEAD", script.origin, "/a", {}, b"")).body == b""
    assert (await get(any_wire, script)).body == b"ok"


async def test_a_request_names_its_host_its_headers_and_its_length(wire: KeepAliveWire, serve: Serve) -> None:
    script = await serve([[[OK], [OK], [OK]]])

    await wire.send("POST", script.origin, "/a/q?b=%20c", {"x-ms-date": "now"}, b"body")
    await wire.send("PUT", script.origin, "/a", {}, b"")
    await wire.send("GET", script.origin, "/a", {}, b"")

    host = script.origin.removeprefix("http://")
    assert script.requests == [
        f"POST /a/q?b=%20c HTTP/1.1\r\nhost: {host}\r\nx-ms-date: now\r\ncontent-length: 4\r\n\r\n",
        f"PUT /a HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n",
        f"GET /a HTTP/1.1\r\nhost: {host}\r\n\r\n",
    ]
    assert script.bodies == [b"body", b"", b""]


@pytest.mark.parametrize("headers", [{"if-match": "a\r\nx: y"}, {"if-match": "a\ny"}, {"if\rmatch": "a"}])
async def test_a_line_break_cannot_become_a_header(wire: KeepAliveWire, serve: Serve, headers: dict[str, str]) -> None:
    script = await serve([[[OK]]])

    with pytest.raises(ValueError, match="line break"):
        await wire.send("GET", script.origin, "/a", headers, b"")

    assert script.opened == 0


@pytest.mark.parametrize(
    "pieces",
    [
        [None],
        [b"HTTP/1.1 200 OK\r\nContent-Le", None],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", None],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", None],
        [b"SSH-2.0-OpenSSH_9.2\r\n"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
    ],
)
async def test_half_an_answer_is_none(any_wire: Wire, serve: Serve, pieces: list[bytes | None]) -> None:
    script = await serve([[pieces], [[OK]]])

    with pytest.raises(WireError):
        await any_wire.send("POST", script.origin, "/a", {}, b"x")
    assert (await get(any_wire, script)).body == b"ok"


async def test_an_answer_that_does_not_come_ends_with_a_timeout(serve: Serve) -> None:
    script = await serve([[[b"HTTP/1.1 200 OK\r\n", b"wait"]], [[OK]]])
    wire = KeepAliveWire(timeout=timedelta(milliseconds=50), max_connections=1)

    with pytest.raises(TimeoutError, match=r"0\.05 s"):
        await get(wire, script)

    assert (await get(wire, script)).body == b"ok"
    script.gate.set()
    await wire.close()


@pytest.mark.parametrize(("method", "sent"), [("GET", 3), ("DELETE", 3), ("POST", 2)])
async def test_what_may_be_repeated_is_sent_again_when_a_kept_connection_was_closed(
    wire: KeepAliveWire, serve: Serve, method: str, sent: int
) -> None:
    script = await serve([[[OK], [None]], [[OK]]])
    await get(wire, script)

    answers = await asyncio.gather(wire.send(method, script.origin, "/a", {}, b""), return_exceptions=True)

    assert len(script.requests) == sent
    assert isinstance(answers[0], HttpAnswer if sent == 3 else WireError)


async def test_a_new_connection_that_breaks_is_not_tried_again_here(wire: KeepAliveWire, serve: Serve) -> None:
    script = await serve([[[None]]])

    with pytest.raises(WireError, match="before an answer"):
        await get(wire, script)

    assert len(script.requests) == 1


@pytest.mark.parametrize(
    "headers", [b"Connection: close\r\n", b"Keep-Alive: timeout=1\r\n", b"Connection: close\r\nKeep-Alive: timeout=60\r\n"]
)
async def test_a_connection_that_the_service_does_not_keep_is_not_used_again(
    wire: KeepAliveWire, serve: Serve, headers: bytes
) -> None:
    script = await serve([[[b"HTTP/1.1 200 OK\r\n" + headers + b"Content-Length: 2\r\n\r\nok"]]])

    await get(wire, script)
    await get(wire, script)

    assert script.opened == 2


@pytest.mark.parametrize(
    "header", [b"Keep-Alive: timeout=60, max=9\r\n", b"Keep-Alive: max=9\r\n", b"Keep-Alive: timeout=x\r\n"]
)
async def test_other_keep_alive_headers_do_not_end_a_connection(wire: KeepAliveWire, serve: Serve, header: bytes) -> None:
    text = b"HTTP/1.1 200 OK\r\n" + header + b"Content-Length: 2\r\n\r\nok"
    script = await serve([[[text], [text]]])

    await get(wire, script)
    await get(wire, script)

    assert script.opened == 1


@pytest.mark.parametrize("more", [OK, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", b"?"])
async def test_bytes_that_nobody_asked_for_end_the_connection_and_reach_nobody(
    wire: KeepAliveWire, serve: Serve, more: bytes
) -> None:
    script = await serve([[[OK + more]], [[OK]]])

    first = await get(wire, script)
    second = await get(wire, script)

    assert (first.status, first.body, second.status, second.body) == (200, b"ok", 200, b"ok")
    assert script.opened == 2


async def test_a_late_answer_on_an_idle_connection_ends_it(wire: KeepAliveWire, serve: Serve) -> None:
    script = await serve([[[OK, b"wait", b"HTTP/1.1 408 Request Timeout\r\n\r\n"]], [[OK]]])
    await get(wire, script)

    script.gate.set()
    await eventually(lambda: script.closed == 1)

    assert (await get(wire, script)).status == 200
    assert script.opened == 2


async def test_requests_beyond_the_limit_wait_for_their_turn(serve: Serve) -> None:
    ready: list[list[bytes | None]] = [[OK]] * 10
    script = await serve([[[b"wait", OK], *ready]])
    wire = KeepAliveWire(timeout=LIMIT, max_connections=2)

    waiting = [asyncio.ensure_future(get(wire, script)) for _ in range(8)]
    await eventually(lambda: len(script.requests) == 2)
    script.gate.set()
    found = await asyncio.gather(*waiting)

    assert [one.body for one in found] == [b"ok"] * 8
    assert script.opened == 2
    await wire.close()


async def test_a_request_that_is_cancelled_while_it_waits_leaves_its_turn_to_the_next(serve: Serve) -> None:
    ready: list[list[bytes | None]] = [[OK]] * 10
    script = await serve([[[b"wait", OK], *ready]])
    wire = KeepAliveWire(timeout=LIMIT, max_connections=1)
    waiting = [asyncio.ensure_future(get(wire, script)) for _ in range(4)]
    await eventually(lambda: len(script.requests) == 1)

    waiting[1].cancel()
    script.gate.set()
    await waiting[0]
    waiting[2].cancel()  # its turn has come, but it has not run yet
    last = await waiting[3]

    assert last.body == b"ok"
    assert [one.cancelled() for one in waiting] == [False, True, True, False]
    await wire.close()


async def test_a_cancelled_request_takes_its_connection_with_it(wire: KeepAliveWire, serve: Serve) -> None:
    script = await serve([[[b"wait", OK]], [[OK]]])
    waiting = asyncio.ensure_future(get(wire, script))
    await eventually(lambda: len(script.requests) == 1)

    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    script.gate.set()

    assert (await get(wire, script)).body == b"ok"
    assert script.opened == 2


async def test_closing_ends_what_is_under_way_and_refuses_what_comes(wire: KeepAliveWire, serve: Serve) -> None:
    script = await serve([[[OK]], [[b"wait"]]])
    await get(wire, script)
    waiting = [asyncio.ensure_future(wire.send("POST", script.origin, "/", {}, b"")) for _ in range(2)]
    await eventually(lambda: script.opened == 2)

    await wire.close()
    script.gate.set()

    assert [type(one) for one in await asyncio.gather(*waiting, return_exceptions=True)] == [WireError, WireError]
    with pytest.raises(WireError):
        await get(wire, script)
    await wire.close()


async def test_nobody_listening_is_an_os_error(any_wire: Wire) -> None:
    with pytest.raises(OSError, match="onnect"):
        await any_wire.send("GET", "http://127.0.0.1:9", "/", {}, b"")


async def test_a_large_body_goes_both_ways(any_wire: Wire, serve: Serve) -> None:
    body = bytes(range(256)) * 4096
    script = await serve([[[b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body]]])

    found = await any_wire.send("PUT", script.origin, "/a", {}, body)

    assert found.body == script.bodies[0] == body


async def test_answers_of_many_chunks_are_whole_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = write_certificate(tmp_path)
    body = bytes(range(256)) * 1024
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[i : i + 700] for i in range(0, len(body), 700)))
    text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    script = Script([[[text], [text]]])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0, ssl=context)
    script.origin = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    wire = KeepAliveWire(timeout=LIMIT, max_connections=1)

    found = [await wire.send("POST", script.origin, "/a", {}, body) for _ in range(2)]

    assert [one.body for one in found] == [body, body]
    assert script.bodies == [body, body]
    assert script.opened == 1
    await wire.close()
    server.close()


@pytest.mark.parametrize(
    ("environment", "origin", "expected"),
    [
        ({}, "https://acct.queue.core.windows.net", None),
        ({"https_proxy": "http://proxy:3128"}, "https://acct.queue.core.windows.net", "http://proxy:3128"),
        ({"http_proxy": "http://proxy:3128"}, "https://acct.queue.core.windows.net", None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": ".windows.net"}, "https://acct.queue.core.windows.net", None),
        ({"http_proxy": "http://proxy:3128"}, "http://127.0.0.1:10001", None),
        ({"http_proxy": "http://proxy:3128"}, "http://[::1]:10001", None),
        ({"http_proxy": "http://proxy:3128"}, "http://localhost:10001", None),
        ({"http_proxy": "http://proxy:3128"}, "http://azurite:10001", "http://proxy:3128"),
    ],
)
async def test_a_proxy_of_the_system_is_used_unless_it_is_excepted(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], origin: str, expected: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    opened = open_wire(frozenset({origin}), timeout=LIMIT, max_connections=1)

    assert proxy_of(origin) == expected
    assert isinstance(opened, KeepAliveWire if expected is None else AiohttpWire)


async def test_requests_go_through_the_proxy_in_absolute_form(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    script = await serve([[[OK]]])
    monkeypatch.setenv("http_proxy", script.origin)
    monkeypatch.delenv("no_proxy", raising=False)
    wire = open_wire(frozenset({"http://azurite:10001"}), timeout=LIMIT, max_connections=1)

    answer = await wire.send("GET", "http://azurite:10001", "/acct/q", {}, b"")

    assert answer.body == b"ok"
    assert script.requests[0].startswith("GET http://azurite:10001/acct/q HTTP/1.1\r\n")
    await wire.close()
