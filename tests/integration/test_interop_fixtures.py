"""Hubs that the real provider wrote, frozen mid-way: our worker takes each over and reaches the recorded end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.instances import InstanceRow
from durable_ext.core.messages import InstanceId
from durable_ext.testing.eventually import eventually
from tests.azure_hub import AzureHub, run_azure_hub
from tests.azurite import Azurite, running_azurite
from tests.frozen_hub import FrozenHub, frozen_hubs, load_hub
from tests.interop_app import interop_registry

pytestmark = pytest.mark.azurite

FROZEN = frozen_hubs()
# Texts of failures after loading depend on the SDK (interop README): only the status counts.
STATUS_ONLY = {"failure-queued", "sub-failure-queued", "retry-back-off"}
# They wait for their own time: loaded with all delays.
SLOW = {"timer-pending", "start-scheduled", "retry-back-off", "entity-scheduled-signal", "timer-cancelled"}
# The recorder had no limit for custom statuses, Durable Functions (and we) take 16 KB: this one fails in its next episode.
TOO_LARGE_STATUS = ("large-middle", "big-status")


@pytest.fixture(scope="module")
def azurite() -> Iterator[Azurite]:
    with running_azurite() as running:
        yield running


@pytest.fixture
async def loaded(
    request: pytest.FixtureRequest, azurite: Azurite, task_hub: str
) -> AsyncIterator[tuple[FrozenHub, AzureHub]]:
    frozen: FrozenHub = request.param
    transport = open_lean_transport(account_from_connection_string(azurite.connection_string))
    try:
        await load_hub(frozen, transport, task_hub, max_delay=60 if frozen.name in SLOW else 1)
    finally:
        await transport.close()
    settings = AzureStorageSettings(
        connection=azurite.connection_string,
        task_hub=task_hub,
        app_name="peer",
        max_queue_polling_interval=timedelta(seconds=1),
        lease_acquire_interval=timedelta(seconds=1),
    )
    async with run_azure_hub(settings, interop_registry()) as hub:
        yield frozen, hub


def _cases() -> list[Any]:
    return [
        pytest.param(frozen, id=frozen.name, marks=[pytest.mark.slow] if frozen.name in SLOW else []) for frozen in FROZEN
    ]


@pytest.mark.parametrize("loaded", _cases(), indirect=True)
async def test_a_recorded_hub_is_finished_as_it_was_by_its_own_worker(loaded: tuple[FrozenHub, AzureHub]) -> None:
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
