"""Orchestrations made of a seed, whose output is known whatever comes in between: what faults may not change.

A plan is JSON and the input of the one orchestrator that carries it out, so children and later generations are plans too.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterator
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
_STEPS = (*_LEAVES, *_LEAVES, "all", "all", "any", "event", "signal", "lock", "status", "new", "uuid", "chain")
_FAILING = frozenset({"fail", "retry", "broken child"})
_COUNTING = frozenset({"add", "signal", "lock"})
# What its client does with an instance, and which steps have no certain outcome then. A rewind undoes failures that were
# caught, and the results behind them fit no more (as with the provider); events that came to one that had failed are gone.
# Nobody raises an event twice. Who is ended while it holds a lock keeps it.
_FATES = {
    "": frozenset[str](),
    "rewind": _FAILING | {"event"},
    "restart": _COUNTING | {"event"},
    "purge": frozenset[str](),
    "terminate": _COUNTING,
}
_COUNTERS = ("x", "y")
_BIG = 70_000  # characters: more than a queue message or a column holds
_CAUGHT = "caught"
_ATTEMPTS = 3
_LINKS = 20  # of a chain: enough that several activities make one episode


class RandomWork:
    """A `Scenario`: some instances at once, which share entities and get events from their client.

    `rewinds` = their client may rewind them, which it has to repeat if it dies before the instance is woken.
    """

    def __init__(self, seed: int, instances: int = 3, *, rewinds: bool = True) -> None:
        self._dice = random.Random(seed)
        self._tasks = 0
        self._mended = set[str]()
        self._without = frozenset[str]()
        self.plans: dict[str, list[Step]] = {}
        self._fates: dict[str, str] = {}
        for number in range(instances):
            fate = self._dice.choice(["", "", *(fate for fate in _FATES if rewinds or fate != "rewind")])
            self._without = _FATES[fate]
            plan = self._plan(depth=0)
            if fate == "rewind":
                plan.insert(self._dice.randint(0, len(plan)), self._flaw(depth=0))
            self.plans[f"work-{number}"], self._fates[f"work-{number}"] = plan, fate
        # A suspension that is delivered once more after a rewind would stay.
        may_stop = [each for each, fate in self._fates.items() if fate != "rewind"]
        self._suspended = [each for each in may_stop if self._dice.random() < 0.3]

    def _flaw(self, depth: int) -> Step:
        """Return a step that fails the instance until it is mended: of its own, or of a child, or of that one's child."""
        self._tasks += 1
        name = f"t{self._tasks}"
        if depth == 2 or self._dice.random() < 0.4:
            return ["flaw", name]
        plan = self._plan(depth + 1)
        plan.insert(self._dice.randint(0, len(plan)), self._flaw(depth + 1))
        return ["flawed child", name, f"child-{name}" if self._dice.random() < 0.5 else None, plan]

    def _plan(self, depth: int) -> list[Step]:
        most = (7, 3, 2)[depth]
        return [self._step(self._dice.choice(_STEPS), depth) for _ in range(self._dice.randint(1, most))]

    def _step(self, kind: str, depth: int) -> Step:
        dice = self._dice
        self._tasks += 1
        name = f"t{self._tasks}"
        if kind in self._without or (kind in ("child", "broken child") and depth == 2):
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

        async def flaw(name: str) -> str:
            story.has_run(name)
            if name not in self._mended:
                raise ValueError(name)
            return name

        async def big(name: str) -> str:
            return name * (_BIG // len(name))

        def counter(context: Any) -> None:
            context.set_state(context.get_state(lambda: 0) + context.get_input())

        return registry_of(orchestrators=[work, broken], activities=[do, fail, flaw, big], entities=[counter])

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
        for instance_id, fate in self._fates.items():
            await self._meet(fate, instance_id, client, story)
        for instance_id, fate in self._fates.items():
            if fate != "purge":
                await finished(client, instance_id)
            if fate == "rewind":
                await _rewind_again(client, instance_id)

    async def _meet(self, fate: str, instance_id: str, client: DurableClient, story: Story) -> None:
        if fate == "terminate":
            await story.once(f"terminate {instance_id}", partial(_terminate, client, instance_id))
        elif fate == "rewind":
            await story.once(f"failed {instance_id}", partial(_failed, client, instance_id))
            self._mended.update(step[1] for step in every_step([self.plans[instance_id]]) if step[0] == "flaw")
            await story.once(f"rewind {instance_id}", partial(_rewind, client, instance_id))
        elif fate:
            await story.once(f"finished {instance_id}", partial(finished, client, instance_id))
            end = client.purge if fate == "purge" else partial(_restart, client)
            await story.once(f"{fate} {instance_id}", partial(end, instance_id))

    # What must have become of it.

    async def check(self, client: DurableClient, backend: Backend, story: Story) -> None:
        must, may, wanted = set[str](), set[str](), Counter[str]()
        for instance_id, plan in self.plans.items():
            fate = self._fates[instance_id]
            await self._check_end(instance_id, client, backend)
            for step in every_step([plan]):
                if step[0] in ("add", "signal"):
                    wanted[step[1]] += step[2]
                elif step[0] == "lock":
                    wanted.update(dict.fromkeys(_COUNTERS, 1))
                elif step[0] == "chain":
                    (may if fate == "terminate" else must).update(_links(step))
                elif step[0] in ("do", "any", "fail", "retry", "flaw"):
                    (may if fate == "terminate" else must).add(step[1])
        assert must <= set(story.ran) <= must | may

        async def counted() -> Counter[str]:
            states = {key: (await client.read_entity(EntityId("counter", key))).state for key in _COUNTERS}
            return Counter({key: state for key, state in states.items() if state})

        async def all_counted() -> bool:
            return (await counted()).total() >= wanted.total()

        await eventually(all_counted, "the counts", within=PATIENCE, every=timedelta(milliseconds=100))
        assert await counted() == wanted

    async def _check_end(self, instance_id: str, client: DurableClient, backend: Backend) -> None:
        plan, fate = self.plans[instance_id], self._fates[instance_id]
        status = await client.get_status(instance_id)
        events = await backend.instances.get_history(InstanceId(instance_id))
        if fate == "purge":
            assert status is None
            assert list(events) == []
            return
        assert status is not None
        if fate == "terminate" and status.runtime_status is OrchestrationStatus.TERMINATED:
            assert status.output == "enough"
            return
        assert status.runtime_status is OrchestrationStatus.COMPLETED, (instance_id, status)
        assert status.output == [outcome(step) for step in plan], (instance_id, plan)
        assert starts_and_ends(events) == (1, 1), f"{instance_id}: {events}"
        kinds = [step[0] for step in plan]
        # The row of one that has ended is repaired from history, which does not know its last episode's status.
        if "status" in kinds[:-1] and "do" in kinds[-1:] and "new" not in kinds:
            assert status.custom_status == [step[1] for step in plan if step[0] == "status"][-1]


async def _unless_over(client: DurableClient, instance_id: str, call: Callable[[], Awaitable[None]]) -> None:
    """Make a call that is refused of an instance which has ended."""
    try:
        await call()
    except InvalidInstanceStateError:
        assert await _is_over(client, instance_id)


async def _suspend(client: DurableClient, instance_id: str) -> None:
    await _unless_over(client, instance_id, lambda: client.suspend(instance_id))


async def _terminate(client: DurableClient, instance_id: str) -> None:
    await _unless_over(client, instance_id, lambda: client.terminate(instance_id, "enough"))


async def _resume(client: DurableClient, instance_id: str) -> None:
    """Resume it once it is suspended, unless it has ended before or somebody has resumed it already."""

    async def is_suspended() -> bool:
        status = await client.get_status(instance_id)
        assert status is not None
        return status.runtime_status is OrchestrationStatus.SUSPENDED or status.runtime_status.is_terminal

    await eventually(is_suspended, f"{instance_id} suspended", within=PATIENCE, every=timedelta(milliseconds=50))
    if not await _is_over(client, instance_id):
        await client.resume(instance_id)


async def _failed(client: DurableClient, instance_id: str) -> None:
    status = await finished(client, instance_id)
    assert status.runtime_status is OrchestrationStatus.FAILED, status


async def _rewind(client: DurableClient, instance_id: str) -> None:
    """Rewind it unless somebody has, of whom nothing was heard, and it has completed since."""
    status = await client.get_status(instance_id)
    assert status is not None
    if status.runtime_status is not OrchestrationStatus.COMPLETED:
        await client.rewind(instance_id, "mended")


async def _rewind_again(client: DurableClient, instance_id: str) -> None:
    """Rewind what failed once more: a child tells its parent before its end is stored, so the first may come too early."""
    for _ in range(_ATTEMPTS):
        if (await finished(client, instance_id)).runtime_status is OrchestrationStatus.FAILED:
            await client.rewind(instance_id, "mended")


async def _restart(client: DurableClient, instance_id: str) -> None:
    if await _is_over(client, instance_id):
        await client.restart(instance_id, restart_with_new_instance_id=False)


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
        case "child" | "flawed child":
            return [outcome(each) for each in step[3]]
        case "all":
            values = [outcome(each) for each in step[1]]
            return _CAUGHT if any(each[0] in ("fail", "retry", "broken child") for each in step[1]) else values
        case "event":
            return f"got {step[1]}"
        case "flaw":
            return step[1]
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
        case "flaw" | "flawed child":
            return (yield _task(context, step))
        case "chain":
            for link in _links(step):
                assert (yield context.call_activity("do", link)) == f"did {link}"
        case "uuid":
            assert context.new_uuid() != context.new_uuid()
        case _:
            try:
                return _said(step, (yield _task(context, step)))
            except Exception:
                return _CAUGHT
    return step[0]


def _links(step: Step) -> list[str]:
    return [f"{step[1]}.{number}" for number in range(_LINKS)]


def _task(context: Any, step: Step) -> Any:
    match step[0]:
        case "retry":
            return context.call_activity_with_retry("fail", RetryOptions(20, 2), step[1])
        case "ring":
            return context.create_timer(context.current_utc_datetime + timedelta(milliseconds=30))
        case "child" | "broken child" | "flawed child":
            name = "broken" if step[0] == "broken child" else "work"
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
