"""A worker and a client on one Azure Storage hub, in one `async with`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from durable_ext.aio.clock import SystemClock
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, IdentityConnection
from durable_ext.backends.azure_storage.transport.http import Interceptor
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.runtime.worker import TaskHubWorker

if TYPE_CHECKING:
    from azurite import Azurite  # at run time benchmarks know it by another name

SHORT_LOCKS: Final = {
    "control_queue_visibility": timedelta(seconds=3),
    "work_item_queue_visibility": timedelta(seconds=3),
    "lease_interval": timedelta(seconds=3),
}
"""Fields of settings: what a dead worker held is free after 3 s."""


def short_settings(azurite: Azurite | str | IdentityConnection, task_hub: str, **fields: Any) -> AzureStorageSettings:
    """Return the settings of a worker that looks often: every 0.2 s at its queues, every 0.3 s at the leases.

    `azurite` may be a connection of any kind; `fields` are of `AzureStorageSettings` and beat what is set here.
    """
    values: dict[str, Any] = {
        "connection": azurite if isinstance(azurite, (str, IdentityConnection)) else azurite.connection_string,
        "task_hub": task_hub,
        "max_queue_polling_interval": timedelta(seconds=0.2),
        "lease_acquire_interval": timedelta(seconds=0.3),
        **fields,
    }
    return AzureStorageSettings(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureHub:
    """What `run_azure_hub` gives."""

    client: DurableClient
    worker: TaskHubWorker
    backend: AzureStorageBackend


@asynccontextmanager
async def run_azure_hub(
    settings: AzureStorageSettings,
    registry: FunctionRegistry,
    *,
    worker_settings: WorkerSettings | None = None,
    interceptor: Interceptor | None = None,
    drain: timedelta = timedelta(seconds=5),
    serve: bool = True,
) -> AsyncIterator[AzureHub]:
    """Run an app on a hub; leaving drains and stops. Without `serve` there is only a client."""
    clock, converter, codec = SystemClock(), DataConverter(), JsonEntityCodec()
    backend = AzureStorageBackend(settings, clock, interceptor=interceptor)
    try:
        await backend.open()
        worker = TaskHubWorker(
            backend,
            registry,
            settings=worker_settings or WorkerSettings(),
            converter=converter,
            entity_codec=codec,
            clock=clock,
        )
        client = DurableClient(backend.instances, converter=converter, entity_codec=codec, clock=clock)
        if serve:
            await worker.start()
        try:
            yield AzureHub(client=client, worker=worker, backend=backend)
        finally:
            await worker.drain(drain)
            await worker.stop()
    finally:
        await backend.close()
