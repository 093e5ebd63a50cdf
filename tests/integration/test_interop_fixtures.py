"""Hubs that the real provider wrote, frozen mid-way: our worker takes each over and reaches the recorded end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from azure_hub import AzureHub, run_azure_hub, short_settings
from azurite import Azurite
from frozen_hub import FrozenHub, frozen_hubs, load_hub
from interop_app import interop_registry

from durable_ext.backends.azure_storage.message_codec import MessageEncoding
from durable_ext.backends.azure_storage.settings import AzureStorageSettings, PartitionManagement
from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import StorageTransport, open_lean_transport
from durable_ext.backends.azure_storage.transport.edm import EdmOther, EdmValue, row_from_json
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.instances import InstanceRow
from durable_ext.core.messages import InstanceId
from durable_ext.testing.eventually import eventually

pytestmark = pytest.mark.azurite

FROZEN = frozen_hubs()
# Texts of failures after loading depend on the SDK (interop README): only the status counts.
STATUS_ONLY = {"failure-queued", "sub-failure-queued", "retry-back-off"}
# They wait for their own time: loaded with all delays.
SLOW = {"timer-pending", "start-scheduled", "retry-back-off", "entity-scheduled-signal", "timer-cancelled"}
# The recorder had no limit for custom statuses, Durable Functions (and we) take 16 KB: this one fails in its next episode.
TOO_LARGE_STATUS = ("large-middle", "big-status")
MANAGERS = {
    "table": PartitionManagement.TABLE,
    "blob": PartitionManagement.SAFE_BLOB,
    "legacy": PartitionManagement.LEGACY_BLOB,
}


@pytest.fixture
async def loaded(
    request: pytest.FixtureRequest, azurite: Azurite, task_hub: str
) -> AsyncIterator[tuple[FrozenHub, AzureHub]]:
    frozen: FrozenHub = request.param
    transport = open_lean_transport(account_from_connection_string(azurite.connection_string))
    try:
        await load_hub(frozen, transport, task_hub, max_delay=60 if frozen.name in SLOW else _delay(frozen))
    finally:
        await transport.close()
    settings = short_settings(
        azurite,
        task_hub,
        app_name="peer",
        partition_manager=MANAGERS[frozen.about["leases"]],
        message_encoding=MessageEncoding.BASE64 if frozen.name.endswith("base64") else MessageEncoding.UTF8,
    )
    async with run_azure_hub(settings, interop_registry()) as hub:
        yield frozen, hub


def _delay(frozen: FrozenHub) -> int:
    """What a dead worker held comes a second after the rest, and at once if there is nothing else."""
    messages = [message for queue in frozen.content["queues"].values() for message in queue]
    return int(bool(frozen.about["then"]) or any(message["delaySeconds"] == 0 for message in messages))


def _cases() -> list[Any]:
    return [
        pytest.param(frozen, id=frozen.name, marks=[pytest.mark.slow] if frozen.name in SLOW else []) for frozen in FROZEN
    ]


@pytest.mark.parametrize("loaded", _cases(), indirect=True)
async def test_a_recorded_hub_is_finished_as_it_was_by_its_own_worker(
    loaded: tuple[FrozenHub, AzureHub], azurite: Azurite, task_hub: str
) -> None:
    """And every row that our worker has written on the way has the columns and types of one that the provider wrote."""
    frozen, hub = loaded
    about = frozen.about

    await _do_what_the_recording_did(hub, about)

    for instance in about["instances"]:
        await eventually(
            lambda instance=instance: _reached(hub, frozen, instance),
            every=timedelta(milliseconds=50),
            within=timedelta(seconds=75 if frozen.name in SLOW else 25),
            message=f"{instance['instanceId']}: {instance['expected']}",
        )
    for entity in about.get("entities", ()):
        wanted = entity.get("expectedStateAfterThen", entity["expectedState"])
        await eventually(
            lambda entity=entity, wanted=wanted: _has_state(hub, entity["id"], wanted),
            every=timedelta(milliseconds=50),
            within=timedelta(seconds=75 if frozen.name in SLOW else 25),
            message=f"{entity['id']}: {wanted}",
        )
    for table in ("History", "Instances"):
        for row in await _stored_rows(azurite, f"{task_hub}{table}"):
            assert _shape(row) in RECORDED_SHAPES[table, _row_kind(row)], row


Shape = frozenset[tuple[str, str]]


def _shape(row: Mapping[str, EdmValue]) -> Shape:
    types = {name: value.edm_type if isinstance(value, EdmOther) else type(value).__name__ for name, value in row.items()}
    if types.get("ScheduledStartTime") == "EdmDateTime":
        del types["ScheduledStartTime"]  # of every start with a time (5.3); only one that never ran was recorded
    return frozenset(types.items())


def _row_kind(row: Mapping[str, EdmValue]) -> str:
    return str(row.get("EventType") or row.get("RuntimeStatus") or row["RowKey"])


def _recorded_shapes() -> dict[tuple[str, str], set[Shape]]:
    shapes: dict[tuple[str, str], set[Shape]] = {}
    for frozen in FROZEN:
        for table, rows in frozen.content["tables"].items():
            for row in (row_from_json(recorded).entity for recorded in rows):
                shapes.setdefault((table[len(frozen.hub) :], _row_kind(row)), set()).add(_shape(row))
    return shapes


RECORDED_SHAPES = _recorded_shapes()


async def _stored_rows(azurite: Azurite, table: str) -> list[dict[str, EdmValue]]:
    transport = open_lean_transport(account_from_connection_string(azurite.connection_string))
    try:
        return [row.entity for row in (await transport.tables.query(table, "")).rows]
    finally:
        await transport.close()


async def _do_what_the_recording_did(hub: AzureHub, about: Mapping[str, Any]) -> None:
    client = hub.client
    for step in about["then"]:
        if step["do"] == "raiseEvent":
            await client.raise_event(step["instanceId"], step["name"], step["input"])
        elif step["do"] == "resume":
            await client.resume(step["instanceId"], step["reason"])
        elif step["do"] == "rewind":
            await client.rewind(step["instanceId"], step["reason"])
        else:
            name, key = step["entityId"][1:].split("@", 1)
            await client.signal_entity(EntityId(name, key), step["operation"], step["input"])


async def _reached(hub: AzureHub, frozen: FrozenHub, instance: Mapping[str, Any]) -> bool:
    row = await hub.backend.instances.get_instance(InstanceId(instance["instanceId"]))
    expected = instance["expected"]
    if expected is None or row is None:
        return row is None and expected is None
    if (frozen.name, instance["instanceId"]) == TOO_LARGE_STATUS:
        return row.status is OrchestrationStatus.FAILED
    if row.status.value != expected["runtimeStatus"]:
        return False
    if row.status.is_terminal and frozen.name not in STATUS_ONLY:
        _check_end(row, expected)
    return True


def _check_end(row: InstanceRow, expected: Mapping[str, Any]) -> None:
    output = expected.get("output")
    if isinstance(output, Mapping):
        text = row.output or ""
        assert (len(text), hashlib.sha256(text.encode()).hexdigest()) == (output["chars"], output["sha256"])
    else:
        # .NET escapes line separators in output, our converter writes them: the same JSON value.
        assert row.output == output or json.loads(row.output or "null") == json.loads(output)
    assert row.custom_status == expected.get("customStatus")


async def _has_state(hub: AzureHub, instance_id: str, wanted: str | None) -> bool:
    name, key = instance_id[1:].split("@", 1)
    snapshot = await hub.client.read_entity(EntityId(name, key))
    # A 1.x Python worker writes JSON with spaces, the recorder did not: the values must be equal.
    return snapshot.state == json.loads(wanted or "null") if snapshot.exists else wanted is None


@pytest.mark.parametrize("name", ["hello-workitem-queued-blob-leases", "hello-workitem-queued-legacy-leases"])
async def test_recorded_lease_blobs_go_on_with_their_epoch(azurite: Azurite, task_hub: str, name: str) -> None:
    (frozen,) = (one for one in FROZEN if one.name == name)
    transport = open_lean_transport(account_from_connection_string(azurite.connection_string))
    await load_hub(frozen, transport, task_hub)
    container = f"{task_hub.lower()}-leases"
    before = await _lease_texts(transport, container)
    settings = AzureStorageSettings(
        connection=azurite.connection_string,
        task_hub=task_hub,
        worker_id="ours",
        lease_acquire_interval=timedelta(seconds=1),
        partition_manager=MANAGERS[frozen.about["leases"]],
    )

    async with run_azure_hub(settings, interop_registry()) as hub:
        await eventually(lambda: all(hub.backend.owns(index) for index in range(4)), within=timedelta(seconds=25))
        held = await _lease_texts(transport, container)
    free = await _lease_texts(transport, container)
    await transport.close()

    assert held.keys() == free.keys() == before.keys()
    for blob, text in before.items():
        if blob == "taskhub.json":
            assert text == held[blob] == free[blob]
            continue
        old, new = json.loads(text), json.loads(held[blob])
        assert new | {"Token": ""} == old | {"Owner": "ours", "Token": "", "Epoch": old["Epoch"] + 1}
        assert held[blob] == json.dumps(new, separators=(",", ":"))
        assert free[blob] == json.dumps(new | {"Owner": None, "Token": None}, separators=(",", ":"))


async def _lease_texts(transport: StorageTransport, container: str) -> dict[str, str]:
    names = (await transport.blobs.list(container, "")).names
    return {name: (await transport.blobs.download(container, name) or b"").decode() for name in names}
