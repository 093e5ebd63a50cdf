"""What clients and the log are told while a hub is away: deleted by somebody, and not made again yet."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, PartitionManagement
from durable_ext.http.management import ManagementApi
from durable_ext.http.messages import HttpRequestValue
from durable_ext.http.urls import ManagementUrls
from durable_ext.testing.eventually import eventually
from tests.azure_hub import run_azure_hub
from tests.azurite import Azurite
from tests.interop_app import interop_registry

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=60)
ORIGIN = "http://localhost:7071/runtime/webhooks/durabletask"


def settings_of(azurite: Azurite, task_hub: str, kind: PartitionManagement) -> AzureStorageSettings:
    return AzureStorageSettings(
        connection=azurite.connection_string,
        task_hub=task_hub,
        partition_manager=kind,
        max_queue_polling_interval=timedelta(seconds=0.2),
        lease_interval=timedelta(seconds=3 if kind is PartitionManagement.TABLE else 15),
        lease_acquire_interval=timedelta(seconds=0.5),
        app_lease_renew_interval=timedelta(seconds=1),
    )


@pytest.mark.parametrize("kind", list(PartitionManagement))
async def test_starts_while_a_hub_is_made_again_are_503(
    azurite: Azurite, task_hub: str, kind: PartitionManagement, caplog: pytest.LogCaptureFixture
) -> None:
    statuses: Counter[int] = Counter()
    async with run_azure_hub(settings_of(azurite, task_hub, kind), interop_registry()) as hub:
        api = ManagementApi(hub.client, ManagementUrls(base_url=ORIGIN, task_hub=task_hub))
        route = "/orchestrators/HelloSequence"
        request = HttpRequestValue(
            method="POST",
            url=ORIGIN + route,
            path=route,
            headers={"content-type": "application/json"},
            body=b"1",
        )

        async def starting() -> None:
            while True:
                statuses[(await api.handle(request, route)).status] += 1
                await asyncio.sleep(0)

        clients = [asyncio.ensure_future(starting()) for _ in range(2)]
        await eventually(lambda: statuses[202] > 0, within=PATIENCE)
        deleting = AzureStorageBackend(settings_of(azurite, task_hub, kind))
        await deleting.hub.delete()
        await deleting.close()
        await eventually(lambda: "made again" in caplog.text, within=PATIENCE)
        before = statuses[202]
        await eventually(lambda: statuses[202] > before, within=PATIENCE)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    assert set(statuses) <= {202, 503}
    assert statuses[503] > 0
    assert "internal error" not in caplog.text
    assert "<?xml" not in caplog.text
