"""No activity starts and nothing leaves before the results it was computed from are stored (design.md 5, I2).

Each activity mints a token that nobody could know before; the trace of a run shows where a token goes first.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from azure_hub import run_azure_hub, short_settings
from azurite import Azurite
from support.functions import registry_of

from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.core.entities.ids import EntityId
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import LocalActivities, WorkerSettings
from durable_ext.testing.faults import is_write

pytestmark = pytest.mark.azurite


@dataclass(slots=True)
class Trace:
    """Starts of activities and writes in the order in which they began, and which of those writes had ended by then."""

    tokens: list[str] = field(default_factory=list)
    stored: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    checked: int = 0

    async def __call__(self, call: StorageCall, send: Callable[[], Awaitable[HttpAnswer]]) -> HttpAnswer:
        text = call.body.decode("utf-8", "replace") if is_write(call) else ""
        stores_results = "TaskCompleted" in text
        if not stores_results:
            self.used(f"{call.verb} {call.resource}", text)
        answer = await send()
        if stores_results:
            self.stored.update(token for token in self.tokens if token in text)
        return answer

    def used(self, where: str, text: str) -> None:
        """Something starts or leaves that was computed from the tokens in `text`."""
        for token in self.tokens:
            if token in text:
                self.checked += 1
                if token not in self.stored:
                    self.violations.append(f"{where} uses the result of an activity before it is stored")


def app(trace: Trace) -> FunctionRegistry:
    async def mint(value: str) -> str:
        trace.used("an activity", value)
        await asyncio.sleep(0)
        token = uuid.uuid4().hex
        trace.tokens.append(token)
        return token

    def child(context: Any) -> Any:
        return (yield context.call_activity("mint", context.get_input()))

    def notes(context: Any) -> None:
        context.set_state(context.get_input())

    def everything(context: Any) -> Any:
        if context.get_input() is not None:
            return (yield context.call_activity("mint", context.get_input()))
        first = yield context.call_activity("mint", "")
        second = yield context.call_activity("mint", first)
        wave = yield context.task_all([context.call_activity("mint", f"{second}-{i}") for i in range(3)])
        context.set_custom_status(wave[0])
        after = yield context.call_activity("mint", wave[1])
        context.signal_entity(EntityId("notes", "n"), "set", after)
        told = yield context.call_activity("mint", wave[2])
        answer = yield context.call_sub_orchestrator("child", told)
        last = yield context.call_activity("mint", answer)
        yield context.create_timer(context.current_utc_datetime + timedelta(milliseconds=100))
        context.continue_as_new((yield context.call_activity("mint", last)))

    return registry_of(orchestrators=[everything, child], activities=[mint], entities=[notes])


async def traced(azurite: Azurite, task_hub: str, local: LocalActivities) -> Trace:
    trace = Trace()
    settings = short_settings(azurite, task_hub, use_app_lease=False)
    worker = WorkerSettings(local_activities=local)
    async with run_azure_hub(settings, app(trace), worker_settings=worker, interceptor=trace) as hub:
        instance_id = await hub.client.start("everything")
        status = await hub.client.wait_for_completion(instance_id)
        assert status.output == trace.tokens[-1]
    return trace


@pytest.mark.parametrize("local", ["on", "off"])
async def test_nothing_leaves_before_the_results_it_was_computed_from(
    azurite: Azurite, task_hub: str, local: LocalActivities
) -> None:
    trace = await traced(azurite, task_hub, local)

    assert trace.checked >= 12
    assert trace.violations == []


async def test_only_batched_activities_use_results_that_are_not_stored(azurite: Azurite, task_hub: str) -> None:
    trace = await traced(azurite, task_hub, "batched")

    assert trace.violations != []
