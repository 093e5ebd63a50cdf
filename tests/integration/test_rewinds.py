"""What a rewind makes of failed trees of instances, on both stores: everything ends, and what had a result keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from azure_hub import AzureHub
from support.failing_trees import Steps, functions, result_of, steps_of
from support.store_place import HubPlace, worker_at

from durable_ext.client.client import DurableClient
from durable_ext.core.events import OrchestrationStatus, TaskCompleted
from durable_ext.errors import InvalidInstanceStateError
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import RunningTaskHub

PATIENCE = timedelta(seconds=20)
Hub = AzureHub | RunningTaskHub


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
async def hub(place: HubPlace, steps: Steps) -> AsyncIterator[Hub]:
    async with worker_at(place, functions(steps), WorkerSettings()) as running:
        yield running


async def ends(client: DurableClient, instance_id: str, status: OrchestrationStatus) -> Any:
    """Wait until an instance has ended so, and return its output."""

    async def has_ended() -> bool:
        found = await client.get_status(instance_id)
        return found is not None and found.runtime_status is status

    await eventually(has_ended, f"{instance_id} is {status.value}", within=PATIENCE)
    return (await client.get_status(instance_id)).output  # type: ignore[union-attr]


async def failed(hub: Hub, name: str, instance_id: str) -> None:
    await hub.client.start(name, instance_id=instance_id)
    await ends(hub.client, instance_id, OrchestrationStatus.FAILED)


async def test_three_levels_go_on_where_they_failed(hub: Hub, steps: Steps) -> None:
    await failed(hub, "root", "r")
    steps.is_repaired = True

    await hub.client.rewind("r", "repaired")

    assert await ends(hub.client, "r", OrchestrationStatus.COMPLETED) == result_of("r")
    assert steps.done == steps_of("r")
    for child in ("r-middle", "r-leaf", "r-middle-leaf"):
        await ends(hub.client, child, OrchestrationStatus.COMPLETED)


async def test_rewinds_at_the_same_time_do_what_one_does(hub: Hub, steps: Steps) -> None:
    await failed(hub, "root", "r")
    steps.is_repaired = True

    await asyncio.gather(*(hub.client.rewind("r", str(number)) for number in range(4)))

    assert await ends(hub.client, "r", OrchestrationStatus.COMPLETED) == result_of("r")
    assert steps.done == steps_of("r")


async def test_a_rewind_may_be_repeated_until_the_instance_ends_and_a_start_is_not_taken_for_one(
    hub: Hub, steps: Steps
) -> None:
    await hub.client.start("waiting", instance_id="w")
    with pytest.raises(InvalidInstanceStateError):
        await hub.client.rewind("w")
    await hub.client.raise_event("w", "go", 1)
    await ends(hub.client, "w", OrchestrationStatus.FAILED)

    for _ in range(2):
        await hub.client.rewind("w")
        await ends(hub.client, "w", OrchestrationStatus.FAILED)
    steps.is_repaired = True
    await hub.client.rewind("w")

    assert await ends(hub.client, "w", OrchestrationStatus.COMPLETED) == ["before", 1, "after"]
    with pytest.raises(InvalidInstanceStateError, match="Completed"):
        await hub.client.rewind("w")


async def _waits(hub: Hub) -> bool:
    if await hub.client.get_status("kid") is None:
        return False
    return any(isinstance(event, TaskCompleted) for event in await hub.client.get_history("kid"))


async def _parent_failed_with_its_child_terminated(hub: Hub) -> None:
    await hub.client.start("parent", instance_id="p")
    await eventually(lambda: _waits(hub), within=PATIENCE)
    await hub.client.terminate("kid", "by mistake")
    await ends(hub.client, "p", OrchestrationStatus.FAILED)
    await ends(hub.client, "kid", OrchestrationStatus.TERMINATED)


async def test_a_child_that_was_terminated_goes_on_with_its_parent(hub: Hub, steps: Steps) -> None:
    steps.is_repaired = True
    await _parent_failed_with_its_child_terminated(hub)

    await hub.client.rewind("p")
    await hub.client.raise_event("kid", "go", 7)

    assert await ends(hub.client, "p", OrchestrationStatus.COMPLETED) == ["before", 7, "after"]
    assert steps.done == {"before": 1, "after": 1}


async def test_a_child_that_was_purged_is_called_again(hub: Hub, steps: Steps) -> None:
    steps.is_repaired = True
    await _parent_failed_with_its_child_terminated(hub)
    await hub.client.purge("kid")

    await hub.client.rewind("p")

    async def is_back() -> bool:
        return await hub.client.get_status("kid") is not None

    await eventually(is_back, within=PATIENCE)
    await hub.client.raise_event("kid", "go", 7)
    assert await ends(hub.client, "p", OrchestrationStatus.COMPLETED) == ["before", 7, "after"]
    assert steps.done == {"before": 2, "after": 1}


async def test_a_child_whose_id_others_have_used_since_is_called_again(hub: Hub, steps: Steps) -> None:
    await _parent_failed_with_its_child_terminated(hub)
    steps.is_repaired = True
    await hub.client.start("waiting", instance_id="kid")
    await hub.client.raise_event("kid", "go", "theirs")
    await ends(hub.client, "kid", OrchestrationStatus.COMPLETED)

    await hub.client.rewind("p")

    async def is_back() -> bool:
        found = await hub.client.get_status("kid")
        return found is not None and not found.runtime_status.is_terminal

    await eventually(is_back, within=PATIENCE)
    await hub.client.raise_event("kid", "go", "ours")
    assert await ends(hub.client, "p", OrchestrationStatus.COMPLETED) == ["before", "ours", "after"]


async def test_what_a_child_returned_after_its_parent_had_failed_reaches_the_parent(hub: Hub, steps: Steps) -> None:
    await failed(hub, "root", "r")
    steps.is_repaired = True
    for child in ("r-leaf", "r-middle"):
        await hub.client.rewind(child, "alone")
        await ends(hub.client, child, OrchestrationStatus.COMPLETED)
    assert await ends(hub.client, "r", OrchestrationStatus.FAILED)

    await hub.client.rewind("r")

    assert await ends(hub.client, "r", OrchestrationStatus.COMPLETED) == result_of("r")
    assert steps.done == steps_of("r")


async def test_what_a_terminated_child_had_asked_for_is_asked_for_again(place: HubPlace, steps: Steps) -> None:
    async with worker_at(place, functions(steps), WorkerSettings(local_activities="off")) as hub:
        await hub.client.start("parent_of_open_ends", instance_id="p")
        await eventually(lambda: _waits(hub), within=PATIENCE)
        await hub.client.terminate("kid", "by mistake")
        await ends(hub.client, "p", OrchestrationStatus.FAILED)
        steps.may_end.set()
        await eventually(lambda: steps.done["held"] == 1, "its result is for nobody", within=PATIENCE)

        await hub.client.rewind("p")

        assert await ends(hub.client, "p", OrchestrationStatus.COMPLETED) == "held"
    assert steps.done == {"quick": 1, "held": 2}
