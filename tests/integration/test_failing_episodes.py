"""An instance that the engine itself cannot play ends: as terminated, or as failed with what went wrong."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from support.functions import registry_of
from support.store_place import AZURE_IS_SLOW, HubPlace, worker_at

from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.tasks import ActivityTask
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually

SOON = timedelta(milliseconds=100)
LONG = timedelta(seconds=60)


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


@pytest.mark.parametrize("place", AZURE_IS_SLOW, indirect=True)  # the pause before an episode is repeated doubles
async def test_an_instance_that_cannot_be_played_fails_with_what_went_wrong(place: HubPlace) -> None:
    async with worker_at(place, REGISTRY, WorkerSettings(), SOON) as hub:
        client = hub.client
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


async def test_an_instance_that_cannot_be_played_is_terminated_before_it_fails(
    place: HubPlace, caplog: pytest.LogCaptureFixture
) -> None:
    def has_failed() -> bool:
        return any(getattr(record, "event", None) == "session_failed" for record in caplog.records)

    caplog.set_level(logging.ERROR)
    async with worker_at(place, REGISTRY, WorkerSettings(), SOON) as hub:
        client = hub.client
        await client.start("breaks_at_once", instance_id="broken")
        await eventually(has_failed)
        await client.terminate("broken", "enough")
        status = await client.wait_for_completion("broken", timeout=LONG)

    assert status.runtime_status is OrchestrationStatus.TERMINATED
    assert status.output == "enough"
