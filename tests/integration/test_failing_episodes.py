"""An instance that the engine itself cannot play ends: as terminated, or as failed with what went wrong."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.client.client import DurableClient
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.tasks import ActivityTask
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import run_task_hub
from tests.azure_hub import run_azure_hub
from tests.support.functions import registry_of
from tests.support.store_place import place_of

SOON = timedelta(milliseconds=100)
LONG = timedelta(seconds=60)
STORES = ["sqlite", pytest.param("azure", marks=pytest.mark.azurite)]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with place_of(request.param, tmp_path) as found:
        yield found


@asynccontextmanager
async def running(place: str, registry: FunctionRegistry) -> AsyncIterator[DurableClient]:
    if place.endswith(".db"):
        async with run_task_hub(Path(place), registry, drain=SOON) as hub:
            yield hub.client
        return
    azure = AzureStorageSettings(connection=place, task_hub="FailHub", partition_count=1, use_app_lease=False)
    async with run_azure_hub(azure, registry, drain=SOON) as hub:
        yield hub.client


class BrokenTask(ActivityTask[Any]):
    """A task of ours with a mistake in it."""

    def open(self, replay: Any) -> None:
        raise AttributeError("no such thing")


async def say(value: str) -> str:
    return value


def breaks(context: Any) -> Any:
    yield context.call_activity("say", "x")
    yield context.wait_for_external_event("go")
    yield BrokenTask("say", None, None)


def breaks_at_once(context: Any) -> Any:
    yield BrokenTask("say", None, None)


def calls(context: Any) -> Any:
    return (yield context.call_sub_orchestrator("breaks_at_once"))


REGISTRY = registry_of(orchestrators=[breaks, breaks_at_once, calls], activities=[say])


@pytest.mark.parametrize("place", STORES, indirect=True)
async def test_an_instance_that_cannot_be_played_fails_with_what_went_wrong(place: str) -> None:
    async with running(place, REGISTRY) as client:
        await client.start("breaks", instance_id="later")
        await client.raise_event("later", "go")
        parent = await client.start("calls")
        later = await client.wait_for_completion("later", timeout=LONG)
        child_failed = await client.wait_for_completion(parent, timeout=LONG)
        await client.purge("later")
        gone = await client.get_status("later")

    for status in (later, child_failed):
        assert status.runtime_status is OrchestrationStatus.FAILED
        assert "an internal error of durable_ext ended 3 episodes" in str(status.output)
        assert "AttributeError: no such thing" in str(status.output)
    assert gone is None


@pytest.mark.parametrize("place", STORES, indirect=True)
async def test_an_instance_that_cannot_be_played_is_terminated_before_it_fails(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    def has_failed() -> bool:
        return any(getattr(record, "event", None) == "session_failed" for record in caplog.records)

    caplog.set_level(logging.ERROR)
    async with running(place, REGISTRY) as client:
        await client.start("breaks_at_once", instance_id="broken")
        await eventually(has_failed)
        await client.terminate("broken", "enough")
        status = await client.wait_for_completion("broken", timeout=LONG)

    assert status.runtime_status is OrchestrationStatus.TERMINATED
    assert status.output == "enough"
