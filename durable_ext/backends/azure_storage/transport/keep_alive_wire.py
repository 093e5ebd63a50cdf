"""`Wire` for the hot calls: a pool of kept connections per origin, and nothing that the storage services do not need.

No redirects, cookies, compression or proxies. Measured against aiohttp on the same calls in docs/performance.md.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from durable_ext.aio.slots import Slots
from durable_ext.backends.azure_storage.transport.keep_alive_connection import KeepAliveConnection
from durable_ext.backends.azure_storage.transport.sockets import connect_to
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer, WireError

# Also requests that a repeat may find carried out (a dequeue, an update of a message): the transport above tries every
# call again, so that not to repeat here would only be later. What they cost: tests/integration/test_azure_lost_answers.py.
# Not POST: who puts a message has to know that there may be two (`HttpAnswer.attempts`).
_SENT_TWICE: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_WITHOUT_LENGTH: Final = frozenset({"GET", "HEAD"})
_PORTS: Final = {"http": 80, "https": 443}


class _Origin:
    """Where to connect to, and the idle connections, oldest first."""

    __slots__ = ("host", "idle", "is_secure", "netloc", "port")

    def __init__(self, origin: str) -> None:
        parts = urlsplit(origin)
        self.host, self.netloc = parts.hostname or "", parts.netloc
        self.port = parts.port or _PORTS[parts.scheme]
        self.is_secure = parts.scheme == "https"
        self.idle: list[KeepAliveConnection] = []


class KeepAliveWire:
    """`max_connections` bounds the requests under way; the others wait for their turn, which `timeout` does not count."""

    def __init__(self, *, timeout: timedelta, max_connections: int) -> None:
        self._seconds = timeout.total_seconds()
        self._turns = Slots(max_connections)
        self._origins: dict[str, _Origin] = {}
        self._open: set[KeepAliveConnection] = set()
        self._all_closed: asyncio.Event | None = None
        self._tls: ssl.SSLContext | None = None

    async def send(self, method: str, origin: str, target: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        place = self._origins.get(origin)
        if place is None:
            place = self._origins[origin] = _Origin(origin)
        request = _request(method, place.netloc, target, headers, body)
        if not self._turns.try_take():  # first: as a rule nobody waits
            await self._turns.take()
        try:
            return await self._send(place, method, request)
        finally:
            self._turns.give_back()

    async def _send(self, place: _Origin, method: str, request: bytes) -> HttpAnswer:
        connection = _idle_connection(place)
        if connection is not None:
            try:
                return await self._exchange(place, connection, method, request)
            except WireError:
                # The service has closed an idle connection while we wrote: at once and anew what can be repeated.
                if connection.answering or method not in _SENT_TWICE or self._all_closed is not None:
                    raise
        return await self._exchange(place, await self._connect(place), method, request)

    async def _exchange(self, place: _Origin, connection: KeepAliveConnection, method: str, request: bytes) -> HttpAnswer:
        answer = await connection.exchange(request, without_body=method == "HEAD", seconds=self._seconds)
        if connection.reusable:
            place.idle.append(connection)
            oldest = place.idle[0]
            if not oldest.reusable:  # one a request is enough to get rid of them all
                del place.idle[0]
                oldest.abort()
        else:
            connection.abort()
        return answer

    async def _connect(self, place: _Origin) -> KeepAliveConnection:
        if self._all_closed is not None:
            raise WireError("the client was closed")
        if place.is_secure and self._tls is None:
            self._tls = ssl.create_default_context()
        connected = await connect_to(place.host, place.port, seconds=self._seconds)
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: KeepAliveConnection(when_open=self._remember, when_closed=self._forget),
            sock=connected,
            ssl=self._tls if place.is_secure else None,
            server_hostname=place.host if place.is_secure else None,
            ssl_handshake_timeout=self._seconds if place.is_secure else None,
        )
        return connection

    def _remember(self, connection: KeepAliveConnection) -> None:
        self._open.add(connection)
        if self._all_closed is not None:
            connection.abort()

    def _forget(self, connection: KeepAliveConnection) -> None:
        self._open.discard(connection)
        for place in self._origins.values():
            if connection in place.idle:
                place.idle.remove(connection)
        if self._all_closed is not None and not self._open:
            self._all_closed.set()

    async def close(self) -> None:
        if self._all_closed is None:
            self._all_closed = asyncio.Event()
        for connection in tuple(self._open):
            connection.abort()
        if self._open:
            await self._all_closed.wait()


def _idle_connection(place: _Origin) -> KeepAliveConnection | None:
    while place.idle:
        connection = place.idle.pop()  # the one used last: the others may grow old
        if connection.reusable:
            return connection
        connection.abort()
    return None


def _request(method: str, host: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method not in _WITHOUT_LENGTH:
        lines.append(f"content-length: {len(body)}")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise ValueError(f"A header or the target of {method} {target!r} has a line break, which HTTP cannot carry.")
    return head.encode() + b"\r\n\r\n" + body
