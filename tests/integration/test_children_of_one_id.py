"""Sub-orchestrations that share an instance id run one after the other, on both stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from azure_hub import AzureHub
from support.functions import registry_of
from support.store_place import HubPlace, worker_at

from durable_ext.core.messages import InstanceId
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.task_hub import RunningTaskHub


def functions() -> FunctionRegistry:
    async def double(number: int) -> int:
        return number * 2

    def at_once(context: Any) -> Any:
        return context.get_input()
        yield

    def working(context: Any) -> Any:
        return (yield context.call_activity("double", context.get_input()))

    def parent(context: Any) -> Any:
        name = context.get_input()
        return (yield context.task_all([context.call_sub_orchestrator(name, number, "same") for number in (1, 2, 3)]))

    return registry_of(orchestrators=[parent, at_once, working], activities=[double])


@pytest.fixture
async def hub(place: HubPlace) -> AsyncIterator[AzureHub | RunningTaskHub]:
    async with worker_at(place, functions(), WorkerSettings()) as running:
        yield running


@pytest.mark.parametrize(("child", "results"), [("at_once", [1, 2, 3]), ("working", [2, 4, 6])])
async def test_children_of_one_step_that_share_an_id_all_answer(
    hub: AzureHub | RunningTaskHub, child: str, results: list[int]
) -> None:
    await hub.client.start("parent", child, instance_id="the-parent")

    status = await hub.client.wait_for_completion("the-parent", timeout=timedelta(seconds=15))

    row = await hub.backend.instances.get_instance(InstanceId("same"))
    assert status.output == results
    assert row is not None
    assert row.status.is_terminal
