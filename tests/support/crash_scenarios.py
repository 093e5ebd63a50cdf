"""What is played while processes die: orchestrations of every kind, their clients, and what must be true at the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import Any

from durable_ext.backends.protocol import Backend
from durable_ext.client.client import DurableClient
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.messages import InstanceId
from durable_ext.errors import InvalidInstanceStateError
from durable_ext.testing.eventually import eventually
from support.crash_entities import REDELIVERED, Entities, LargeState, Locks, Rivals, Starts, WithCounter
from support.crash_matrix import PATIENCE, Story, check_runs, finished, starts_and_ends
from support.one_orchestration import OneOrchestration

CITIES = ["Tokyo", "Seattle", "London", "Paris", "Berlin"]


class Hello5(OneOrchestration):
    name, output, activities = "hello5", [f"Hello {city}!" for city in CITIES], tuple(CITIES)

    def orchestrators(self) -> list[Any]:
        def hello5(context: Any) -> Any:
            greetings = []
            for city in CITIES:
                greetings.append((yield context.call_activity("say_hello", city)))
            return greetings

        return [hello5]


class FanOut(OneOrchestration):
    name, output, activities = "fan_out", [f"Hello {city}!" for city in CITIES], tuple(CITIES)

    def orchestrators(self) -> list[Any]:
        def fan_out(context: Any) -> Any:
            return (yield context.task_all([context.call_activity("say_hello", city) for city in CITIES]))

        return [fan_out]


class SubOrchestrations(OneOrchestration):
    name, output, activities = "parent", ["Hello a!", "Hello b!", "Hello c!"], ("a", "b", "c")
    instances = ("main", "main-b")

    def orchestrators(self) -> list[Any]:
        def parent(context: Any) -> Any:
            first = yield context.call_sub_orchestrator("child", "a")
            second = yield context.call_sub_orchestrator("child", "b", "main-b")
            return [first, second, (yield context.call_activity("say_hello", "c"))]

        def child(context: Any) -> Any:
            return (yield context.call_activity("say_hello", context.get_input()))

        return [parent, child]


class Timer(OneOrchestration):
    name, output, activities = "with_timer", ["Hello before!", "Hello after!"], ("before", "after")

    def orchestrators(self) -> list[Any]:
        def with_timer(context: Any) -> Any:
            before = yield context.call_activity("say_hello", "before")
            yield context.create_timer(context.current_utc_datetime + timedelta(milliseconds=500))
            return [before, (yield context.call_activity("say_hello", "after"))]

        return [with_timer]


class Event(OneOrchestration):
    name, output, activities = "with_event", ["Hello before!", 42, "Hello after!"], ("before", "after")

    def orchestrators(self) -> list[Any]:
        def with_event(context: Any) -> Any:
            before = yield context.call_activity("say_hello", "before")
            value = yield context.wait_for_external_event("go")
            return [before, value, (yield context.call_activity("say_hello", "after"))]

        return [with_event]

    async def play(self, client: DurableClient, story: Story) -> None:
        await story.once("start", lambda: client.start(self.name, instance_id="main"))
        await story.once("event", lambda: client.raise_event("main", "go", 42))
        await finished(client, "main")


class ContinueAsNew(OneOrchestration):
    name, output, activities = "eternal", 3, ("round1", "round2", "round3")

    def orchestrators(self) -> list[Any]:
        def eternal(context: Any) -> Any:
            number = context.get_input() or 1
            yield context.call_activity("say_hello", f"round{number}")
            if number < 3:
                context.continue_as_new(number + 1)
            return number

        return [eternal]


class LongChain(WithCounter):
    """So many activities, one after the other, that several make one episode; its end sends and continues as new."""

    name, output = "long_chain", ["Hello again!", 7]
    activities = (*(f"step{i}" for i in range(20)), "again")

    def orchestrators(self) -> list[Any]:
        def long_chain(context: Any) -> Any:
            counter = EntityId("counter", "c")
            if context.get_input() is not None:
                again = yield context.call_activity("say_hello", "again")
                return [again, (yield context.call_entity(counter, "get"))]
            for i in range(20):
                greeting = yield context.call_activity("say_hello", f"step{i}")
                assert greeting == f"Hello step{i}!"
            context.signal_entity(counter, "add", 7)
            context.continue_as_new(1)

        return [long_chain]


class Collector(OneOrchestration):
    """Continues as new with each event that it takes: one whose message comes again is none of the next generation."""

    name = "collect"

    def orchestrators(self) -> list[Any]:
        def collect(context: Any) -> Any:
            got = context.get_input() or []
            context.set_custom_status(got)
            got = [*got, (yield context.wait_for_external_event("item"))]
            if got[-1] == "last":
                return got
            context.continue_as_new(got, save_events=True)

        return [collect]

    async def play(self, client: DurableClient, story: Story) -> None:
        async def has(item: str) -> bool:
            status = await client.get_status("main")
            return status is not None and (status.runtime_status.is_terminal or item in (status.custom_status or ()))

        await story.once("start", lambda: client.start(self.name, instance_id="main"))
        for item in ("one", "two"):
            await story.once(item, partial(client.raise_event, "main", "item", item))
            await eventually(partial(has, item), f"'{item}' is never taken", within=PATIENCE)
        if story.is_disturbed:
            await asyncio.sleep(REDELIVERED.total_seconds())
        await story.once("last", lambda: client.raise_event("main", "item", "last"))
        await finished(client, "main")

    async def check(self, client: DurableClient, backend: Backend, story: Story) -> None:
        status = await client.get_status("main")
        assert status is not None
        taken = Counter(status.output)
        assert set(taken) == {"one", "two", "last"}, status
        assert all(count == 1 or item in story.doubtful for item, count in taken.items()), (status, story.doubtful)


class Terminate(OneOrchestration):
    name = "endless"

    def orchestrators(self) -> list[Any]:
        def endless(context: Any) -> Any:
            yield context.call_activity("say_hello", "before")
            yield context.wait_for_external_event("never")

        return [endless]

    async def play(self, client: DurableClient, story: Story) -> None:
        await story.once("start", lambda: client.start(self.name, instance_id="main"))
        await story.once("terminate", lambda: client.terminate("main", "enough"))
        await finished(client, "main")

    async def check(self, client: DurableClient, backend: Backend, story: Story) -> None:
        status = await client.get_status("main")
        assert status is not None
        assert (status.runtime_status, status.output) == (OrchestrationStatus.TERMINATED, "enough")
        events = await backend.instances.get_history(InstanceId("main"))
        assert starts_and_ends(events) in {(1, 1), (0, 0)}  # the latter if it was terminated before it began


class Suspension(OneOrchestration):
    """Its client suspends it, and resumes it once its row says so: the client is refused otherwise.

    A client that has to ask for the suspension again, because it does not know whether it was heard, may have asked twice,
    and the second one may come after the resumption: then it resumes it again.
    """

    name, output, activities = "held_up", "Hello there!", ("there",)

    def orchestrators(self) -> list[Any]:
        def held_up(context: Any) -> Any:
            name = yield context.wait_for_external_event("go")
            return (yield context.call_activity("say_hello", name))

        return [held_up]

    async def play(self, client: DurableClient, story: Story) -> None:
        async def resume() -> None:
            with contextlib.suppress(InvalidInstanceStateError):  # it runs, or has even ended: it was heard
                await client.resume("main", "enough")

        async def is_suspended() -> bool:
            status = await client.get_status("main")
            return status is not None and status.runtime_status is OrchestrationStatus.SUSPENDED

        async def has_ended() -> bool:
            status = await client.get_status("main")
            return status is not None and status.runtime_status.is_terminal

        async def resume_until_it_ends() -> None:
            while not await has_ended():
                if await is_suspended():
                    await resume()
                await asyncio.sleep(0.2)

        async def until_suspended() -> None:
            await eventually(is_suspended, "its row never says that it is suspended", within=PATIENCE)

        await story.once("start", lambda: client.start(self.name, instance_id="main"))
        await story.once("suspend", lambda: client.suspend("main", "a moment"))
        await story.once("suspended", until_suspended)
        await story.once("event", lambda: client.raise_event("main", "go", "there"))
        await story.once("resume", resume)
        if "suspend" in story.doubtful:
            await asyncio.wait_for(resume_until_it_ends(), PATIENCE.total_seconds())
        await finished(client, "main")


class Purge(OneOrchestration):
    name = "single"

    def orchestrators(self) -> list[Any]:
        def single(context: Any) -> Any:
            return (yield context.call_activity("say_hello", "once"))

        return [single]

    async def play(self, client: DurableClient, story: Story) -> None:
        await story.once("start", lambda: client.start(self.name, instance_id="main"))
        await story.once("end", lambda: finished(client, "main"))
        await story.once("purge", lambda: client.purge("main"))

    async def check(self, client: DurableClient, backend: Backend, story: Story) -> None:
        assert await client.get_status("main") is None
        assert list(await backend.instances.get_history(InstanceId("main"))) == []
        check_runs(story, ["once"])


ALL = [Hello5, FanOut, SubOrchestrations, Timer, Event, ContinueAsNew, Entities, Terminate, Suspension, Purge]
MORE = [Locks, Collector, LargeState, Starts, Rivals]
EVERYTHING = [*ALL, LongChain, *MORE]
