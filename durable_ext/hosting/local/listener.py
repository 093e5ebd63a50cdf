"""The listening socket of a local host, taken before the app is loaded so that a busy port is known at once."""

from __future__ import annotations

import errno
import os
import socket

from durable_ext.errors import ConfigurationError


class PortUnavailableError(ConfigurationError):
    """Nobody can listen at the address."""


def bind(address: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        PortUnavailableError: Another process listens there, or the address is not of this machine.
    """
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(found[0], socket.SOCK_STREAM)
        try:
            if os.name != "nt":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(found[4])
            listener.listen(1024)
        except OSError:
            listener.close()
            raise
    except (OSError, OverflowError) as exc:
        if isinstance(exc, socket.gaierror) or getattr(exc, "errno", None) == errno.EADDRNOTAVAIL:
            reason = getattr(exc, "strerror", None) or exc
            raise PortUnavailableError(
                f"The address {address} is not one of this machine ({reason}). Use --host 127.0.0.1 for this machine only, "
                f"or --host 0.0.0.0 for every address that it has."
            ) from exc
        raise PortUnavailableError(
            f"Port {port} is unavailable. Close the process using that port, or specify another port using --port [-p]. "
            f"({address}: {getattr(exc, 'strerror', None) or exc})"
        ) from exc
    listener.setblocking(False)
    return listener
