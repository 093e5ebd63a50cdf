"""Connected sockets: a race between the addresses of a host (RFC 8305), which leaves no socket open. Knows no HTTP.

asyncio's own race (`create_connection` with `happy_eyeballs_delay`) loses the socket that has won if it is cancelled at
that moment.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Union

from durable_ext.backends.azure_storage.transport.patience import Patience

_NEXT_ADDRESS_AFTER: Final = 0.25

AddressEntry = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""Family, kind, protocol, canonical name, address: as `socket.getaddrinfo` returns them."""


async def connect_to(host: str, port: int, *, seconds: float) -> socket.socket:
    """Return a non-blocking socket that is connected to a host.

    Raises:
        TimeoutError: That took more than so many seconds.
        OSError: The name is not known, or no address could be reached.
    """
    patience = Patience(seconds)
    try:
        return await connect_to_first(await _addresses(host, port, patience), patience)
    except TimeoutError as error:
        if error.errno is not None:
            raise  # that of the system
        raise patience.timeout(f"no connection to {host}:{port}", seconds) from None


async def connect_to_first(addresses: Sequence[AddressEntry], patience: Patience) -> socket.socket:
    """Return a socket that is connected to the first of these addresses, at least one, that answers.

    The next one is tried as soon as one has failed, or after 250 ms. All other sockets are closed, and all if this is
    cancelled; no cancellation is lost, as by `asyncio.wait_for` before Python 3.12.

    Raises:
        TimeoutError: None has answered in time; without an `errno`.
        OSError: None could be reached; the error is that of the first.
    """
    loop = asyncio.get_running_loop()
    left = deque(addresses)
    attempts: list[asyncio.Task[Union[socket.socket, OSError]]] = []
    winner: socket.socket | None = None
    try:
        while (limit := patience.next_wait()) > 0:
            if left:
                attempts.append(loop.create_task(_attempt(left.popleft())))
            under_way = [attempt for attempt in attempts if not attempt.done()]
            if under_way:
                limit = min(limit, _NEXT_ADDRESS_AFTER) if left else limit
                await asyncio.wait(under_way, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            ended = [attempt.result() for attempt in attempts if attempt.done()]
            winner = next((outcome for outcome in ended if isinstance(outcome, socket.socket)), None)
            if winner is not None:
                return winner
            if len(ended) == len(addresses):
                raise next(outcome for outcome in ended if isinstance(outcome, OSError))
        raise TimeoutError
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


async def _addresses(host: str, port: int, patience: Patience) -> Sequence[AddressEntry]:
    """Return the addresses of a host, its families by turns."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)  # asks nobody
    except socket.gaierror:
        find = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    looking = asyncio.get_running_loop().run_in_executor(None, find)
    try:
        while not looking.done() and (limit := patience.next_wait()) > 0:
            await asyncio.wait((looking,), timeout=limit)
    finally:
        looking.cancel()  # does nothing if it is done
    if looking.cancelled():
        raise TimeoutError
    found = looking.result()
    families: dict[int, int] = {}
    turns: list[tuple[int, AddressEntry]] = []
    for entry in found:
        turn = families[entry[0]] = families.get(entry[0], 0) + 1
        turns.append((turn, entry))
    return [entry for _, entry in sorted(turns, key=lambda each: each[0])]
