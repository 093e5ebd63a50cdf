"""Where a hub lies in tests that run on both stores (the fixture `place`), and workers on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from azure_hub import AzureHub, run_azure_hub, short_settings
from azurite import running_azurite

from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import RunningTaskHub, run_task_hub

STORES: Final = ["sqlite", pytest.param("azure", marks=pytest.mark.azurite)]
AZURE_IS_SLOW: Final = ["sqlite", pytest.param("azure", marks=[pytest.mark.azurite, pytest.mark.slow])]
"""Parameters of `place` for tests of what no store does, which take long on Azure Storage."""
_DRAIN: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPlace:
    """A hub that no other test uses.

    Attributes:
        store: "sqlite" or "azure".
        address: The path of its file, or the connection string of its account.
    """

    store: str
    address: str
    task_hub: str


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
    place: HubPlace, registry: FunctionRegistry, limits: WorkerSettings, drain: timedelta = _DRAIN
) -> AsyncIterator[AzureHub | RunningTaskHub]:
    """Run a worker on the hub at a `place`; on Azure Storage it has taken the hub's only partition."""
    if place.store == "sqlite":
        async with run_task_hub(place.address, registry, task_hub=place.task_hub, settings=limits, drain=drain) as hub:
            yield hub
        return
    azure = short_settings(place.address, place.task_hub, partition_count=1, use_app_lease=False)
    async with run_azure_hub(azure, registry, worker_settings=limits, drain=drain) as azure_hub:
        await eventually(lambda: azure_hub.backend.owns(0), within=timedelta(seconds=20))
        yield azure_hub
