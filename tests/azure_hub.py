"""A worker and a client on one Azure Storage hub, in one `async with`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from durable_ext.aio.clock import SystemClock
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.http import Interceptor
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.runtime.worker import TaskHubWorker


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
