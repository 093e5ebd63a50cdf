"""What a plain `azure-data-tables` client finds in a hub of ours: the rows of the specification and of a real hub.

Source: specs/azure-storage.md 5.2 to 5.5, 6.2, 6.3, 12.1; the recorded hub is one that the .NET provider wrote.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.data.tables import TableServiceClient
from azure_hub import run_azure_hub
from azurite import Azurite

from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.core.orchestrators import OrchestratorDefinition
from durable_ext.runtime.registry import ActivityDefinition, FunctionRegistry
from durable_ext.runtime.settings import LocalActivities, WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import CallCounter

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=60)
RECORDED = Path(__file__).parents[1] / "interop" / "finished.json"
CITIES = ["Tokyo", "Seattle", "London"]

Columns = dict[str, Any]


def three_activities(context: Any) -> Any:
    greetings = []
    for city in CITIES:
        greetings.append((yield context.call_activity("SayHello", city)))
    return greetings


def two_activities(context: Any) -> Any:
    """What the recorded orchestration did."""
    greetings = []
    for city in CITIES[:2]:
        greetings.append((yield context.call_activity("SayHello", city)))
    return greetings


async def say_hello(city: str) -> str:
    return f"Hello {city}!"


@dataclass(frozen=True, kw_only=True)
class Found:
    """All rows of one instance, as the client returns them, and the calls that wrote them."""

    history: list[Columns]
    instance: list[Columns]
    calls: CallCounter


async def run_and_read(
    azurite: Azurite, hub_name: str, mode: LocalActivities, name: str, instance_id: str, given: Any
) -> Found:
    registry = FunctionRegistry()
    registry.add_orchestrator(OrchestratorDefinition(name="ThreeActivities", function=three_activities))
    registry.add_orchestrator(OrchestratorDefinition(name="HelloSequence", function=two_activities))
    registry.add_activity(ActivityDefinition(name="SayHello", call=say_hello, is_async=True))
    settings = AzureStorageSettings(connection=azurite.connection_string, task_hub=hub_name, partition_count=1)
    calls = CallCounter()
    async with run_azure_hub(
        settings, registry, worker_settings=WorkerSettings(local_activities=mode), interceptor=calls
    ) as hub:
        await eventually(lambda: hub.backend.owns(0), within=PATIENCE)
        calls.reset()
        await hub.client.start(name, given, instance_id)
        await hub.client.wait_for_completion(instance_id, timeout=PATIENCE)
        await eventually(lambda: calls.by_verb["queue.delete"] == calls.by_verb["queue.put"], within=PATIENCE)
    history, instance = await asyncio.to_thread(read_rows, azurite, hub_name, instance_id)
    return Found(history=history, instance=instance, calls=calls)


def read_rows(azurite: Azurite, hub_name: str, instance_id: str) -> tuple[list[Columns], list[Columns]]:
    with TableServiceClient.from_connection_string(azurite.connection_string) as service:
        return tuple(  # type: ignore[return-value]
            [dict(row) for row in service.get_table_client(table).query_entities(f"PartitionKey eq '{instance_id}'")]
            for table in (f"{hub_name}History", f"{hub_name}Instances")
        )


def without(columns: Columns, *names: str) -> Columns:
    return {name: value for name, value in columns.items() if name not in names}


def expected_history(execution_id: str) -> list[Columns]:
    """The rows of 5.4 with the columns of 5.3 and 5.5; times are checked by themselves."""

    def task_scheduled(event_id: int) -> Columns:
        texts = {"Name": "SayHello", "Version": "", "ParentTraceContext": "null", "Tags": "null"}
        return {"EventType": "TaskScheduled", "EventId": event_id, "IsPlayed": False, **texts}

    def task_completed(scheduled: int) -> Columns:
        result = json.dumps(f"Hello {CITIES[scheduled]}!")
        answer = {"TaskScheduledId": scheduled, "Result": result}
        return {"EventType": "TaskCompleted", "EventId": -1, "IsPlayed": True, **answer}

    started = {"EventType": "OrchestratorStarted", "EventId": -1, "IsPlayed": False}
    completed = {"EventType": "OrchestratorCompleted", "EventId": -1, "IsPlayed": False}
    execution_started = {
        "EventType": "ExecutionStarted",
        "EventId": -1,
        "IsPlayed": True,
        "OrchestrationInstance": f'{{"InstanceId":"abc123","ExecutionId":"{execution_id}"}}',
        "ParentInstance": "null",
        "Name": "ThreeActivities",
        "Version": "",
        "Input": '"3"',
        "Tags": "null",
        "ParentTraceContext": "null",
        "Generation": 0,
        "GenerateNewTrace": False,
    }
    execution_completed = {
        "EventType": "ExecutionCompleted",
        "EventId": 3,
        "IsPlayed": False,
        "OrchestrationStatus": "Completed",
        "Result": '["Hello Tokyo!","Hello Seattle!","Hello London!"]',
        "FailureDetails": "null",
    }
    events = [
        *(started, execution_started, task_scheduled(0), completed),
        *(started, task_completed(0), task_scheduled(1), completed),
        *(started, task_completed(1), task_scheduled(2), completed),
        *(started, task_completed(2), execution_completed, completed),
    ]
    keyed = [
        {"PartitionKey": "abc123", "RowKey": f"{ordinal:016X}", "ExecutionId": execution_id, **event}
        for ordinal, event in enumerate(events)
    ]
    sentinel = {
        "PartitionKey": "abc123",
        "RowKey": "sentinel",
        "ExecutionId": execution_id,
        "IsCheckpointComplete": True,
    }
    return [*keyed, sentinel]


@pytest.mark.parametrize("mode", ["off", "on"])
async def test_three_activities_leave_the_rows_of_the_specification(azurite: Azurite, mode: LocalActivities) -> None:
    hub_name = f"RowHub{mode}"

    found = await run_and_read(azurite, hub_name, mode, "ThreeActivities", "abc123", 3)

    execution_id = found.history[0]["ExecutionId"]
    assert [without(row, "_Timestamp", "CheckpointCompletedTimestamp") for row in found.history] == expected_history(
        execution_id
    )
    times = [row["_Timestamp"] for row in found.history[:-1]]
    finished = found.history[-1]["CheckpointCompletedTimestamp"]
    assert all(isinstance(time, datetime) for time in [*times, finished])
    assert [without(row, "CompletedTime") for row in found.instance] == [
        {
            "PartitionKey": "abc123",
            "RowKey": "",
            "ExecutionId": execution_id,
            "Name": "ThreeActivities",
            "Version": "",
            "Input": '"3"',
            "Output": '["Hello Tokyo!","Hello Seattle!","Hello London!"]',
            "CustomStatus": "null",
            "CreatedTime": times[1],
            "LastUpdatedTime": times[-1],
            "RuntimeStatus": "Completed",
            "Generation": 0,
            "Tags": "null",
            "TaskHubName": hub_name,
        }
    ]
    assert isinstance(found.instance[0]["CompletedTime"], datetime)
    # The deterministic time of an episode is not before the events that it plays.
    assert times[0] >= times[1]
    assert all(times[start] >= times[start + 1] for start in (4, 8, 12))


async def test_the_plain_protocol_writes_what_the_cost_model_says(azurite: Azurite) -> None:
    found = await run_and_read(azurite, "CostHub", "off", "ThreeActivities", "abc123", 3)

    batches = [call.body for call in found.calls.trace if call.verb == "table.batch" and b"CostHubHistory" in call.body]
    verbs = found.calls.by_verb
    assert (verbs["queue.put"], verbs["queue.delete"], verbs["table.insert"]) == (7, 7, 1)
    assert [(body.count(b"CostHubHistory"), body.count(b'"sentinel"')) for body in batches] == [(5, 1)] * 4
    assert 2 <= verbs["table.upsert_merge"] <= 4


@pytest.mark.parametrize("mode", ["off", "on"])
async def test_rows_have_the_columns_and_values_that_the_real_provider_wrote(
    azurite: Azurite, mode: LocalActivities
) -> None:
    tables = json.loads(RECORDED.read_text())["tables"]
    theirs = {
        name.removeprefix("FxFinished"): [row for row in rows if row["PartitionKey"] == "done-hello"]
        for name, rows in tables.items()
    }

    found = await run_and_read(azurite, f"SameHub{mode}", mode, "HelloSequence", "done-hello", 2)

    for ours, recorded in ((found.history, theirs["History"]), (found.instance, theirs["Instances"])):
        assert [comparable(row) for row in ours] == [comparable(as_read(row)) for row in recorded]


def as_read(row: Columns) -> Columns:
    """A recorded row as the client returns it."""
    dates = [name.partition("@")[0] for name, kind in row.items() if kind == "Edm.DateTime"]
    return {name: datetime.min if name in dates else value for name, value in row.items() if "@" not in name}


def comparable(row: Columns) -> Columns:
    """Leave out what differs in every run: times by their type, the execution id, the hub's name."""
    execution_id = row["ExecutionId"]
    out: Columns = {}
    for name, value in row.items():
        if isinstance(value, datetime):
            out[name] = datetime
        elif name == "TaskHubName":
            out[name] = str
        else:
            out[name] = value.replace(execution_id, "ID") if isinstance(value, str) else (type(value), value)
    return out


async def test_a_checkpoint_of_several_batches_is_complete_with_the_last(azurite: Azurite) -> None:
    def fan_out(context: Any) -> Any:
        return (yield context.task_all([context.call_activity("SayHello", str(number)) for number in range(150)]))

    registry = FunctionRegistry()
    registry.add_orchestrator(OrchestratorDefinition(name="FanOut", function=fan_out))
    registry.add_activity(ActivityDefinition(name="SayHello", call=say_hello, is_async=True))
    settings = AzureStorageSettings(connection=azurite.connection_string, task_hub="BatchHub", partition_count=1)
    calls = CallCounter()
    async with run_azure_hub(
        settings, registry, worker_settings=WorkerSettings(local_activities="off"), interceptor=calls
    ) as hub:
        await eventually(lambda: hub.backend.owns(0), within=PATIENCE)
        await hub.client.start("FanOut", None, "wide")
        await hub.client.wait_for_completion("wide", timeout=PATIENCE)

    bodies = [call.body for call in calls.trace if call.verb == "table.batch" and b"BatchHubHistory" in call.body]
    first = [
        (body.count(b'"EventType"'), b'"IsCheckpointComplete":true' in body, b"CheckpointCompletedTimestamp" in body)
        for body in bodies[:2]
    ]
    assert first == [(99, False, False), (54, True, True)]


async def test_a_message_of_more_than_45_kilobytes_travels_in_a_blob_and_no_other(azurite: Azurite) -> None:
    settings = AzureStorageSettings(connection=azurite.connection_string, task_hub="EdgeHub", partition_count=1)
    sizes = range(22_480, 22_620, 5)
    transport = open_lean_transport(account_from_connection_string(azurite.connection_string))
    async with run_azure_hub(settings, FunctionRegistry(), serve=False) as hub:
        for size in sizes:
            await hub.client.start_recorded("Unknown", '"' + "é" * size + '"', f"edge-{size}")
        texts = [message.text for message in await transport.queues.get("edgehub-control-00", count=32, visibility=60)]
    names = [envelope["CompressedBlobName"] for envelope in map(json.loads, texts)]
    inline = [len(text.encode()) for text, name in zip(texts, names, strict=True) if name is None]
    contents = [await transport.blobs.download("edgehub-largemessages", name) for name in names if name is not None]
    await transport.close()

    offloaded = [len(gzip.decompress(content or b"")) for content in contents]
    assert len(texts) == len(sizes)
    assert max(inline) <= 45 * 1024 < min(offloaded)
