"""The Azure Storage task hub keeps every promise of the seam, on a real Azurite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import ClassVar

import pytest
from azure_hub import SHORT_LOCKS, short_settings
from azurite import Azurite

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import TransportKind
from durable_ext.backends.protocol import Backend
from durable_ext.testing.contract import BackendContract, Crash, OpenBackend

pytestmark = pytest.mark.azurite


class TestAzureStorage(BackendContract):
    patience = timedelta(seconds=15)
    transport: ClassVar[TransportKind] = TransportKind.LEAN

    @pytest.fixture
    async def open_backend(self, azurite: Azurite, task_hub: str) -> AsyncIterator[OpenBackend]:
        opened: list[AzureStorageBackend] = []

        async def open_one(*, worker: bool = True) -> Backend:
            settings = short_settings(azurite, task_hub, transport=self.transport, **SHORT_LOCKS)
            backend = AzureStorageBackend(settings)
            await backend.open()
            opened.append(backend)
            if worker:
                await backend.start_worker()
            return backend

        yield open_one
        for backend in opened:
            await backend.close()

    @pytest.fixture
    def crash(self) -> Crash:
        async def kill(backend: Backend) -> None:
            assert isinstance(backend, AzureStorageBackend)
            await backend.abort()

        return kill


@pytest.mark.slow
class TestAzureStorageOnTheSdkPackages(TestAzureStorage):
    transport = TransportKind.SDK
