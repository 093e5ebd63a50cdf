"""A proxy before an emulator that carries requests out and loses answers: the connection closes instead."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


class AnswerLoser:
    """Loses the answer to every `nth` request of a method, if it came over a connection that was used before.

    Attributes:
        lost: How many answers were lost, by method and path without numbers.
        methods: Whose answers.
    """

    def __init__(self, nth: int, methods: frozenset[str]) -> None:
        self._nth, self.methods = nth, methods
        self._seen: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def loses(self, method: str, target: str, *, is_first: bool) -> bool:
        """Whether the answer to this request does not arrive."""
        if method not in self.methods or is_first:
            return False
        what = f"{method} {'/messages/' if '/messages/' in target else '/messages' if '/messages' in target else 'other'}"
        self._seen[what] += 1
        if self._seen[what] % self._nth:
            return False
        self.lost[what] += 1
        return True

    async def serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand requests of one connection on to the emulator's port, and its answers back."""
        is_first = True
        service, answers = await asyncio.open_connection("127.0.0.1", port)
        try:
            while True:
                head, body = await _message(reader)
                answers.write(head + body)
                method, target = head.split(b" ", 2)[:2]
                answer = await _message(service, has_body=method != b"HEAD")
                if self.loses(method.decode(), target.decode(), is_first=is_first):
                    break
                writer.write(b"".join(answer))
                await writer.drain()
                is_first = False
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            answers.close()
            writer.close()


async def _message(reader: asyncio.StreamReader, *, has_body: bool = True) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    if not has_body:
        return head, b""
    length = _LENGTH.search(head)
    if length is not None:
        return head, await reader.readexactly(int(length[1]))
    body = b""
    while _CHUNKED.search(head) and not body.endswith(b"0\r\n\r\n"):
        size = await reader.readuntil(b"\r\n")
        body += size + await reader.readexactly(int(size, 16) + 2)
    return head, body


@asynccontextmanager
async def losing_answers(loser: AnswerLoser, ports: Sequence[int]) -> AsyncIterator[list[int]]:
    """Listen before the given ports of an emulator; yields ours, in the same order."""
    servers = []
    for port in ports:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = port) -> None:
            await loser.serve(port, reader, writer)

        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
    try:
        yield [server.sockets[0].getsockname()[1] for server in servers]
    finally:
        for server in servers:
            server.close()
