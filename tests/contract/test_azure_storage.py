"""The Azure Storage task hub keeps every promise of the seam, on a real Azurite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import ClassVar

import pytest
from azure_hub import SHORT_LOCKS, short_settings
from azurite import Azurite
from support.contract_backends import abort, opened_backends

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import TransportKind
from durable_ext.testing.contract import BackendContract, Crash, OpenBackend

pytestmark = pytest.mark.azurite


class TestAzureStorage(BackendContract):
    patience = timedelta(seconds=15)
    transport: ClassVar[TransportKind] = TransportKind.LEAN

    @pytest.fixture
    async def open_backend(self, azurite: Azurite, task_hub: str) -> AsyncIterator[OpenBackend]:
        def make() -> AzureStorageBackend:  # each has a worker id of its own
            return AzureStorageBackend(short_settings(azurite, task_hub, transport=self.transport, **SHORT_LOCKS))

        async with opened_backends(make) as open_one:
            yield open_one

    @pytest.fixture
    def crash(self) -> Crash:
        return abort


@pytest.mark.slow
class TestAzureStorageOnTheSdkPackages(TestAzureStorage):
    transport = TransportKind.SDK
