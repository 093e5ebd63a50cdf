"""open_client: a client on an existing hub, for scripts; opens the store and closes it again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from durable_ext.backends import open_backend
from durable_ext.backends.locations import HubLocation, settings_at
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter


@asynccontextmanager
async def open_client(where: HubLocation, *, task_hub: str | None = None) -> AsyncIterator[DurableClient]:
    """Open a hub that hosts work on, or that none works on at the moment; an `async with`.

    Args:
        where: The file of an embedded hub (`.durable/<hubName>.db` beside the app), an Azure Storage connection string,
            or settings for `open_backend`.
        task_hub: Name of the hub; needed with a connection string. That of a file is its name without suffix.

    Raises:
        ConfigurationError: There is no such file, it holds another hub, or a hub name is missing.
        BackendUnavailableError: The store does not answer.
    """
    backend = open_backend(settings_at(where, task_hub))
    await backend.open()
    try:
        yield DurableClient(backend.instances, converter=DataConverter(), entity_codec=JsonEntityCodec())
    finally:
        await backend.close()
