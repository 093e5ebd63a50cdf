"""Rows and messages of ours against those that the real provider wrote for the same orchestrations.

Recorded: tests/interop; the forms of messages that no recording has are those of specs/azure-storage.md 4.5.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from xml.sax.saxutils import unescape

import pytest
from azure.data.tables import TableServiceClient
from azure_hub import AzureHub, run_azure_hub
from azurite import Azurite
from frozen_hub import INTEROP, FrozenHub, frozen_hubs, load_hub
from interop_app import interop_registry

from durable_ext.backends.azure_storage.message_codec import from_message_text
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.messages import InstanceId
from durable_ext.runtime.settings import LocalActivities, WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import CallCounter

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=60)
Columns = dict[str, Any]
# Orchestrations that the recorder ran, by its file; inputs are the recorder's.
SAME: dict[str, list[tuple[str, str, Any]]] = {
    "finished": [
        ("done-hello", "HelloSequence", 2),
        ("failed-activity", "Failing", "boom"),
        ("failed-orchestrator", "Throwing", None),
        ("done-caught", "CatchFail", None),
        ("failed-child", "SubFail", "deep"),
        ("terminated", "WaitEvent", None),
        ("done-eternal", "Eternal", 2),
        ("done-timer", "TimerOnce", 1),
        ("done-parent", "SubOrch", 1),
        ("done-parent-child", "", None),
        ("failed-retry", "Retry", 1),
        ("done-resumed", "WaitEvent", None),
    ],
    "large-finished": [
        ("big-ascii", "Echo", "x" * 50_000),
        ("big-column", "Echo", "y" * 40_000),
        ("big-result", "Big", 100_000),
    ],
    "custom-status": [("status-1", "SetStatus", {"stage": 1})],
    "timer-cancelled": [("either-1", "EventOrTimer", 60)],
    "entity-release-queued": [("lock-1", "LockCounter", "locked")],
}
# What an activity failed with is the app's SDK's text: there must be one.
TEXTS_OF_FAILURES = {"Reason", "Details", "FailureDetails"}
_GUID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MESSAGE_BLOB = re.compile(
    r"^https?://[^/]+/devstoreaccount1/[^/]+-largemessages/(.*/message-)[0-9a-f]{32}(-\w+\.json\.gz)$"
)
_TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6}[1-9])?Z")
_ARGUMENT = re.compile(r',"input":"(?:\\"|[^"])*"')
_ANSWER = re.compile(r'^\{(?:"\$type":"[^"]*ResponseMessage[^"]*",)?"result":(?:null|"\w+")')
_BLOB = re.compile(r"^(?:https?://[^/]+/devstoreaccount1/[^/]+/)?(.*-)[0-9A-F]{8}(-\w+\.json\.gz)$")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """All rows of a hub by table, as a plain client reads them, and every message text that was put."""

    tables: dict[str, list[Columns]]
    messages: list[str]


@pytest.fixture(scope="module", params=["off", "on"])
def stored(request: pytest.FixtureRequest, azurite: Azurite) -> Stored:
    return asyncio.run(_store(azurite, request.param))


async def _store(azurite: Azurite, mode: LocalActivities) -> Stored:
    calls = CallCounter()
    settings = AzureStorageSettings(
        connection=azurite.connection_string,
        task_hub=f"Same{mode}",
        max_queue_polling_interval=timedelta(seconds=1),
        lease_acquire_interval=timedelta(seconds=1),
    )
    async with run_azure_hub(
        settings, interop_registry(), worker_settings=WorkerSettings(local_activities=mode), interceptor=calls
    ) as hub:
        await eventually(lambda: all(hub.backend.owns(index) for index in range(4)), within=PATIENCE)
        await _run_everything(hub)
        # All but the message of the cancelled timer.
        await eventually(lambda: calls.by_verb["queue.delete"] >= calls.by_verb["queue.put"] - 1, within=PATIENCE)
    tables = await asyncio.to_thread(_read_tables, azurite, settings.task_hub)
    bodies = [call.body.decode() for call in calls.trace if call.verb == "queue.put"]
    return Stored(tables=tables, messages=[unescape(body[len(_OPENING) : -len(_CLOSING)]) for body in bodies])


_OPENING, _CLOSING = "<QueueMessage><MessageText>", "</MessageText></QueueMessage>"


async def _run_everything(hub: AzureHub) -> None:
    client = hub.client
    for cases in SAME.values():
        for instance_id, name, given in cases:
            if name:
                await client.start(name, given, instance_id)
    waiting = {"terminated": 3, "done-resumed": 3, "either-1": 4, "status-1": 7, "lock-1": 11}
    await eventually(lambda: _rows_reach(hub, waiting), within=PATIENCE)
    await client.raise_event("lock-1", "Release", 0)
    await client.terminate("terminated", "enough")
    await client.raise_event("either-1", "Approval", json.dumps({"ok": True}, separators=(",", ":")))
    await client.suspend("done-resumed", "hold on")
    await eventually(lambda: _has_status(hub, "done-resumed", OrchestrationStatus.SUSPENDED), within=PATIENCE)
    await client.resume("done-resumed", "go on")
    await eventually(lambda: _has_status(hub, "done-resumed", OrchestrationStatus.RUNNING), within=PATIENCE)
    await client.raise_event("done-resumed", "Approval", '"yes"')
    for cases in SAME.values():
        for instance_id, _, _ in cases:
            if instance_id != "status-1":
                await client.wait_for_completion(instance_id, timeout=PATIENCE)


async def _rows_reach(hub: AzureHub, counts: dict[str, int]) -> bool:
    histories = [(await hub.backend.instances.get_history(InstanceId(one)), least) for one, least in counts.items()]
    return all(len(events) >= least for events, least in histories)


async def _has_status(hub: AzureHub, instance_id: str, status: OrchestrationStatus) -> bool:
    row = await hub.backend.instances.get_instance(InstanceId(instance_id))
    return row is not None and row.status is status


def _read_tables(azurite: Azurite, task_hub: str) -> dict[str, list[Columns]]:
    with TableServiceClient.from_connection_string(azurite.connection_string) as service:
        return {
            name: [dict(row) for row in service.get_table_client(task_hub + name).query_entities("")]
            for name in ("History", "Instances", "Partitions")
        }


def _recorded(file: str) -> FrozenHub:
    return FrozenHub(file, json.loads((INTEROP / f"{file}.json").read_text()))


def _recorded_rows(frozen: FrozenHub, table: str) -> list[Columns]:
    found: list[Columns] = []
    for row in frozen.content["tables"][frozen.hub + table]:
        dates = [name.partition("@")[0] for name, kind in row.items() if kind == "Edm.DateTime"]
        found.append({name: datetime.min if name in dates else value for name, value in row.items() if "@" not in name})
    return found


def _comparable(rows: list[Columns], partition: str) -> list[Columns]:
    """Rows without what differs in every run: times by their type, ids by their order, texts of SDKs by their kind."""
    ids: dict[str, str] = {}
    failed = any(row.get("RuntimeStatus") == "Failed" or row.get("OrchestrationStatus") == "Failed" for row in rows)
    return [
        {name: _plain(name, value, ids, failed=failed) for name, value in row.items()}
        for row in rows
        if row["PartitionKey"] == partition
    ]


def _plain(name: str, value: Any, ids: dict[str, str], *, failed: bool) -> Any:
    if isinstance(value, datetime):
        return datetime
    if not isinstance(value, str):
        return type(value), value
    if name == "InstanceId" and value.startswith("@"):
        return "an entity"  # locks are released in an order that the recording alone does not tell
    if name == "TaskHubName" or name in TEXTS_OF_FAILURES or (failed and name in ("Output", "Result")):
        return bool(value)
    blob = _BLOB.match(value)
    if blob is not None:
        return blob[1] + blob[2]
    message = _MESSAGE_BLOB.match(value)
    if message is not None:
        return message.groups()
    if name == "Input" and value.startswith('"'):
        inner = json.loads(value)
        return json.loads(inner) if inner[:1] in ('{"') or inner.isdigit() else inner  # Python's JSON has spaces
    if name == "Input":
        value = _ARGUMENT.sub("", value)  # a Python caller encodes twice, and null too
        value = _ANSWER.sub("{an answer", value)  # recorded with $type and without; the recorder's entity returned nothing
    return _TIME.sub("a time", _GUID.sub(lambda found: ids.setdefault(found[0], f"id {len(ids)}"), value))


def _same_instances() -> list[tuple[str, str]]:
    return [(file, instance_id) for file, cases in SAME.items() for instance_id, _, _ in cases]


@pytest.mark.parametrize(("file", "instance_id"), _same_instances())
def test_an_instance_has_the_rows_of_the_recorded_one(stored: Stored, file: str, instance_id: str) -> None:
    frozen = _recorded(file)

    for table in ("History", "Instances"):
        ours = _comparable([row for row in stored.tables[table] if row["PartitionKey"] == instance_id], instance_id)
        theirs = [row for row in _recorded_rows(frozen, table) if row["PartitionKey"] == instance_id]
        recorded = _comparable(theirs, instance_id)
        if frozen.name.startswith("entity-"):  # started by HTTP of a host that writes no version
            recorded = [{"Version": "", **row} if row.get("Name") == "LockCounter" else row for row in recorded]
        assert ours == recorded


def test_the_partitions_have_the_columns_of_recorded_ones(stored: Stored) -> None:
    theirs = _recorded_rows(_recorded("finished"), "Partitions")
    released = {"PartitionKey": str, "RowKey": str, "OwnedSince": datetime, "LastRenewal": datetime, "ExpiresAt": datetime}

    for row in stored.tables["Partitions"]:
        kinds = {name: datetime if isinstance(value, datetime) else type(value) for name, value in row.items()}
        assert kinds == released | {"IsDraining": bool}
        assert set(kinds) <= set(theirs[0])


# Messages.

_FREE = {
    *(
        "Name",
        "Input",
        "Result",
        "InstanceId",
        "ExecutionId",
        "ActivityId",
        "Timestamp",
        "FireAt",
        "SequenceNumber",
        "Reason",
    ),
    *("TaskScheduledId", "TimerId", "TaskScheduleId", "Details", "Data", "CompressedBlobName", "ScheduledStartTime"),
    *("EventId", "Episode", "Generation"),
}
_INSTANCE = '{"$type":"DurableTask.Core.OrchestrationInstance","InstanceId":"a","ExecutionId":%s}'
_FRAME = (
    '{"$type":"DurableTask.AzureStorage.MessageData","ActivityId":"b","TaskMessage":{"$type":"DurableTask.Core.TaskMessage",'
    '"Event":{"$type":"DurableTask.Core.History.%s,"EventId":-1,"IsPlayed":false,"Timestamp":"t"},"SequenceNumber":0,'
    '"OrchestrationInstance":%s,"OrchestrationExecutionContext":null},"CompressedBlobName":null,"SequenceNumber":7,'
    '%s,"SerializableTraceContext":null}'
)
_CLIENT, _WORKER = '"Sender":{"InstanceId":"","ExecutionId":""}', '"Episode":1,"Sender":{"InstanceId":"a","ExecutionId":"e"}'
SPECIFIED = [
    _FRAME % ('ExecutionSuspendedEvent","EventType":19,"Reason":"because"', _INSTANCE % "null", _CLIENT),
    _FRAME % ('ExecutionResumedEvent","EventType":20,"Reason":"because"', _INSTANCE % "null", _CLIENT),
    _FRAME
    % (
        'SubOrchestrationInstanceCompletedEvent","EventType":8,"TaskScheduledId":3,"Result":"r"',
        _INSTANCE % '"e"',
        _WORKER,
    ),
    # The answer of an entity that its batch has made (10.2).
    _FRAME
    % (
        'EventRaisedEvent","EventType":15,"Name":"n","Input":"i","ParentTraceContext":null',
        _INSTANCE % '"e"',
        _WORKER.replace('"e"', "null"),
    ),
]


def _form(text: str) -> str:
    """A message with its members in order, but without the values that differ from message to message."""
    return _masked(json.loads(text, object_pairs_hook=lambda pairs: ("object", pairs)), "")


def _masked(value: Any, name: str) -> str:
    if isinstance(value, tuple):
        members = [f"{key}: {_masked(member, key)}" for key, member in value[1]]
        return "any failure" if name == "FailureDetails" else "{" + ", ".join(members) + "}"
    if name == "FailureDetails":
        return "any failure"
    if name in _FREE and value is not None and value != "":
        return f"any {type(value).__name__}" if value != -1 else "-1"
    return json.dumps(value)


def _known_forms() -> dict[str, set[str]]:
    forms: dict[str, set[str]] = {}
    texts = [
        from_message_text(message["text"])
        for frozen in frozen_hubs()
        for messages in frozen.content["queues"].values()
        for message in messages
    ]
    for text in [*texts, *SPECIFIED]:
        plain = text if isinstance(text, str) else text.decode()
        forms.setdefault(_kind(plain), set()).add(_form(plain))
    return forms


def _kind(text: str) -> str:
    message = json.loads(text)["TaskMessage"]
    return "wrapper" if message is None else str(message["Event"]["$type"]).rsplit(".", 1)[-1]


def test_every_message_has_the_form_of_a_recorded_one(stored: Stored) -> None:
    known = _known_forms()
    kinds = {_kind(text) for text in stored.messages}

    assert {"ExecutionStartedEvent", "TimerFiredEvent", "EventRaisedEvent", "ExecutionTerminatedEvent", "wrapper"} <= kinds
    for text in stored.messages:
        assert _form(text) in known[_kind(text)], text


@dataclass(frozen=True, kw_only=True)
class Queued:
    """The rows of a hub without workers, and the messages in its queues."""

    tables: dict[str, list[Columns]]
    texts: list[str]


async def _queued(azurite: Azurite, task_hub: str) -> Queued:
    transport = open_lean_transport(account_from_connection_string(azurite.connection_string))
    try:
        found = [
            message.text
            for index in range(4)
            for message in await transport.queues.get(f"{task_hub.lower()}-control-{index:02d}", count=32, visibility=60)
        ]
    finally:
        await transport.close()
    return Queued(tables=await asyncio.to_thread(_read_tables, azurite, task_hub), texts=found)


async def test_a_rewind_leaves_the_rows_and_messages_of_the_recorded_one(azurite: Azurite, task_hub: str) -> None:
    before, after = _recorded("rewind-before"), _recorded("rewind-after")
    transport = open_lean_transport(account_from_connection_string(azurite.connection_string))
    await load_hub(before, transport, task_hub)
    await transport.close()
    settings = AzureStorageSettings(connection=azurite.connection_string, task_hub=task_hub)
    async with run_azure_hub(settings, interop_registry(), serve=False) as hub:
        await hub.client.rewind("flaky-1", "repaired")
        await hub.client.rewind("parent-1", "repaired")
    ours = await _queued(azurite, task_hub)

    for table in ("History", "Instances"):
        theirs = _recorded_rows(after, table)
        assert _by_role(ours.tables[table]) == _by_role(theirs)
    messages = [message["text"] for queue in after.content["queues"].values() for message in queue]
    assert sorted(map(_form, ours.texts)) == sorted(map(_form, messages))
    assert {json.loads(text)["TaskMessage"]["Event"]["Data"] for text in ours.texts} == {"repaired"}


def _by_role(rows: list[Columns]) -> dict[str, list[Columns]]:
    partitions = {row["PartitionKey"] for row in rows}
    return {("child" if ":" in one else one): _comparable(rows, one) for one in partitions}


async def test_a_scheduled_start_leaves_the_row_and_message_of_the_recorded_one(azurite: Azurite, task_hub: str) -> None:
    recorded = _recorded("start-scheduled")
    calls = CallCounter()
    settings = AzureStorageSettings(connection=azurite.connection_string, task_hub=task_hub)
    async with run_azure_hub(settings, interop_registry(), serve=False, interceptor=calls) as hub:
        await hub.client.start("HelloSequence", 2, "hello-1", start_at=datetime.now(timezone.utc) + timedelta(seconds=20))
    rows = (await asyncio.to_thread(_read_tables, azurite, task_hub))["Instances"]

    assert _comparable(rows, "hello-1") == _comparable(_recorded_rows(recorded, "Instances"), "hello-1")
    (body,) = [call.body.decode() for call in calls.trace if call.verb == "queue.put"]
    (message,) = [message for queue in recorded.content["queues"].values() for message in queue]
    assert _form(unescape(body[len(_OPENING) : -len(_CLOSING)])) == _form(message["text"])


async def test_large_starts_leave_the_rows_of_recorded_ones(azurite: Azurite, task_hub: str) -> None:
    recorded = _recorded("large-start-queued")
    settings = AzureStorageSettings(connection=azurite.connection_string, task_hub=task_hub)
    async with run_azure_hub(settings, interop_registry(), serve=False) as hub:
        for instance in recorded.about["instances"]:
            given = instance["input"]
            text = given["repeat"] * given["count"] if isinstance(given, dict) else given
            wrapped = json.dumps(json.dumps(text, ensure_ascii=False), ensure_ascii=False)
            await hub.client.start_recorded(instance["orchestrator"], wrapped, instance["instanceId"])
    rows = (await asyncio.to_thread(_read_tables, azurite, task_hub))["Instances"]

    theirs = _recorded_rows(recorded, "Instances")
    assert len(rows) == len(theirs)
    for instance_id in (str(row["PartitionKey"]) for row in theirs):
        ours, wanted = _comparable(rows, instance_id), _comparable(theirs, instance_id)
        assert ours == wanted


async def test_the_app_lease_blob_has_the_text_of_the_recorded_one(azurite: Azurite, task_hub: str) -> None:
    (recorded,) = (
        base64.b64decode(blob["base64"])
        for container, blobs in _recorded("finished").content["containers"].items()
        for blob in blobs.values()
        if container.endswith("-applease")
    )
    settings = AzureStorageSettings(connection=azurite.connection_string, task_hub=task_hub, app_name="peer")
    transport = open_lean_transport(account_from_connection_string(azurite.connection_string))
    async with run_azure_hub(settings, interop_registry()) as hub:
        await eventually(lambda: hub.backend.owns(0), within=PATIENCE)
        ours = await transport.blobs.download(f"{task_hub.lower()}-applease", f"{task_hub.lower()}-appleaseinfo")
    await transport.close()

    assert ours == recorded


async def test_the_answer_to_a_task_without_an_episode_has_episode_minus_one(azurite: Azurite, task_hub: str) -> None:
    (message,) = _recorded("hello-workitem-queued").content["queues"]["fxhelloworkitemqueued-workitems"]
    without = re.sub(r'"Episode":\d+,', "", message["text"])
    assert without != message["text"]
    calls = CallCounter()
    settings = AzureStorageSettings(connection=azurite.connection_string, task_hub=task_hub)
    transport = open_lean_transport(account_from_connection_string(azurite.connection_string))
    async with run_azure_hub(settings, interop_registry(), interceptor=calls):
        await transport.queues.put(f"{task_hub.lower()}-workitems", without)
        await eventually(lambda: calls.by_verb["queue.put"] == 1, within=PATIENCE)
    await transport.close()

    (body,) = [call.body.decode() for call in calls.trace if call.verb == "queue.put"]
    assert json.loads(unescape(body[len(_OPENING) : -len(_CLOSING)]))["Episode"] == -1
