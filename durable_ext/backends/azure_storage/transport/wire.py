"""What the transport needs of an HTTP client, and which one it gets. Knows nothing of storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A complete answer; header names are lower case. `attempts`: at which try of the request it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    attempts: int = 1


class WireError(ConnectionError):
    """There was no complete answer: nobody listened, the connection broke, or what came is no HTTP."""


class StoodStillError(TimeoutError):
    """There was no answer in time, but this process did not run meanwhile: nothing is known about the service."""


class Wire(Protocol):
    """Sends requests over connections that it keeps open. Used from one event loop."""

    async def send(self, method: str, origin: str, target: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """Send one request and return its answer, whatever its status.

        Args:
            method: In capitals.
            origin: Scheme, host and port, e.g. `https://name.queue.core.windows.net`.
            target: Encoded path and query.
            headers: In lower case, without `host` and `content-length`.
            body: May be empty.

        Raises:
            OSError: No complete answer, `WireError` and `TimeoutError` among them; the request may have been carried out.
        """
        ...

    async def close(self) -> None:
        """Close all connections; requests under way fail. Idempotent."""
        ...


def open_wire(origins: frozenset[str], *, timeout: timedelta, max_connections: int) -> Wire:
    """Return a client for these origins: the lean one, or aiohttp where a proxy stands between or httptools is missing.

    `timeout` is that of one request, connecting included; at most `max_connections` requests are under way at a time.
    """
    if all(proxy_of(origin) is None for origin in origins):
        try:
            from durable_ext.backends.azure_storage.transport.keep_alive_wire import KeepAliveWire
        except ImportError:  # httptools has no wheel for every platform
            pass
        else:
            return KeepAliveWire(timeout=timeout, max_connections=max_connections)
    from durable_ext.backends.azure_storage.transport.aiohttp_wire import AiohttpWire

    return AiohttpWire(timeout=timeout, max_connections=max_connections)


def proxy_of(origin: str) -> str | None:
    """Return the proxy that the system's settings (`HTTPS_PROXY`, `NO_PROXY` ...) put before an origin.

    This machine itself is always reached directly, as nothing else could be meant by an emulator's address.
    """
    parts = urlsplit(origin)
    host = parts.hostname or ""
    proxy = getproxies().get(parts.scheme)
    return None if proxy is None or _is_loopback(host) or proxy_bypass(host) else proxy


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
