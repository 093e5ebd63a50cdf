"""Sub-orchestrations that share an instance id run one after the other, on both stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure_hub import run_azure_hub
from azurite import running_azurite
from support.functions import registry_of

from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.protocol import Backend
from durable_ext.client.client import DurableClient
from durable_ext.core.messages import InstanceId
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.testing import run_task_hub


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    client: DurableClient
    backend: Backend


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


@pytest.fixture(params=["embedded", pytest.param("azure", marks=pytest.mark.azurite)])
async def hub(request: pytest.FixtureRequest, tmp_path: Path, task_hub: str) -> AsyncIterator[Hub]:
    if request.param == "embedded":
        async with run_task_hub(tmp_path / "hub.db", functions()) as embedded:
            yield Hub(client=embedded.client, backend=embedded.backend)
        return
    with running_azurite() as azurite:
        settings = AzureStorageSettings(connection=azurite.connection_string, task_hub=task_hub, partition_count=1)
        async with run_azure_hub(settings, functions()) as azure:
            yield Hub(client=azure.client, backend=azure.backend)


@pytest.mark.parametrize(("child", "results"), [("at_once", [1, 2, 3]), ("working", [2, 4, 6])])
async def test_children_of_one_step_that_share_an_id_all_answer(hub: Hub, child: str, results: list[int]) -> None:
    await hub.client.start("parent", child, instance_id="the-parent")

    status = await hub.client.wait_for_completion("the-parent", timeout=timedelta(seconds=15))

    row = await hub.backend.instances.get_instance(InstanceId("same"))
    assert status.output == results
    assert row is not None
    assert row.status.is_terminal
