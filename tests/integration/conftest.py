"""What tests on real storage share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from azurite import Azurite
from support.store_place import STORES, HubPlace

from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import StorageTransport, open_lean_transport


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path, task_hub: str) -> HubPlace:
    """A hub in a file, and once more in the emulator of the module."""
    if request.param == "sqlite":
        return HubPlace(store="sqlite", address=str(tmp_path / "hub.db"), task_hub=task_hub)
    return HubPlace(store="azure", address=request.getfixturevalue("azurite").connection_string, task_hub=task_hub)


@pytest.fixture
async def transport(azurite: Azurite) -> AsyncIterator[StorageTransport]:
    """The emulator's services, without anything of a task hub."""
    opened = open_lean_transport(account_from_connection_string(azurite.connection_string))
    yield opened
    await opened.close()
