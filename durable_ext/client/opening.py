"""open_client: a client on an existing hub, for scripts; opens the store and closes it again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from durable_ext.backends import open_backend
from durable_ext.backends.locations import HubLocation, check_hub_exists, settings_at
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

    What a place names has to exist: with a mistyped name a client would make a hub on which nobody works. Settings may make
    one, as a host does.

    Raises:
        ConfigurationError: There is no such hub or file, the file holds another hub, or a hub name is missing.
        BackendUnavailableError: The store does not answer.
    """
    backend = open_backend(settings_at(where, task_hub))
    try:
        await check_hub_exists(where, backend)
        await backend.open()
        yield DurableClient(backend.instances, converter=DataConverter(), entity_codec=JsonEntityCodec())
    finally:
        await backend.close()
