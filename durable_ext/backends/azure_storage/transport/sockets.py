"""Connected sockets: a race between the addresses of a host (RFC 8305), which leaves no socket open. Knows no HTTP.

asyncio's own race (`create_connection` with `happy_eyeballs_delay`) loses the socket that has won if it is cancelled at
that moment.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Union

_NEXT_ADDRESS_AFTER: Final = 0.25

AddressEntry = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""Family, kind, protocol, canonical name, address: as `socket.getaddrinfo` returns them."""


async def connect_to(host: str, port: int) -> socket.socket:
    """Return a non-blocking socket that is connected to a host.

    Raises:
        OSError: The name is not known, or no address could be reached.
    """
    return await connect_to_first(await _addresses(host, port))


async def connect_to_first(addresses: Sequence[AddressEntry]) -> socket.socket:
    """Return a socket that is connected to the first of these addresses, at least one, that answers.

    The next one is tried as soon as one has failed, or after 250 ms. All other sockets are closed, and all if this is
    cancelled.

    Raises:
        OSError: None could be reached; the error is that of the first.
    """
    loop = asyncio.get_running_loop()
    left = deque(addresses)
    attempts: list[asyncio.Task[Union[socket.socket, OSError]]] = []
    winner: socket.socket | None = None
    try:
        while True:
            if left:
                attempts.append(loop.create_task(_attempt(left.popleft())))
            under_way = [attempt for attempt in attempts if not attempt.done()]
            if under_way:
                limit = _NEXT_ADDRESS_AFTER if left else None
                await asyncio.wait(under_way, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            ended = [attempt.result() for attempt in attempts if attempt.done()]
            winner = next((outcome for outcome in ended if isinstance(outcome, socket.socket)), None)
            if winner is not None:
                return winner
            if len(ended) == len(addresses):
                raise next(outcome for outcome in ended if isinstance(outcome, OSError))
    finally:
        for attempt in attempts:
            if not attempt.cancel():  # it is over; one that is not closes its socket itself
                outcome = attempt.result()
                if isinstance(outcome, socket.socket) and outcome is not winner:
                    outcome.close()


async def _attempt(entry: AddressEntry) -> socket.socket | OSError:
    family, kind, protocol, _, address = entry
    opened: socket.socket | None = None
    try:
        opened = socket.socket(family, kind, protocol)
        opened.setblocking(False)
        await asyncio.get_running_loop().sock_connect(opened, address)
    except BaseException as error:
        if opened is not None:
            opened.close()
        if isinstance(error, OSError):
            return error
        raise
    return opened


async def _addresses(host: str, port: int) -> Sequence[AddressEntry]:
    """Return the addresses of a host, its families by turns."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)  # asks nobody
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    families: dict[int, int] = {}
    turns: list[tuple[int, AddressEntry]] = []
    for entry in found:
        turn = families[entry[0]] = families.get(entry[0], 0) + 1
        turns.append((turn, entry))
    return [entry for _, entry in sorted(turns, key=lambda each: each[0])]
