"""Orchestrations made of a seed, whose output is known whatever comes in between: what faults may not change.

A plan is JSON and the input of the one orchestrator that carries it out, so children and later generations are plans too.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Generator, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from durable_ext.backends.protocol import Backend
from durable_ext.client.client import DurableClient
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.messages import InstanceId
from durable_ext.core.retry import RetryOptions
from durable_ext.errors import InvalidInstanceStateError
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.testing.eventually import eventually
from support.crash_matrix import PATIENCE, Story, finished, starts_and_ends
from support.functions import registry_of

Step = list[Any]
_LEAVES = ("do", "do", "do", "do", "fail", "retry", "ring", "big", "child", "add", "broken child")
_STEPS = (*_LEAVES, *_LEAVES, "all", "all", "any", "event", "signal", "lock", "status", "new", "uuid")
_COUNTERS = ("x", "y")
_BIG = 70_000  # characters: more than a queue message or a column holds
_CAUGHT = "caught"


class RandomWork:
    """A `Scenario`: some instances at once, which share entities and get events from their client."""

    def __init__(self, seed: int, instances: int = 3) -> None:
        self._dice = random.Random(seed)
        self._tasks = 0
        self.plans = {f"work-{number}": self._plan(depth=0) for number in range(instances)}
        self._suspended = [each for each in self.plans if self._dice.random() < 0.3]

    def _plan(self, depth: int) -> list[Step]:
        most = (7, 3, 2)[depth]
        return [self._step(self._dice.choice(_STEPS), depth) for _ in range(self._dice.randint(1, most))]

    def _step(self, kind: str, depth: int) -> Step:
        dice = self._dice
        self._tasks += 1
        name = f"t{self._tasks}"
        if kind in ("child", "broken child") and depth == 2:
            kind = "do"
        if kind in ("event", "new") and depth:
            kind = "do"
        if kind in ("child", "broken child"):
            return [kind, name, f"child-{name}" if dice.random() < 0.5 else None, self._plan(depth + 1)]
        if kind == "all":
            return [kind, [self._step(dice.choice(_LEAVES), depth) for _ in range(dice.randint(1, 6))]]
        if kind in ("add", "signal"):
            return [kind, dice.choice(_COUNTERS), dice.randint(1, 9)]
        return [kind, name]

    # What runs.

    def registry(self, story: Story) -> FunctionRegistry:
        async def do(name: str) -> str:
            story.has_run(name)
            return f"did {name}"

        async def fail(name: str) -> str:
            story.has_run(name)
            raise ValueError(name)

        async def big(name: str) -> str:
            return name * (_BIG // len(name))

        def counter(context: Any) -> None:
            context.set_state(context.get_state(lambda: 0) + context.get_input())

        return registry_of(orchestrators=[work, broken], activities=[do, fail, big], entities=[counter])

    async def play(self, client: DurableClient, story: Story) -> None:
        for instance_id, plan in self.plans.items():
            start = partial(client.start, "work", [plan, []], instance_id=instance_id)
            await story.once(f"start {instance_id}", start)
        for instance_id in self._suspended:
            await story.once(f"suspend {instance_id}", partial(_suspend, client, instance_id))
        for instance_id, plan in self.plans.items():
            for kind, name in ((step[0], step[1]) for step in plan):
                if kind == "event":
                    await story.once(f"event {name}", partial(client.raise_event, instance_id, name, f"got {name}"))
        for instance_id in self._suspended:
            await story.once(f"resume {instance_id}", partial(_resume, client, instance_id))
        for instance_id in self.plans:
            await finished(client, instance_id)

    # What must have become of it.

    async def check(self, client: DurableClient, backend: Backend, story: Story) -> None:
        for instance_id, plan in self.plans.items():
            status = await client.get_status(instance_id)
            assert status is not None
            assert status.runtime_status is OrchestrationStatus.COMPLETED, (instance_id, status)
            assert status.output == [outcome(step) for step in plan], (instance_id, plan)
            kinds = [step[0] for step in plan]
            # The row of one that has ended is repaired from history, which does not know its last episode's status.
            if "status" in kinds[:-1] and "do" in kinds[-1:] and "new" not in kinds:
                assert status.custom_status == [step[1] for step in plan if step[0] == "status"][-1]
            events = await backend.instances.get_history(InstanceId(instance_id))
            assert starts_and_ends(events) == (1, 1), f"{instance_id}: {events}"
        wanted = Counter[str]()
        names = set[str]()
        for step in every_step(self.plans.values()):
            if step[0] in ("add", "signal"):
                wanted[step[1]] += step[2]
            elif step[0] == "lock":
                wanted.update(dict.fromkeys(_COUNTERS, 1))
            elif step[0] in ("do", "any", "fail", "retry"):
                names.add(step[1])
        assert set(story.ran) == names

        async def counted() -> Counter[str]:
            states = {key: (await client.read_entity(EntityId("counter", key))).state for key in _COUNTERS}
            return Counter({key: state for key, state in states.items() if state})

        async def all_counted() -> bool:
            return (await counted()).total() >= wanted.total()

        await eventually(all_counted, "the counts", within=PATIENCE, every=timedelta(milliseconds=100))
        assert await counted() == wanted


async def _suspend(client: DurableClient, instance_id: str) -> None:
    try:
        await client.suspend(instance_id)
    except InvalidInstanceStateError:
        assert await _is_over(client, instance_id)


async def _resume(client: DurableClient, instance_id: str) -> None:
    """Resume it once it is suspended, unless it has ended before or somebody has resumed it already."""

    async def is_suspended() -> bool:
        status = await client.get_status(instance_id)
        assert status is not None
        return status.runtime_status is OrchestrationStatus.SUSPENDED or status.runtime_status.is_terminal

    await eventually(is_suspended, f"{instance_id} suspended", within=PATIENCE, every=timedelta(milliseconds=50))
    if not await _is_over(client, instance_id):
        await client.resume(instance_id)


async def _is_over(client: DurableClient, instance_id: str) -> bool:
    status = await client.get_status(instance_id)
    return status is not None and status.runtime_status.is_terminal


def every_step(plans: Any) -> Iterator[Step]:
    """Return every step of these plans, those within others too."""
    for plan in plans:
        for step in plan:
            yield step
            yield from every_step([step[1]] if step[0] == "all" else step[3:])


def outcome(step: Step) -> Any:
    """Return what a step adds to the output."""
    match step[0]:
        case "do" | "any":
            return f"did {step[1]}"
        case "fail" | "retry" | "broken child":
            return _CAUGHT
        case "big":
            return _BIG // len(step[1]) * len(step[1])
        case "child":
            return [outcome(each) for each in step[3]]
        case "all":
            values = [outcome(each) for each in step[1]]
            return _CAUGHT if any(each[0] in ("fail", "retry", "broken child") for each in step[1]) else values
        case "event":
            return f"got {step[1]}"
    return step[0]


def work(context: Any) -> Any:
    """Carry out a plan; its input is the plan and what earlier generations have said."""
    plan, said = context.get_input()
    for done, step in enumerate(plan, 1):
        said.append((yield from _carry_out(context, step)))
        if step[0] == "new":
            context.continue_as_new([plan[done:], said], save_events=True)
            return None
    return said


def broken(context: Any) -> Any:
    """Carry out a plan and fail."""
    plan, _ = context.get_input()
    for step in plan:
        yield from _carry_out(context, step)
    raise ValueError("broken")


def _carry_out(context: Any, step: Step) -> Generator[Any, Any, Any]:
    counters = [EntityId("counter", key) for key in _COUNTERS]
    match step[0]:
        case "signal":
            context.signal_entity(EntityId("counter", step[1]), "add", step[2])
        case "lock":
            with (yield context.lock_entities(counters)):
                yield context.task_all([context.call_entity(each, "add", 1) for each in counters])
        case "status":
            context.set_custom_status(step[1])
        case "any":
            task = context.call_activity("do", step[1])
            timer = context.create_timer(timedelta(seconds=1))
            yield context.task_any([task, timer])
            timer.cancel() if not timer.is_completed else None
            return (yield task)
        case "new":
            pass
        case "uuid":
            assert context.new_uuid() != context.new_uuid()
        case _:
            try:
                return _said(step, (yield _task(context, step)))
            except Exception:
                return _CAUGHT
    return step[0]


def _task(context: Any, step: Step) -> Any:
    match step[0]:
        case "retry":
            return context.call_activity_with_retry("fail", RetryOptions(20, 2), step[1])
        case "ring":
            return context.create_timer(context.current_utc_datetime + timedelta(milliseconds=30))
        case "child" | "broken child":
            name = "work" if step[0] == "child" else "broken"
            return context.call_sub_orchestrator(name, [step[3], []], step[2])
        case "add":
            return context.call_entity(EntityId("counter", step[1]), "add", step[2])
        case "event":
            return context.wait_for_external_event(step[1])
        case "all":
            return context.task_all([_task(context, each) for each in step[1]])
    return context.call_activity(step[0], step[1])


def _said(step: Step, value: Any) -> Any:
    match step[0]:
        case "big":
            return len(value)
        case "all":
            return [_said(each, part) for each, part in zip(step[1], value, strict=True)]
        case "ring" | "add":
            return step[0]
    return value
