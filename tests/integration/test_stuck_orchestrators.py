"""An orchestrator that loops for ever can be terminated; one that only takes long misses nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from support.functions import registry_of
from support.store_place import HubPlace, worker_at

from durable_ext.client.client import DurableClient
from durable_ext.core.events import OrchestrationStatus
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually

TERMINATED = OrchestrationStatus.TERMINATED
SOON = timedelta(milliseconds=100)


@asynccontextmanager
async def running(
    place: HubPlace, registry: FunctionRegistry, limit: timedelta | None = None
) -> AsyncIterator[DurableClient]:
    settings = WorkerSettings(episode_warning=SOON, function_timeout=limit)
    async with worker_at(place, registry, settings, SOON) as hub:
        yield hub.client


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def say(value: str) -> str:
    return value


@pytest.mark.parametrize("limit", [None, timedelta(milliseconds=150)])
@pytest.mark.parametrize("steps", [0, 1])
async def test_an_orchestrator_that_loops_for_ever_is_terminated(
    place: HubPlace, release: threading.Event, steps: int, limit: timedelta | None
) -> None:
    began = threading.Event()

    def loops(context: Any) -> Any:
        for _ in range(steps):
            yield context.call_activity("say", "x")
        began.set()
        release.wait(60)

    async with running(place, registry_of(orchestrators=[loops], activities=[say]), limit) as client:
        await client.start("loops", instance_id="stuck")
        await eventually(began.is_set)
        await client.terminate("stuck", "enough")
        status = await client.wait_for_completion("stuck", timeout=timedelta(seconds=30))
        history = await client.get_history("stuck")
        release.set()
        await client.start("loops", instance_id="other")
        other = await client.wait_for_completion("other", timeout=timedelta(seconds=30))
        after = await client.get_status("stuck")

    assert (status.runtime_status, status.output) == (TERMINATED, "enough")
    assert [type(event).__name__ for event in history][-3:] == [
        "ExecutionTerminated",
        "ExecutionCompleted",
        "OrchestratorCompleted",
    ]
    assert other.runtime_status is OrchestrationStatus.COMPLETED
    assert after is not None  # what the code returned in the end is not stored
    assert after.runtime_status is TERMINATED


async def test_events_that_come_while_an_orchestrator_blocks_are_played_when_it_goes_on(
    place: HubPlace, release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def slow(context: Any) -> Any:
        release.wait(60)
        first = yield context.wait_for_external_event("go")
        second = yield context.wait_for_external_event("go")
        return [first, second]

    with caplog.at_level(logging.WARNING):
        async with running(place, registry_of(orchestrators=[slow]), None) as client:
            await client.start("slow", instance_id="slow")
            await eventually(lambda: "is written off" in caplog.text)
            await client.raise_event("slow", "go", 1)
            await client.raise_event("slow", "go", 2)
            release.set()
            status = await client.wait_for_completion("slow", timeout=timedelta(seconds=30))

    assert status.output == [1, 2]


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_the_parent_of_a_terminated_child_hears_of_it(place: HubPlace, release: threading.Event) -> None:
    began = threading.Event()

    def parent(context: Any) -> Any:
        try:
            yield context.call_sub_orchestrator("loops", None, "child")
        except Exception as error:
            return str(error)

    def loops(context: Any) -> Any:
        began.set()
        release.wait(60)

    async with running(place, registry_of(orchestrators=[parent, loops]), None) as client:
        await client.start("parent", instance_id="parent")
        await eventually(began.is_set)
        await client.terminate("child", "enough")
        status = await client.wait_for_completion("parent", timeout=timedelta(seconds=30))

    assert "enough" in status.output
