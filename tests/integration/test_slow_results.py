"""Activities whose session ends while their results are being sent."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from azure_hub import run_azure_hub, short_settings
from azurite import Azurite
from support.functions import registry_of

from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite
PATIENCE = timedelta(seconds=30)


class SlowResults:
    """An interceptor that keeps back the results of activities until `gate` is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.kept = 0

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if call.verb == "queue.put" and b"TaskCompleted" in call.body:
            self.kept += 1
            await self.gate.wait()
        return await send()


async def test_results_that_are_being_sent_when_their_session_ends_arrive(azurite: Azurite, task_hub: str) -> None:
    ran: Counter[str] = Counter()
    may_end = asyncio.Event()

    async def work(name: str) -> str:
        ran[name] += 1
        await may_end.wait()
        return name

    def fan(context: Any) -> Any:
        return (yield context.task_all([context.call_activity("work", name) for name in ("a", "b")]))

    results = SlowResults()
    limits = WorkerSettings(
        local_activity_spill=timedelta(milliseconds=100), session_idle_timeout=timedelta(milliseconds=500)
    )
    settings = short_settings(azurite, task_hub, use_app_lease=False)
    registry = registry_of(orchestrators=[fan], activities=[work])
    async with run_azure_hub(settings, registry, worker_settings=limits, interceptor=results) as hub:
        instance_id = await hub.client.start("fan")
        await eventually(lambda: hub.worker.cached_sessions == 1, "the session does not wait", within=PATIENCE)
        may_end.set()
        await eventually(lambda: results.kept == 2, "no results are sent", within=PATIENCE)
        await eventually(lambda: hub.worker.cached_sessions == 0, "the session does not end", within=PATIENCE)
        results.gate.set()

        status = await hub.client.wait_for_completion(instance_id, timeout=PATIENCE)
        held = [keeper.count for keeper in hub.backend._keepers]

    assert status.output == ["a", "b"]
    assert ran == {"a": 1, "b": 1}
    assert held[1] == 0
