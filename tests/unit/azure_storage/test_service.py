"""The Azure Storage hub as a whole, as far as it needs no storage."""

from __future__ import annotations

import pytest

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, PartitionManagement
from durable_ext.errors import ConfigurationError


@pytest.mark.parametrize("manager", [PartitionManagement.SAFE_BLOB, PartitionManagement.LEGACY_BLOB])
async def test_a_worker_on_leases_in_blobs_is_refused(manager: PartitionManagement) -> None:
    settings = AzureStorageSettings(
        connection="UseDevelopmentStorage=true", task_hub="BlobLeases", partition_manager=manager, use_app_lease=False
    )
    backend = AzureStorageBackend(settings)

    with pytest.raises(ConfigurationError, match=r"'BlobLeases'.*Remove useLegacyPartitionManagement"):
        await backend.start_worker()

    await backend.abort()
