"""One HTTP/1.1 connection: writes a request, hands back its answer. Knows no pool, no retry, no storage.

The bytes are parsed by httptools (llhttp), which costs 6 µs an answer; h11 costs 125 µs. All that aiohttp does around the
same parser costs about 200 µs a request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, cast

import httptools

from durable_ext.backends.azure_storage.transport.patience import Patience
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer, WireError

_BUFFER_BYTES: Final = 32 * 1024
_KEPT_SECONDS: Final = 15.0
_KEPT_MARGIN: Final = 1.0
_HEADER_NAMES: Final = {
    name.encode(): name.lower()
    for name in (
        *("Server", "Date", "Connection", "Keep-Alive", "Content-Type", "Content-Length", "Transfer-Encoding", "ETag"),
        *("x-ms-request-id", "x-ms-client-request-id", "x-ms-version", "x-ms-popreceipt", "x-ms-time-next-visible"),
    )
}
_WITHOUT_BODY: Final = frozenset({204, 304})


class KeepAliveConnection(asyncio.BufferedProtocol):
    """At most one request at a time. After an answer it is `reusable` until `kept_until`, unless one side closes it.

    Attributes:
        kept_until: Until when the service keeps it open for another request, on the clock of `time.monotonic()`.
        answering: Whether a part of the answer has arrived: before that, the request may not have been seen.
    """

    def __init__(
        self,
        *,
        when_open: Callable[[KeepAliveConnection], None],
        when_closed: Callable[[KeepAliveConnection], None],
    ) -> None:
        self._when_open, self._when_closed = when_open, when_closed
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))  # a view, because asyncio's TLS fills slices of it
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[HttpAnswer] | None = None
        self._timer: asyncio.TimerHandle
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._without_body = self._ends_with_connection = False
        self._is_open = self._keeps_alive = False
        self.kept_until = 0.0
        self.answering = False

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent now."""
        return self._is_open and self._keeps_alive and time.monotonic() < self.kept_until

    async def exchange(self, request: bytes, *, without_body: bool, seconds: float) -> HttpAnswer:
        """Send a request and return its answer; `without_body` = the answer to HEAD.

        Raises:
            WireError: The connection broke, or what came is no HTTP. It is closed then, as after a cancellation.
            TimeoutError: The answer was not complete after so many seconds; the connection is closed.
        """
        if not self._is_open or self._transport is None:
            raise WireError("the connection was closed before the request")
        loop = asyncio.get_running_loop()
        self._headers, self._chunks, self._without_body = {}, [], without_body
        self._ends_with_connection = self._keeps_alive = self.answering = False
        self._parser = httptools.HttpResponseParser(self)
        waiter: asyncio.Future[HttpAnswer] = loop.create_future()
        self._waiter = waiter
        patience = Patience(seconds)
        self._timer = loop.call_later(patience.next_wait(), self._look, patience, seconds)
        self._transport.write(request)
        try:
            return await waiter
        except BaseException:  # a cancellation may come when the answer is there already
            self._keeps_alive = False
            raise
        finally:
            self._timer.cancel()
            self._waiter = self._parser = None
            if not self._keeps_alive:
                self.abort()

    def abort(self) -> None:
        """Close at once."""
        self._is_open = False
        if self._transport is not None:
            self._transport.abort()

    def _look(self, patience: Patience, seconds: float) -> None:
        left = patience.next_wait()
        if left > 0:
            self._timer = asyncio.get_running_loop().call_later(left, self._look, patience, seconds)
        else:
            self._fail(patience.timeout("no complete answer", seconds))

    def _fail(self, error: Exception) -> None:
        self._keeps_alive = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._is_open = True
        self._when_open(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        parser = self._parser
        if parser is None:
            self.abort()  # nobody asked, e.g. a 408 before the service closes an idle connection
            return
        self.answering = True
        try:
            parser.feed_data(self._buffer[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._fail(WireError(f"the answer is no HTTP/1.1: {exc}"))
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_open = False
        if self._waiter is not None and not self._waiter.done():
            if self._ends_with_connection and exc is None:
                self._complete(keeps_alive=False)
            else:
                where = "within the answer" if self.answering else "before an answer"
                self._fail(WireError(f"the connection was closed {where}{f': {exc}' if exc else ''}"))
        self._when_closed(self)

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._waiter is None or self._waiter.done():
            self.abort()  # more than one answer

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[_HEADER_NAMES.get(name) or name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._status()
        if status < 200:
            return
        if self._without_body:
            self._complete(keeps_alive=True)
        elif "content-length" not in self._headers and "transfer-encoding" not in self._headers:
            self._ends_with_connection = status not in _WITHOUT_BODY

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self._status() < 200:  # 100 Continue: the answer follows
            self._headers = {}
            return
        self._complete(keeps_alive=self._parser is not None and self._parser.should_keep_alive())

    def _status(self) -> int:
        return self._parser.get_status_code() if self._parser is not None else 0

    def _complete(self, *, keeps_alive: bool) -> None:
        waiter, headers, self._headers = self._waiter, self._headers, {}
        if waiter is None or waiter.done():
            return
        self._keeps_alive = keeps_alive and headers.get("connection", "").lower() != "close"
        self.kept_until = time.monotonic() + _kept_seconds(headers.get("keep-alive"))
        waiter.set_result(HttpAnswer(self._status(), headers, b"".join(self._chunks)))


def _kept_seconds(header: str | None) -> float:
    """Return how long an idle connection may be used again: less than the service says, as a request needs time too."""
    if header is None:
        return _KEPT_SECONDS
    _, found, seconds = header.partition("timeout=")
    try:
        return min(_KEPT_SECONDS, float(seconds.partition(",")[0]) - _KEPT_MARGIN) if found else _KEPT_SECONDS
    except ValueError:
        return _KEPT_SECONDS
