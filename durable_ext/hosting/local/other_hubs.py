"""OtherHubs: clients of task hubs besides the host's own, opened when a request names one (specs/http-api.md 4.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from durable_ext.backends import open_backend
from durable_ext.backends.protocol import Backend
from durable_ext.client.client import DurableClient
from durable_ext.errors import InvalidArgumentError

if TYPE_CHECKING:
    from durable_ext.backends import BackendSettings

MOST: Final = 16


class OtherHubs:
    """Opens each hub once and keeps it open; used from one event loop.

    No worker runs on them here, and the names of their functions are not known.

    Args:
        settings_of: Settings of the store of a hub and a connection, by their names; raises `ConfigurationError`.
        make_client: A client on an open store.
    """

    def __init__(
        self, settings_of: Callable[[str, str], BackendSettings], make_client: Callable[[Backend], DurableClient]
    ) -> None:
        self._settings_of, self._make_client = settings_of, make_client
        self._open: dict[tuple[str, str], tuple[Backend, DurableClient]] = {}
        self._lock = asyncio.Lock()

    async def client(self, task_hub: str, connection: str) -> DurableClient:
        """Return the client of a hub; one that does not exist is made, as by the Durable extension.

        Raises:
            ConfigurationError: The name cannot be that of a hub, or there is no such connection.
            InvalidArgumentError: More hubs are named than one host keeps open.
            BackendUnavailableError: Its store cannot be reached; may be tried again.
        """
        key = (task_hub.lower(), connection.lower())
        async with self._lock:
            if key not in self._open:
                if len(self._open) >= MOST:
                    text = f"This host has {MOST} other task hubs open. Ask a host of '{task_hub}', or restart this one."
                    raise InvalidArgumentError("taskHub", text)
                backend = open_backend(self._settings_of(task_hub, connection))
                try:
                    await backend.open()
                except BaseException:
                    await backend.close()
                    raise
                self._open[key] = (backend, self._make_client(backend))
            return self._open[key][1]

    async def close(self) -> None:
        """Close all of them."""
        opened, self._open = self._open, {}
        for backend, _ in opened.values():
            await backend.close()
