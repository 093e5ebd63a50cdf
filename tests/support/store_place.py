"""Where a hub lies in tests that run on both stores, and workers on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from azure_hub import AzureHub, run_azure_hub
from azurite import running_azurite

from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import RunningTaskHub, run_task_hub

STORES = ["sqlite", pytest.param("azure", marks=pytest.mark.azurite)]


@contextmanager
def place_of(store: str, folder: Path) -> Iterator[str]:
    """Give the path of a file in `folder` (store "sqlite"), or the connection string of an emulator of its own ("azure")."""
    if store == "sqlite":
        yield str(folder / "hub.db")
        return
    with running_azurite() as azurite:
        yield azurite.connection_string


@asynccontextmanager
async def worker_at(
    store: str, place: str, registry: FunctionRegistry, limits: WorkerSettings
) -> AsyncIterator[AzureHub | RunningTaskHub]:
    """Run a worker on the hub at a `place`; on Azure Storage it has taken the hub's only partition."""
    if store == "sqlite":
        async with run_task_hub(place, registry, settings=limits) as hub:
            yield hub
        return
    azure = AzureStorageSettings(
        connection=place,
        task_hub="PlaceHub",
        partition_count=1,
        max_queue_polling_interval=timedelta(seconds=0.2),
        lease_acquire_interval=timedelta(seconds=0.3),
        use_app_lease=False,
    )
    async with run_azure_hub(azure, registry, worker_settings=limits) as azure_hub:
        await eventually(lambda: azure_hub.backend.owns(0), within=timedelta(seconds=20))
        yield azure_hub
