"""Requests to entities count once, wherever a process dies between sending them and storing that it has."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from azurite import Azurite
from support.crash_matrix import CrashMatrix, Story, azure_processes, finished
from support.functions import registry_of
from support.queue_lengths import queue_length

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.protocol import Backend
from durable_ext.client.client import DurableClient
from durable_ext.core.entities.ids import EntityId
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import LocalActivities
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import When

COUNTER = EntityId("counter", "c")
PATIENCE = timedelta(seconds=120)
EVERY = timedelta(milliseconds=300)


def counter(context: Any) -> None:
    if context.operation_name == "add":
        context.set_state(context.get_state(lambda: 0) + context.get_input())
    context.set_result(context.get_state(lambda: 0))


def relay(context: Any) -> None:
    """Signal the counter at once and a little later, and count what came."""
    amount = context.get_input()
    context.signal_entity(COUNTER, "add", amount)
    context.signal_entity(COUNTER, "add", amount, signal_time=datetime.now(timezone.utc) + timedelta(milliseconds=300))
    context.set_state(context.get_state(lambda: 0) + 1)
    context.set_result(context.get_state(lambda: 0))


async def say_hello(name: str) -> str:
    return f"Hello {name}!"


class CountedSignals:
    """An orchestration `main` that has added `total` to the counter when every message is gone."""

    name = ""
    total = 0

    def registry(self, story: Story) -> FunctionRegistry:
        return registry_of(orchestrators=[self.orchestrator()], activities=[say_hello], entities=[counter, relay])

    def orchestrator(self) -> Any:
        raise NotImplementedError

    async def play(self, client: DurableClient, story: Story) -> None:
        await story.once("start", lambda: client.start(self.name, instance_id="main"))
        await finished(client, "main")

    async def check(self, client: DurableClient, backend: Backend, story: Story) -> None:
        assert isinstance(backend, AzureStorageBackend)

        async def counted() -> bool:
            return ((await client.read_entity(COUNTER)).state or 0) >= self.total

        async def drained() -> bool:
            return await messages_left(backend) == 0

        await eventually(counted, "too few signals have come", within=PATIENCE, every=EVERY)
        # A copy comes within three seconds. What may stay longer are results for generations that are over.
        with contextlib.suppress(AssertionError):
            await eventually(drained, within=timedelta(seconds=6), every=EVERY)
        assert (await client.read_entity(COUNTER)).state in self.totals(story), f"in doubt: {story.doubtful}"

    def totals(self, story: Story) -> set[int]:
        """What may have been counted in the end."""
        return {self.total}


async def messages_left(backend: AzureStorageBackend) -> int:
    queues = backend._settings.names.control_queues(backend._settings.partition_count)
    return sum([await queue_length(backend._accounts.main, queue) for queue in queues])


class NewGenerations(CountedSignals):
    """Signals at the end of one generation and at the beginning of the next, which the same episode sends."""

    name, total = "eternal", 3 * 1 + 3 * 10

    def orchestrator(self) -> Any:
        def eternal(context: Any) -> Any:
            number = context.get_input() or 1
            context.signal_entity(COUNTER, "add", 1)
            yield context.create_timer(context.current_utc_datetime + timedelta(milliseconds=100))
            context.signal_entity(COUNTER, "add", 10)
            if number < 3:
                context.continue_as_new(number + 1)

        return eternal


class AtOnce(CountedSignals):
    """Two generations in the very first episode; a call to the entity is the last thing."""

    name, total = "at_once", 1 + 1

    def orchestrator(self) -> Any:
        def at_once(context: Any) -> Any:
            number = context.get_input() or 1
            context.signal_entity(COUNTER, "add", 1)
            if number < 2:
                context.continue_as_new(number + 1)
                return None
            return (yield context.call_entity(COUNTER, "get"))

        return at_once


class AfterAnEvent(CountedSignals):
    """What an external event brings is added, before and after another wait for it."""

    name, total = "after_event", 5 + 6

    def orchestrator(self) -> Any:
        def after_event(context: Any) -> Any:
            first = yield context.wait_for_external_event("go")
            context.signal_entity(COUNTER, "add", first)
            second = yield context.wait_for_external_event("on")
            context.signal_entity(COUNTER, "add", second)
            return (yield context.call_entity(COUNTER, "get"))

        return after_event

    async def play(self, client: DurableClient, story: Story) -> None:
        await story.once("start", lambda: client.start(self.name, instance_id="main"))
        await story.once("go", lambda: client.raise_event("main", "go", 5))
        await story.once("on", lambda: client.raise_event("main", "on", 6))
        await finished(client, "main")


class EventsInARow(CountedSignals):
    """Waits for one event name twice: an event that is delivered a second time would be taken for the next one."""

    name, total = "in_a_row", 5

    def orchestrator(self) -> Any:
        def in_a_row(context: Any) -> Any:
            value = yield context.wait_for_external_event("go")
            context.signal_entity(COUNTER, "add", value)
            again = context.wait_for_external_event("go")
            late = context.create_timer(context.current_utc_datetime + timedelta(seconds=4))
            if (yield context.task_any([again, late])) == again:
                late.cancel()
                context.signal_entity(COUNTER, "add", 100)

        return in_a_row

    async def play(self, client: DurableClient, story: Story) -> None:
        await story.once("start", lambda: client.start(self.name, instance_id="main"))
        await story.once("go", lambda: client.raise_event("main", "go", 5))
        await finished(client, "main")

    def totals(self, story: Story) -> set[int]:
        return {5, 105} if "go" in story.doubtful else {5}  # the client itself may have raised it twice


class LaterSignals(CountedSignals):
    """Signals that are due later."""

    name, total = "later", 7 + 8

    def orchestrator(self) -> Any:
        def later(context: Any) -> Any:
            soon = context.current_utc_datetime + timedelta(milliseconds=400)
            context.signal_entity(COUNTER, "add", 7, signal_time=soon)
            yield context.call_activity("say_hello", "x")
            context.signal_entity(COUNTER, "add", 8, signal_time=soon)

        return later


class BetweenEntities(CountedSignals):
    """What an entity sends while it works on a batch, at once and later."""

    name, total = "between", 2 * 5 + 2 * 6

    def orchestrator(self) -> Any:
        def between(context: Any) -> Any:
            first = yield context.call_entity(EntityId("relay", "r"), "pass", 5)
            second = yield context.call_entity(EntityId("relay", "r"), "pass", 6)
            return [first, second]

        return between


class SignalsOfAClient(CountedSignals):
    """One after the other, and nothing that comes later."""

    total = 5 + 6

    def orchestrator(self) -> Any:
        def unused(context: Any) -> None:
            """Nobody starts it."""

        return unused

    async def play(self, client: DurableClient, story: Story) -> None:
        for amount, total in ((5, 5), (6, 11)):
            await story.once(f"add {amount}", partial(client.signal_entity, COUNTER, "add", amount))
            await eventually(partial(self.has_reached, client, total), f"{total}", within=PATIENCE, every=EVERY)

    async def has_reached(self, client: DurableClient, total: int) -> bool:
        return ((await client.read_entity(COUNTER)).state or 0) >= total


def writes_row_of_counter(call: StorageCall) -> bool:
    return call.verb == "table.upsert_merge" and "Instances(PartitionKey='%40counter" in call.resource


@pytest.mark.azurite
async def test_a_crash_before_the_row_of_an_entity_is_mended_when_its_message_comes_again(azurite_on_disk: Azurite) -> None:
    open_one = azure_processes(azurite_on_disk.connection_string, 1)
    matrix = CrashMatrix(open_backend=open_one, first="on", second="on", counts=writes_row_of_counter)

    assert await matrix.run(SignalsOfAClient, When.BEFORE) == 2


SCENARIOS = [NewGenerations, AtOnce, AfterAnEvent, EventsInARow, LaterSignals, BetweenEntities]


@pytest.mark.azurite
@pytest.mark.slow
@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("mode", ["on", "off"])
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_requests_to_entities_count_once_whatever_dies_when(
    azurite_on_disk: Azurite, scenario: type[CountedSignals], mode: LocalActivities, when: When
) -> None:
    matrix = CrashMatrix(open_backend=azure_processes(azurite_on_disk.connection_string, 1), first=mode, second=mode)

    assert await matrix.run(scenario, when) > 5
