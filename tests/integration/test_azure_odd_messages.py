"""Messages that are well written and in the wrong place: the worker keeps them, or drops them, and goes on.

Source: specs/azure-storage.md 4.5, 8.4, 8.6; other writers of a hub are not ours to correct.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from azure.data.tables import TableClient
from azure_hub import AzureHub, run_azure_hub, short_settings
from azurite import Azurite
from interop_app import interop_registry
from support.functions import registry_of
from support.provider_messages import provider_message
from support.queue_lengths import queue_length

from durable_ext.backends.azure_storage.partitions import partition_index
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.queue import MessageReceipt
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import EventRaised, ExecutionStarted
from durable_ext.core.ids import next_execution_id
from durable_ext.core.messages import ExecutionId
from durable_ext.core.timestamps import ticks_between
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=30)


def settings_of(azurite: Azurite, task_hub: str, **fields: Any) -> AzureStorageSettings:
    return short_settings(azurite, task_hub, **fields)


def control_queue(hub: str, instance_id: str, partitions: int = 4) -> str:
    return f"{hub.lower()}-control-{partition_index(instance_id, partitions):02d}"


async def works(hub: AzureHub) -> None:
    """Every kind of function still runs, on every partition."""
    started = [await hub.client.start("HelloSequence", 2) for _ in range(8)]
    for instance_id in started:
        end = await hub.client.wait_for_completion(instance_id, timeout=PATIENCE)
        assert end.output == ["Hello Tokyo!", "Hello Seattle!"]
    for key in ("a", "b", "c", "d"):
        await hub.client.signal_entity(EntityId("Counter", key), "add", 5)

        async def has_five(key: str = key) -> bool:
            return (await hub.client.read_entity(EntityId("Counter", key))).state == 5

        await eventually(has_five, within=PATIENCE)


SCHEDULED: dict[str, Any] = {"Name": "SayHello", "Version": "", "Input": '["\\"x\\""]', "EventId": 0}
NOT_FOR_CONTROL_QUEUES: list[tuple[str, dict[str, Any]]] = [
    ("TaskScheduled", SCHEDULED),
    ("ExecutionCompleted", {"OrchestrationStatus": 1, "Result": "1"}),
    ("ContinueAsNew", {"OrchestrationStatus": 1, "Result": "1"}),
    ("OrchestratorStarted", {}),
    ("OrchestratorCompleted", {}),
    ("TimerCreated", {"FireAt": "2026-11-21T10:50:10Z", "EventId": 0}),
    ("SubOrchestrationInstanceCreated", {"Name": "x", "InstanceId": "y", "EventId": 0}),
    ("EventSent", {"Name": "x", "InstanceId": "y", "EventId": 0}),
]


async def test_events_that_only_history_has_change_no_instance_and_stay_in_the_queue(
    azurite: Azurite, task_hub: str, transport: StorageTransport, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        await hub.client.start("WaitEvent", None, "waiter")
        await eventually(lambda: _runs(hub, "waiter"), within=PATIENCE)

        queue = control_queue(task_hub, "waiter")
        for kind, own in NOT_FOR_CONTROL_QUEUES:
            await transport.queues.put(queue, provider_message(kind, "waiter", **own))
        await eventually(lambda: caplog.text.count("is no message of this queue") == 8, within=PATIENCE)
        await hub.client.raise_event("waiter", "Approval", 7)
        end = await hub.client.wait_for_completion("waiter", timeout=PATIENCE)

        assert end.output == 7
        await eventually(lambda: _length(transport, queue, len(NOT_FOR_CONTROL_QUEUES)), within=PATIENCE)


@pytest.mark.parametrize("target", ["@", "@@", "@nokey", "@counter@"])
async def test_a_message_for_what_is_no_entity_stops_no_entity(
    azurite: Azurite, task_hub: str, transport: StorageTransport, caplog: pytest.LogCaptureFixture, target: str
) -> None:
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        signal = provider_message("EventRaised", target, Name="op", Input='{"op":"add","signal":true,"input":"5","id":"i"}')
        await transport.queues.put(control_queue(task_hub, target), signal)
        await eventually(lambda: "Unexpected format in SchedulerId" in caplog.text, within=PATIENCE)

        await works(hub)


async def test_what_is_no_activity_in_the_work_item_queue_stops_no_activity(
    azurite: Azurite, task_hub: str, transport: StorageTransport, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        await transport.queues.put(
            f"{task_hub.lower()}-workitems", provider_message("EventRaised", "x", Name="e", Input="1")
        )
        await eventually(lambda: "is no message of this queue" in caplog.text, within=PATIENCE)
        for name in ("SayHello", None, 5):
            odd = provider_message("TaskScheduled", "x", "e", Name=name, Input="{", EventId=0)
            await transport.queues.put(f"{task_hub.lower()}-workitems", odd)

        await works(hub)


ODD: list[tuple[str, dict[str, Any]]] = [
    ("EventRaised", {"Name": None, "Input": None}),
    ("EventRaised", {"Name": 5, "Input": 7}),
    ("EventRaised", {"Name": "op", "Input": "{"}),
    ("EventRaised", {"Name": "op@notadate", "Input": '{"op":"add","signal":true,"id":"a"}'}),
    ("EventRaised", {"Name": "release", "Input": None}),
    ("TimerFired", {"TimerId": 99}),
    ("TaskCompleted", {"TaskScheduledId": 77, "Result": "1"}),
    ("TaskCompleted", {"TaskScheduledId": "x", "Result": 5}),
    ("TaskFailed", {"TaskScheduledId": 77}),
    ("SubOrchestrationInstanceFailed", {"TaskScheduledId": 77}),
    ("Generic", {"Data": None}),
    ("ExecutionRewound", {"Reason": "r"}),
    ("ExecutionResumed", {"Reason": None}),
    ("ExecutionStarted", {"Name": None, "Input": None, "OrchestrationInstance": None}),
    ("ExecutionStarted", {"Name": "HelloSequence", "Input": None, "OrchestrationInstance": {"InstanceId": "a"}}),
]


@pytest.mark.parametrize("target", ["waiter", "nobody", "@counter@a", ""])
@pytest.mark.parametrize("execution_id", [None, "0" * 32], ids=["any", "another"])
async def test_odd_messages_of_any_sender_stop_nobody(
    azurite: Azurite, task_hub: str, transport: StorageTransport, target: str, execution_id: str | None
) -> None:
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        await hub.client.start("WaitEvent", None, "waiter")
        await eventually(lambda: _runs(hub, "waiter"), within=PATIENCE)

        queue = control_queue(task_hub, target)
        for sender in (("", ""), ("@x@y", "1" * 32)):
            for kind, own in ODD:
                await transport.queues.put(queue, provider_message(kind, target, execution_id, sender, **own))
        await works(hub)
        await hub.client.raise_event("waiter", "Approval", 7)

        assert (await hub.client.wait_for_completion("waiter", timeout=PATIENCE)).output == 7


async def test_an_event_without_a_time_has_that_of_its_message(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        await hub.client.start("WaitEvent", None, "waiter")
        await eventually(lambda: _runs(hub, "waiter"), within=PATIENCE)

        text = provider_message("EventRaised", "waiter", Name="Approval", Input="7", Timestamp=None)
        await transport.queues.put(control_queue(task_hub, "waiter"), text)
        await hub.client.wait_for_completion("waiter", timeout=PATIENCE)
        history = await hub.client.get_history("waiter")

    (raised,) = (event for event in history if isinstance(event, EventRaised))
    assert ticks_between(history[0].timestamp, raised.timestamp) > timedelta(seconds=-2)
    assert raised.timestamp <= history[-1].timestamp


@pytest.mark.parametrize("kind", ["ExecutionTerminated", "ExecutionSuspended"])
async def test_an_entity_is_neither_terminated_nor_suspended(
    azurite: Azurite, task_hub: str, transport: StorageTransport, kind: str
) -> None:
    entity = EntityId("Counter", "a")
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        await hub.client.signal_entity(entity, "add", 2)
        await transport.queues.put(control_queue(task_hub, "@counter@a"), provider_message(kind, "@counter@a", Input="why"))
        await hub.client.signal_entity(entity, "add", 3)

        async def has_five() -> bool:
            return (await hub.client.read_entity(entity)).state == 5

        await eventually(has_five, within=PATIENCE)


async def test_an_answer_to_the_next_generation_is_kept_until_that_is_written(
    azurite: Azurite, task_hub: str, transport: StorageTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker died that had sent what that generation decides; what asks for it again gets no second answer."""

    async def slow(_: Any) -> None:
        await asyncio.Event().wait()

    def relay(context: Any) -> Any:
        if context.get_input() is None:
            context.continue_as_new((yield context.wait_for_external_event("go")))
            return None
        return (yield context.call_activity("slow"))

    caplog.set_level("INFO")
    registry = registry_of(orchestrators=[relay], activities=[slow])
    async with run_azure_hub(settings_of(azurite, task_hub), registry, drain=timedelta(0)) as hub:
        await hub.client.start("relay", None, "relaying")
        await eventually(lambda: _runs(hub, "relaying"), within=PATIENCE)
        started = (await hub.client.get_history("relaying"))[1]
        assert isinstance(started, ExecutionStarted)
        following = next_execution_id(started.instance.execution_id or ExecutionId(""))
        answer = provider_message("TaskCompleted", "relaying", following, TaskScheduledId=0, Result='"early"')
        await transport.queues.put(control_queue(task_hub, "relaying"), answer)
        await eventually(lambda: "is too early" in caplog.text, within=PATIENCE)

        await hub.client.raise_event("relaying", "go", 1)
        end = await hub.client.wait_for_completion("relaying", timeout=PATIENCE)

    assert end.output == "early"


async def _runs(hub: AzureHub, instance_id: str) -> bool:
    return len(await hub.client.get_history(instance_id)) > 2


async def _length(transport: StorageTransport, queue: str, wanted: int) -> bool:
    return await queue_length(transport, queue) == wanted


async def test_a_start_that_is_given_up_because_its_row_never_came_is_told(
    azurite: Azurite, task_hub: str, transport: StorageTransport, caplog: pytest.LogCaptureFixture
) -> None:
    settings, queue = settings_of(azurite, task_hub), control_queue(task_hub, "rowless")
    async with run_azure_hub(settings, interop_registry(), serve=False):
        start = provider_message("ExecutionStarted", "rowless", "e", Name="HelloSequence", Input="2")
        message_id = (await transport.queues.put(queue, start)).message_id
        for _ in range(9):
            [delivered] = await transport.queues.get(queue, count=1, visibility=30)
            receipt = MessageReceipt(delivered.message_id, delivered.pop_receipt)
            await transport.queues.hide(queue, receipt, visibility=0)

    async with run_azure_hub(settings, interop_registry()):
        await eventually(lambda: _length(transport, queue, 0), within=PATIENCE)

    [told] = [each for each in caplog.records if getattr(each, "event", None) == "start_given_up"]
    assert told.levelname == "WARNING"
    assert message_id in told.getMessage()
    assert "'rowless'" in told.getMessage()


async def test_an_instance_that_cannot_be_read_is_told_once_and_keeps_its_messages(
    azurite: Azurite, task_hub: str, transport: StorageTransport, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry()) as hub:
        await hub.client.start("WaitEvent", None, "damaged")
        await eventually(lambda: _runs(hub, "damaged"), within=PATIENCE)
    with TableClient.from_connection_string(azurite.connection_string, f"{task_hub}History") as history:
        for row in list(history.query_entities("PartitionKey eq 'damaged' and EventType eq 'ExecutionStarted'")):
            history.update_entity({**row, "ParentInstance": "no parent"})
    reads: list[StorageCall] = []

    async def intercept(call: StorageCall, send: Send) -> HttpAnswer:
        answer = await send()
        if call.verb == "table.query" and "History" in call.resource:
            reads.append(call)
        return answer

    async with run_azure_hub(settings_of(azurite, task_hub), interop_registry(), interceptor=intercept) as hub:
        await hub.client.raise_event("damaged", "Approval", 1)
        await eventually(lambda: reads, within=PATIENCE)
        await hub.client.raise_event("damaged", "Approval", 2)
        await eventually(lambda: len(reads) > 1, within=PATIENCE)

    [told] = [each for each in caplog.records if getattr(each, "event", None) == "instance_unreadable"]
    assert "'damaged'" in told.getMessage()
    await eventually(lambda: _length(transport, control_queue(task_hub, "damaged"), 2), within=PATIENCE)
