"""What a rewind makes of calls of entities that had no answer when their instance failed, on both stores."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from azure_hub import AzureHub
from support.functions import registry_of
from support.store_place import HubPlace, worker_at

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import sent_to_entity
from durable_ext.core.events import EventRaised, EventSent, OrchestrationStatus
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import RunningTaskHub

PATIENCE = timedelta(seconds=20)
SLOW = EntityId("slow", "a")
LARGE = 70_000
Hub = AzureHub | RunningTaskHub


@dataclass(slots=True)
class Runs:
    """The runs of the operation, and what lets each of them end."""

    ended: int = 0
    gates: list[threading.Event] = field(default_factory=lambda: [threading.Event(), threading.Event()])
    is_repaired: bool = False


def functions(runs: Runs) -> FunctionRegistry:
    def slow(context: Any) -> None:
        runs.gates[runs.ended].wait(PATIENCE.total_seconds())
        runs.ended += 1
        context.set_result(runs.ended)

    def step(_: Any) -> str:
        if not runs.is_repaired:
            raise ValueError("not yet")
        return "repaired"

    def asks(context: Any) -> Any:
        call = context.call_entity(SLOW, "ask", "x" * context.get_input())
        return (yield context.task_all([context.call_activity("step"), call]))

    return registry_of(orchestrators=[asks], activities=[step], entities=[slow])


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
async def hub(place: HubPlace, runs: Runs) -> AsyncIterator[Hub]:
    async with worker_at(place, functions(runs), WorkerSettings()) as running:
        yield running
        for gate in runs.gates:
            gate.set()


async def _failed(hub: Hub, size: int) -> str:
    """Start an instance, and return the id of its call once it has failed."""
    await hub.client.start("asks", size, "i")
    status = await hub.client.wait_for_completion("i", timeout=PATIENCE)
    assert status.runtime_status is OrchestrationStatus.FAILED
    sent = next(event for event in await hub.client.get_history("i") if isinstance(event, EventSent))
    request = sent_to_entity(sent.name, sent.input)
    assert request is not None
    return request.request_id


async def _output(hub: Hub) -> Any:
    status = await hub.client.wait_for_completion("i", timeout=PATIENCE)
    assert status.runtime_status is OrchestrationStatus.COMPLETED
    return status.output


@pytest.mark.parametrize("size", [1, LARGE])
async def test_a_call_whose_answer_came_after_its_instance_had_failed_is_made_again(hub: Hub, runs: Runs, size: int) -> None:
    await _failed(hub, size)
    runs.is_repaired = True
    for gate in runs.gates:
        gate.set()

    async def is_stored() -> bool:
        return runs.ended == 1 and await hub.client.get_status(SLOW.instance_id) is not None

    await eventually(is_stored, "the entity has not answered", within=PATIENCE)
    await hub.client.rewind("i", "repaired")

    assert await _output(hub) == ["repaired", 2]


async def test_an_answer_from_before_a_rewind_is_dropped_when_it_comes_late(hub: Hub, runs: Runs) -> None:
    request_id = await _failed(hub, 1)
    runs.is_repaired = True
    await hub.client.rewind("i", "repaired")

    async def has_come() -> bool:
        history = await hub.client.get_history("i")
        return any(isinstance(event, EventRaised) and event.name == request_id for event in history)

    runs.gates[0].set()
    await eventually(has_come, "the late answer was not let in", within=PATIENCE)
    runs.gates[1].set()

    assert await _output(hub) == ["repaired", 2]
