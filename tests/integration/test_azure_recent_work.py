"""Work on one partition makes a worker look at all of its queues: nobody waits for a poller that sleeps."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from azure_hub import run_azure_hub, short_settings
from azurite import Azurite

from durable_ext.core.orchestrators import OrchestratorDefinition
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import CallCounter

pytestmark = [pytest.mark.azurite, pytest.mark.slow]

PATIENCE = timedelta(seconds=30)
REST_SECONDS = 7.5  # the pollers that find nothing look after 6.7 s, and then after 13


def at_once(context):
    return "done"


async def test_an_instance_that_begins_after_a_rest_has_all_queues_looked_at(azurite: Azurite, task_hub: str) -> None:
    functions = FunctionRegistry()
    functions.add_orchestrator(OrchestratorDefinition(name="at_once", function=at_once))
    calls = CallCounter()
    settings = short_settings(azurite, task_hub, max_queue_polling_interval=timedelta(seconds=30), partition_count=3)

    def polled() -> Counter[str]:
        return Counter(call.resource for call in calls.trace if call.verb == "queue.get")

    async with run_azure_hub(settings, functions, interceptor=calls) as hub:
        await eventually(lambda: all(hub.backend.owns(index) for index in range(3)), within=PATIENCE)
        await asyncio.sleep(REST_SECONDS)
        calls.reset()
        started = await hub.client.start("at_once")
        await hub.client.wait_for_completion(started, timeout=PATIENCE)

        await eventually(lambda: len(polled()) == 4, within=timedelta(seconds=3))
        await eventually(lambda: min(polled().values()) >= 8, within=timedelta(seconds=15))
