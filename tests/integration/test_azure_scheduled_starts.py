"""Starts at a time: they do not begin before it, and what came earlier for the instance is there when they begin."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from azure_hub import run_azure_hub, short_settings
from azurite import Azurite
from interop_app import interop_registry
from support.provider_messages import provider_message

from durable_ext.backends.azure_storage.partitions import partition_index
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.backends.azure_storage.transport.queue import MessageReceipt
from durable_ext.core.events import OrchestratorStarted
from durable_ext.core.timestamps import ticks_to_datetime

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=30)
AHEAD = timedelta(seconds=5)


async def test_a_start_message_that_appears_before_its_time_waits_on(azurite: Azurite, task_hub: str) -> None:
    settings = short_settings(azurite, task_hub)
    transport = open_lean_transport(settings.account)
    async with run_azure_hub(settings, interop_registry()) as hub:
        due = datetime.now(timezone.utc) + AHEAD
        await hub.client.start("HelloSequence", 1, "later", start_at=due)
        status = await hub.client.get_status("later")
        assert status is not None
        appeared = provider_message(
            "ExecutionStarted",
            "later",
            status.execution_id,
            EventType=0,
            OrchestrationInstance={"InstanceId": "later", "ExecutionId": status.execution_id},
            Name="HelloSequence",
            Version="",
            Input='"1"',
            ScheduledStartTime=due.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            Generation=0,
        )
        await transport.queues.put(settings.names.control_queue(partition_index("later", 4)), appeared)

        end = await hub.client.wait_for_completion("later", timeout=PATIENCE)
        history = await hub.client.get_history("later")
    await transport.close()

    began = ticks_to_datetime(next(event.timestamp for event in history if isinstance(event, OrchestratorStarted)))
    assert end.output == ["Hello Tokyo!"]
    assert began >= due - timedelta(seconds=1)


async def test_an_event_that_has_waited_long_for_a_scheduled_start_is_there_when_it_begins(
    azurite: Azurite, task_hub: str
) -> None:
    settings = short_settings(azurite, task_hub)
    queue = settings.names.control_queue(partition_index("later", 4))
    transport = open_lean_transport(settings.account)
    async with run_azure_hub(settings, interop_registry(), serve=False) as hub:
        await hub.client.start("WaitEvent", None, "later", start_at=datetime.now(timezone.utc) + AHEAD)
        await hub.client.raise_event("later", "Approval", 7)
        for _ in range(8):
            [delivered] = await transport.queues.get(queue, count=1, visibility=30)
            receipt = MessageReceipt(delivered.message_id, delivered.pop_receipt)
            await transport.queues.hide(queue, receipt, visibility=0)

    async with run_azure_hub(settings, interop_registry()) as hub:
        end = await hub.client.wait_for_completion("later", timeout=PATIENCE)
    await transport.close()

    assert end.output == 7
