"""Our worker and the model of the .NET worker on one hub at the same time: they share it by its leases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from azure_hub import SHORT_LOCKS, run_azure_hub, short_settings
from azurite import Azurite
from interop_app import ActivityRuns
from support.mixed_app import mixed_registry
from support.mixed_hub import MixedHub
from support.mixed_tasks import every_kind
from support.provider_model.mixed_app import mixed_app
from support.provider_model.running import RunningProvider

from durable_ext.runtime.settings import WorkerSettings

pytestmark = pytest.mark.azurite


@asynccontextmanager
async def running_ours(azurite: Azurite, hub: str, runs: ActivityRuns, **fields: Any) -> AsyncIterator[Any]:
    settings = short_settings(azurite, hub, use_app_lease=False, worker_id="ours", **{**SHORT_LOCKS, **fields})
    async with run_azure_hub(settings, mixed_registry(runs), worker_settings=WorkerSettings()) as running:
        yield running


async def test_two_kinds_of_workers_share_a_hub_and_finish_each_others_work(azurite: Azurite, task_hub: str) -> None:
    runs, app = ActivityRuns(), mixed_app()
    async with running_ours(azurite, task_hub, runs) as ours:
        hub = MixedHub(azurite.connection_string, task_hub, ours.client, app)
        await hub.until_owned({"ours": 4})
        with RunningProvider(azurite.connection_string, task_hub, app, "theirs") as theirs:
            await hub.start("a", every_kind("x"), from_ours=True)
            await hub.until_owned({"ours": 2, "theirs": 2})
            await hub.relay("r", "x", from_ours=True)
            await hub.start("b", every_kind("x"), from_ours=False)
            await hub.relay("s", "x", from_ours=False)
            await hub.tell("a", from_ours=False)
            await hub.tell("b", from_ours=True)
            await hub.until_done()

            assert await hub.wrong() == []
            assert hub.wrong_runs(runs.all) == []
            assert theirs.worker.complaints == []
            assert hub.moves() == 2
            assert (await hub.owner_counts()) == {"ours": 2, "theirs": 2}
            assert theirs.worker.committed > 50
        hub.close()
