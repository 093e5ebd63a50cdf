"""What is played with entities while processes die: operations that count once, large states, locks, starts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from durable_ext.backends.protocol import Backend
from durable_ext.client.client import DurableClient
from durable_ext.client.entities import EntityQuery
from durable_ext.client.query import InstanceQuery
from durable_ext.client.status import InstanceStatus
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.testing.eventually import eventually
from support.crash_matrix import PATIENCE, Story, check_history, check_runs, finished
from support.functions import registry_of
from support.one_orchestration import OneOrchestration, greeter

REDELIVERED = timedelta(seconds=4)  # when what a dead process had been given is with another one
EVERY = timedelta(milliseconds=200)
PAGE = 16_000  # characters: a column holds one page but not two


def counter(context: Any) -> None:
    if context.operation_name == "add":
        context.set_state(context.get_state(lambda: 0) + context.get_input())
    context.set_result(context.get_state(lambda: 0))


def counted(context: Any) -> Any:
    """Ask all counters that are named in the input."""
    return (yield context.task_all([context.call_entity(EntityId("counter", key), "get") for key in context.get_input()]))


class WithCounter(OneOrchestration):
    """An orchestration that has an entity to count with."""

    def registry(self, story: Story) -> FunctionRegistry:
        return registry_of(
            orchestrators=[*self.orchestrators(), counted], activities=[greeter(story)], entities=[counter, *self.entities()]
        )

    def entities(self) -> list[Any]:
        return []


class Entities(WithCounter):
    """Every operation of the orchestration counts once; the client's own signal once too, unless it was in doubt."""

    name, output, activities = "count", [5, 16], ("x",)

    def orchestrators(self) -> list[Any]:
        def count(context: Any) -> Any:
            counter = EntityId("counter", "c")
            first = yield context.call_entity(counter, "add", 5)
            context.signal_entity(counter, "add", 1)
            yield context.call_activity("say_hello", "x")
            context.signal_entity(counter, "add", 10)
            return [first, (yield context.call_entity(counter, "get"))]

        return [count]

    async def play(self, client: DurableClient, story: Story) -> None:
        await super().play(client, story)
        await story.once("signal", lambda: client.signal_entity(EntityId("counter", "c"), "add", 100))

    async def check(self, client: DurableClient, backend: Backend, story: Story) -> None:
        await super().check(client, backend, story)
        allowed = {116, 216} if "signal" in story.doubtful else {116}

        async def state() -> Any:
            return (await client.read_entity(EntityId("counter", "c"))).state

        await eventually(lambda: _reaches(state, 116), "the client's signal")
        assert await state() in allowed


async def _reaches(state: Any, least: int) -> bool:
    return (await state() or 0) >= least


class LargeState(OneOrchestration):
    """A state that outgrows its column, becomes small and outgrows it again; one answer is as large."""

    name, output = "write", [1, 3, "abc", 1, 3]

    def registry(self, story: Story) -> FunctionRegistry:
        def book(context: Any) -> None:
            pages = context.get_state(list)
            if context.operation_name == "add":
                pages.append(context.get_input() * PAGE)
            elif context.operation_name == "keep":
                del pages[: -context.get_input()]
            context.set_state(pages)
            context.set_result(pages if context.operation_name == "read" else len(pages))

        return registry_of(orchestrators=self.orchestrators(), entities=[book])

    def orchestrators(self) -> list[Any]:
        def write(context: Any) -> Any:
            book = EntityId("book", "b")
            told = [(yield context.call_entity(book, "add", "a"))]
            context.signal_entity(book, "add", "b")
            told.append((yield context.call_entity(book, "add", "c")))
            pages = yield context.call_entity(book, "read")
            assert all(len(page) == PAGE for page in pages)
            told.append("".join(page[0] for page in pages))
            told.append((yield context.call_entity(book, "keep", 1)))
            context.signal_entity(book, "add", "d")
            told.append((yield context.call_entity(book, "add", "e")))
            return told

        return [write]

    async def check(self, client: DurableClient, backend: Backend, story: Story) -> None:
        await super().check(client, backend, story)
        if story.is_disturbed:
            await asyncio.sleep(REDELIVERED.total_seconds())
        expected = [letter * PAGE for letter in "cde"]

        async def is_shown() -> bool:
            return bool((await client.read_entity(EntityId("book", "b"))).state == expected)

        await eventually(is_shown, "its row shows another state", every=EVERY)  # its caller is told of it before
        listed = (await client.list_entities(EntityQuery(with_state=True))).entities
        assert [entity.state for entity in listed] == [expected]


class Starts(WithCounter):
    """Operations of an entity start two children, one under an id that is made up: each runs once.

    A child counts itself with a call, which counts once for each time that it was begun anew.
    """

    name, output, activities = "launch", "child", ("signalled", "called")

    def entities(self) -> list[Any]:
        def launcher(context: Any) -> None:
            instance_id = None if context.is_signal else "child"
            context.set_result(context.start_new_orchestration("greet", context.get_input(), instance_id))

        return [launcher]

    def orchestrators(self) -> list[Any]:
        def launch(context: Any) -> Any:
            launcher = EntityId("launcher", "l")
            context.signal_entity(launcher, "start", "signalled")
            return (yield context.call_entity(launcher, "start", "called"))

        def greet(context: Any) -> Any:
            greeting = yield context.call_activity("say_hello", context.get_input())
            yield context.call_entity(EntityId("counter", "children"), "add", 1)
            return greeting

        return [launch, greet]

    async def play(self, client: DurableClient, story: Story) -> None:
        async def have_ended() -> bool:
            ended = [child for child in await _children(client) if child.runtime_status.is_terminal]
            return len(ended) >= 2

        await super().play(client, story)
        await eventually(have_ended, "a child has not ended", within=PATIENCE, every=EVERY)

    async def check(self, client: DurableClient, backend: Backend, story: Story) -> None:
        if story.is_disturbed:
            await asyncio.sleep(REDELIVERED.total_seconds())
        await super().check(client, backend, story)
        children = await _children(client)
        assert sorted(child.output for child in children) == ["Hello called!", "Hello signalled!"], children
        for child in children:
            await check_history(backend, child.instance_id)
        await check_counters(client, {"children": 2})


async def _children(client: DurableClient) -> list[InstanceStatus]:
    query = InstanceQuery(include_entities=False)
    return [status async for status in client.query_all(query) if status.name == "greet"]


async def check_counters(client: DurableClient, expected: Mapping[str, int]) -> None:
    """Each counter answers with what is expected, and nobody holds it."""
    asked = await client.start("counted", [*expected])
    status = await client.wait_for_completion(asked, timeout=timedelta(seconds=60))
    assert status.output == [*expected.values()], status
    for key in expected:
        row = await client.get_status(f"@counter@{key}")
        assert row is not None
        assert "lockedBy" not in str(row.custom_status)


class Locks(WithCounter):
    """Two at once get a number each, no two the same, and add to a counter in a critical section: no addition is lost.

    Nothing is asked of the other locked entity until all is over: then it must have been given free.
    """

    name, output, activities = "twice", [[1, 2], [0, 1]], ("first", "second")
    instances = ("main", "first", "second")

    def orchestrators(self) -> list[Any]:
        counters = [EntityId("counter", "x"), EntityId("counter", "y")]

        def twice(context: Any) -> Any:
            both = [context.call_sub_orchestrator("in_turn", name, name) for name in ("first", "second")]
            return [sorted(column) for column in zip(*(yield context.task_all(both)), strict=True)]

        def in_turn(context: Any) -> Any:
            number = yield context.call_entity(EntityId("counter", "numbers"), "add", 1)
            with (yield context.lock_entities(counters)):
                before = yield context.call_entity(counters[0], "get")
                yield context.call_activity("say_hello", context.get_input())
                yield context.call_entity(counters[0], "add", 1 + before - (yield context.call_entity(counters[0], "get")))
            return [number, before]

        return [twice, in_turn]

    async def check(self, client: DurableClient, backend: Backend, story: Story) -> None:
        await super().check(client, backend, story)
        if story.is_disturbed:
            await asyncio.sleep(REDELIVERED.total_seconds())
        await check_counters(client, {"x": 2, "y": 0})


class Rivals(WithCounter):
    """Two that know nothing of each other move one from an account to another, both calls of a critical section at once.

    Each tells a third account of it meanwhile, with a signal, which is heard once. Neither sees half of what the other does.
    """

    name = "transfer"
    instances = ("main", "rival")

    def orchestrators(self) -> list[Any]:
        def transfer(context: Any) -> Any:
            accounts = [EntityId("counter", "from"), EntityId("counter", "to")]
            with (yield context.lock_entities(accounts)):
                before = yield context.task_all([context.call_entity(account, "get") for account in accounts])
                context.signal_entity(EntityId("counter", "transfers"), "add", 1)
                moves = zip(accounts, (-1, 1), strict=True)
                after = yield context.task_all([context.call_entity(account, "add", amount) for account, amount in moves])
            return [before, after]

        return [transfer]

    async def play(self, client: DurableClient, story: Story) -> None:
        await story.once("start", lambda: client.start(self.name, instance_id="main"))
        await story.once("start rival", lambda: client.start(self.name, instance_id="rival"))
        for instance_id in self.instances:
            await finished(client, instance_id)

    async def check(self, client: DurableClient, backend: Backend, story: Story) -> None:
        ended = [await client.get_status(instance_id) for instance_id in self.instances]
        assert all(status is not None and status.runtime_status is OrchestrationStatus.COMPLETED for status in ended), ended
        seen = sorted(status.output for status in ended if status is not None)
        assert seen == [[[-1, 1], [-2, 2]], [[0, 0], [-1, 1]]], ended
        check_runs(story, ())
        for instance_id in self.instances:
            await check_history(backend, instance_id)
        if story.is_disturbed:
            await asyncio.sleep(REDELIVERED.total_seconds())
        await check_counters(client, {"from": -2, "to": 2, "transfers": 2})
