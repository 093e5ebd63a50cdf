"""A storage service whose every answer a test has written, on a port of this machine, and a clock for its clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from durable_ext.aio.clock import SystemClock
from durable_ext.backends.azure_storage.transport.account import SharedKey, StorageAccount

KEY = SharedKey("acct", b"key")


class LeapingClock(SystemClock):
    """A machine's clock on which pauses are over at once.

    Attributes:
        slept: How long they were, in seconds.
    """

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._time = 0.0

    def monotonic(self) -> float:
        return self._time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._time += seconds


@dataclass
class ScriptedService:
    """Gives its answers one after the other, then the last one for ever; an empty one closes the connection.

    Attributes:
        requests: Their heads.
    """

    answers: list[bytes] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    port: int = 0

    @property
    def account(self) -> StorageAccount:
        endpoint = f"http://127.0.0.1:{self.port}/acct"
        return StorageAccount(blob_endpoint=endpoint, queue_endpoint=endpoint, table_endpoint=endpoint, credential=KEY)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
                self.requests.append(head)
                sent = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if not sent:
                    break
                writer.write(sent)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


@asynccontextmanager
async def scripted_service() -> AsyncIterator[ScriptedService]:
    """Serve on a free port."""
    scripted = ScriptedService()
    listening = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.port = listening.sockets[0].getsockname()[1]
    try:
        yield scripted
    finally:
        listening.close()


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    """Return the bytes of an answer with a `Content-Length`."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
