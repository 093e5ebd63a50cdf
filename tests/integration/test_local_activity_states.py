"""States that a worker with local activities leaves behind when it dies: our worker finishes what a .NET worker finished."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from azure_hub import AzureHub, run_azure_hub, short_settings
from azurite import Azurite
from frozen_hub import FrozenHub, frozen_hubs, load_hub
from interop_app import ActivityRuns, interop_registry

from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.messages import InstanceId
from durable_ext.errors import InstanceAlreadyExistsError
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually

pytestmark = pytest.mark.azurite

# s14a: the provider finishes it, but its child's row never gets a name; ours does.
FINISHED = [
    frozen
    for frozen in frozen_hubs("local_activities")
    if frozen.about["observed"]["verdict"] in ("safe", "repeats") or frozen.name == "s14a-child-no-row"
]
# One end of many: which activities still ran beside the terminate message is a race.
TERMINATED = {"s09a-terminate", "s09d-terminate-first", "s09e-terminate-without-local", "s08b-second-start-forced"}
# Messages of a dead worker keep their own time there.
LATE = {"s08a-second-start", "s08b-second-start-forced", "s09d-terminate-first", "s11b-event-with-first-batch"}
# Failure texts depend on the SDK.
STATUS_ONLY = {"s18-retry-timer-trigger"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """A state, the worker that took it over, and the activities that it ran."""

    frozen: FrozenHub
    hub: AzureHub
    runs: ActivityRuns


@pytest.fixture(scope="module", params=["on", pytest.param("off", marks=pytest.mark.slow)])
def local_activities(request: pytest.FixtureRequest) -> Any:
    return request.param


def _takes_seconds(frozen: FrozenHub) -> bool:
    """Whether messages were put in different seconds perhaps, and none waits for a time of its own."""
    messages = [message for queue in frozen.content["queues"].values() for message in queue]
    return len(messages) > 1 and not any(message["delaySeconds"] for message in messages)


@pytest.fixture(scope="module")
def loaded_before(azurite: Azurite, local_activities: Any) -> Mapping[str, str]:
    """Load all hubs that take seconds side by side; return what they are called now by their names."""
    hubs = {frozen.name: f"Hub{uuid.uuid4().hex[:12]}" for frozen in FINISHED if _takes_seconds(frozen)}

    async def load_all() -> None:
        transport = open_lean_transport(account_from_connection_string(azurite.connection_string))
        try:
            chosen = (frozen for frozen in FINISHED if frozen.name in hubs)
            await asyncio.gather(*(load_hub(each, transport, hubs[each.name], redeliver=True) for each in chosen))
        finally:
            await transport.close()

    with ThreadPoolExecutor(1) as beside_the_loops_of_tests:
        beside_the_loops_of_tests.submit(asyncio.run, load_all()).result()
    return hubs


@pytest.fixture
async def taken_over(
    request: pytest.FixtureRequest,
    azurite: Azurite,
    task_hub: str,
    local_activities: Any,
    loaded_before: Mapping[str, str],
) -> AsyncIterator[TakenOver]:
    frozen: FrozenHub = request.param
    if frozen.name in loaded_before:
        task_hub = loaded_before[frozen.name]
    else:
        transport = open_lean_transport(account_from_connection_string(azurite.connection_string))
        try:
            await load_hub(frozen, transport, task_hub, max_delay=5 if frozen.name in LATE else 1, redeliver=True)
        finally:
            await transport.close()
    settings = short_settings(azurite, task_hub, use_app_lease=False)
    runs = ActivityRuns()
    worker = WorkerSettings(local_activities=local_activities)
    async with run_azure_hub(settings, interop_registry(runs), worker_settings=worker) as hub:
        yield TakenOver(frozen=frozen, hub=hub, runs=runs)


@pytest.mark.parametrize("taken_over", [pytest.param(frozen, id=frozen.name) for frozen in FINISHED], indirect=True)
async def test_a_state_of_local_activities_is_finished(taken_over: TakenOver) -> None:
    frozen, hub = taken_over.frozen, taken_over.hub

    await _do_what_the_recording_did(hub, frozen.about)

    for instance in frozen.about["instances"]:
        await eventually(
            lambda instance=instance: _reached(hub, frozen.name, instance),
            f"{instance['instanceId']}: {instance['expected']}",
            every=timedelta(milliseconds=50),
            within=timedelta(seconds=15),
        )
    _check_runs(taken_over)


async def _do_what_the_recording_did(hub: AzureHub, about: Mapping[str, Any]) -> None:
    for step in about["then"]:
        if step["do"] == "sleep":  # the recorder waited for a suspend message to be played
            await eventually(lambda: _is_suspended(hub, about), within=timedelta(seconds=15))
        elif step["do"] == "resume":
            await hub.client.resume(step["instanceId"], step["reason"])
        elif step["do"] == "rewind":
            await hub.client.rewind(step["instanceId"], step["reason"])
        elif step.get("replaceRunning"):
            client = DurableClient(
                hub.backend.instances, converter=DataConverter(), entity_codec=JsonEntityCodec(), reject=frozenset()
            )
            await client.start(step["name"], step["input"], instance_id=step["instanceId"])
        else:
            with pytest.raises(InstanceAlreadyExistsError):
                await hub.client.start(step["name"], step["input"], instance_id=step["instanceId"])


async def _is_suspended(hub: AzureHub, about: Mapping[str, Any]) -> bool:
    status = await hub.client.get_status(about["instances"][0]["instanceId"])
    return status is not None and status.runtime_status is OrchestrationStatus.SUSPENDED


async def _reached(hub: AzureHub, name: str, instance: Mapping[str, Any]) -> bool:
    row = await hub.backend.instances.get_instance(InstanceId(instance["instanceId"]))
    expected = instance["expected"]
    if row is None or row.status.value != expected["runtimeStatus"]:
        return False
    if name not in STATUS_ONLY:
        assert row.output == expected["output"]
    assert row.name
    assert row.created_at
    return True


def _check_runs(taken_over: TakenOver) -> None:
    """Nothing that history knew runs again, and everything else runs."""
    observed = taken_over.frozen.about["observed"]
    ran = Counter(argument for _, argument in taken_over.runs.all)
    recorded = observed["activityRuns"]
    if taken_over.frozen.name in TERMINATED:
        assert ran.total() <= sum(recorded.values())
    elif "distinct" in recorded:
        assert (len(ran), max(ran.values())) == (recorded["distinct"], recorded["maximumEach"])
    elif observed["verdict"] == "safe":
        assert ran.total() == sum(recorded.values())
    else:  # the provider repeats what it need not
        assert ran.total() <= sum(recorded.values())
