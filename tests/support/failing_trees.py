"""Trees of orchestrations that fail until their steps are repaired, and what became of the steps."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

from durable_ext.runtime.registry import FunctionRegistry
from support.functions import registry_of


class Steps:
    """Activities that fail until they are repaired, and how often each succeeded."""

    def __init__(self) -> None:
        self.is_repaired = False
        self.done: Counter[str] = Counter()
        self.may_end = asyncio.Event()

    async def broken(self, name: str) -> str:
        if not self.is_repaired:
            raise RuntimeError("not yet")
        return await self.fine(name)

    async def fine(self, name: str) -> str:
        self.done[name] += 1
        return name

    async def held(self, name: str) -> str:
        await self.may_end.wait()
        return await self.fine(name)


def functions(steps: Steps) -> FunctionRegistry:
    """Return the orchestrations and the activities of `steps`."""

    def root(context: Any) -> Any:
        me = context.instance_id
        first = yield context.call_activity("fine", me)
        rest = yield context.task_all(
            [context.call_sub_orchestrator(name, None, f"{me}-{name}") for name in ("middle", "leaf")]
        )
        return [first, *rest]

    def middle(context: Any) -> Any:
        first = yield context.call_activity("fine", context.instance_id)
        return [first, (yield context.call_sub_orchestrator("leaf", None, f"{context.instance_id}-leaf"))]

    def leaf(context: Any) -> Any:
        name = context.instance_id
        return [(yield context.call_activity("fine", f"{name} 1")), (yield context.call_activity("broken", f"{name} 2"))]

    def waiting(context: Any) -> Any:
        before = yield context.call_activity("fine", "before")
        value = yield context.wait_for_external_event("go")
        return [before, value, (yield context.call_activity("broken", "after"))]

    def parent(context: Any) -> Any:
        return (yield context.call_sub_orchestrator("waiting", None, "kid"))

    def open_ends(context: Any) -> Any:
        timer = context.create_timer(context.current_utc_datetime + timedelta(milliseconds=200))
        held = context.call_activity("held", "held")
        yield context.task_any([held, timer, context.call_activity("fine", "quick")])
        return (yield context.task_all([held, timer]))[0]

    def parent_of_open_ends(context: Any) -> Any:
        return (yield context.call_sub_orchestrator("open_ends", None, "kid"))

    orchestrators = [root, middle, leaf, waiting, parent, open_ends, parent_of_open_ends]
    return registry_of(orchestrators=orchestrators, activities=[steps.broken, steps.fine, steps.held])


def result_of(root: str) -> Any:
    """Return the output of a `root` that was repaired."""
    leaf = f"{root}-leaf"
    return [root, [f"{root}-middle", [f"{root}-middle-leaf 1", f"{root}-middle-leaf 2"]], [f"{leaf} 1", f"{leaf} 2"]]


def steps_of(root: str) -> Counter[str]:
    """Return how often each step of a `root` is to succeed: once."""
    leaves = (f"{root}-middle-leaf", f"{root}-leaf")
    return Counter([root, f"{root}-middle", *(f"{leaf} {number}" for leaf in leaves for number in (1, 2))])
