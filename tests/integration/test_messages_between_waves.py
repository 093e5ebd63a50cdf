"""Messages that an instance finds when a wave of local activities has ended and the next one is decided but not begun."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.functions import registry_of

from durable_ext.core.events import OrchestrationStatus
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.testing.task_hub import run_task_hub
from tests.integration.test_local_activity_rules import recorded


def until_stopped(context: Any) -> Any:
    """Works until it is told to stop; then its next generation calls one more activity."""
    if context.get_input() == "last":
        return (yield context.call_activity("finish"))
    stop = context.wait_for_external_event("stop")
    while True:
        done = yield context.task_any([stop, context.call_activity("work", context.instance_id)])
        if done is stop:
            break
    context.continue_as_new("last")
    return None


def then_end(context: Any) -> Any:
    stop = context.wait_for_external_event("stop")
    done = None
    while done is not stop:
        done = yield context.task_any([stop, context.call_activity("work", context.instance_id)])
    return (yield context.call_activity("finish"))


async def finish(_: Any) -> str:
    return "finished"


def one_transaction(path: Path, registry: FunctionRegistry) -> AbstractAsyncContextManager[Any]:
    return run_task_hub(path / "hub.db", registry)


def several_writes(path: Path, registry: FunctionRegistry) -> AbstractAsyncContextManager[Any]:
    return recorded(path, registry)


@pytest.mark.parametrize("open_hub", [one_transaction, several_writes])
@pytest.mark.parametrize("orchestrator", [until_stopped, then_end])
async def test_activities_of_an_episode_that_an_event_causes_between_two_waves_are_run(
    tmp_path: Path, orchestrator: Callable[[Any], Any], open_hub: Callable[..., AbstractAsyncContextManager[Any]]
) -> None:
    async def work(instance_id: str) -> None:
        await hub.client.raise_event(instance_id, "stop")  # it is there when the wave is stored

    registry = registry_of(orchestrators=[orchestrator], activities=[work, finish])
    async with open_hub(tmp_path, registry) as hub:
        instance_id = await hub.client.start(orchestrator.__name__)

        status = await hub.client.wait_for_completion(instance_id, timeout=timedelta(seconds=20))

        assert (status.runtime_status, status.output) == (OrchestrationStatus.COMPLETED, "finished")
