"""Orchestrators made of a seed: every API of the context, in an order and nesting that the seed decides."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any

SIMPLE = ("activity", "retry", "timer", "event", "entity", "child")
ANY = ("activity", "activity", "activity", "retry", "child", "retried child", "timer", "event", "entity", "http")
COMPOUND = ("all", "any", "again")
VALUES = (None, 1, "x", {"a": 1}, [1], True, 1.5)


def random_orchestrator(seed: int, package: Any) -> Callable[[Any], Generator[Any, Any, Any]]:
    """Return an orchestrator; `package` is what it imports as `df`. The same seed is the same orchestrator."""

    def orchestrate(context: Any) -> Generator[Any, Any, Any]:
        dice = random.Random(seed)
        tasks = _Tasks(dice, context, package)
        output: list[Any] = [context.get_input(), context.is_replaying]
        for step in range(dice.randint(1, 6)):
            _do_something_else(dice, context, package, step, output)
            task = tasks.make(0)
            if dice.random() < 0.2:
                tasks.cancel_one()
            if dice.random() < 0.6:
                try:
                    value = yield task
                except Exception as error:  # the orchestrator of a user who catches everything
                    value = f"caught {error}"
            else:
                value = yield task
            output.append([tasks.shown(value), str(context.current_utc_datetime)])
        return output if dice.random() < 0.9 else dice.choice([None, False, 0, "text", {"k": output}])

    return orchestrate


def _do_something_else(dice: random.Random, context: Any, package: Any, step: int, output: list[Any]) -> None:
    chance = dice.random()
    if chance < 0.1:
        context.set_custom_status(dice.choice(["s", {"p": step}, 0, None, [step]]))
    elif chance < 0.2:
        output.append(context.new_uuid() if dice.random() < 0.5 else str(context.new_guid()))
    elif chance < 0.27:
        context.signal_entity(package.EntityId("Ent", "k2"), "sig", step)
    elif chance < 0.30:
        context.continue_as_new({"n": step})
    elif chance < 0.32:
        raise ValueError(dice.choice(["boom", ""]))


class _Tasks:
    """Makes tasks and remembers them, because some are yielded again."""

    def __init__(self, dice: random.Random, context: Any, package: Any) -> None:
        self._dice, self._context, self._package = dice, context, package
        self._retry = package.RetryOptions(1000, 2)
        self._made: list[Any] = []

    def make(self, depth: int) -> Any:
        kind = self._dice.choice((*ANY, *COMPOUND) if depth < 2 else SIMPLE)
        if kind == "again":
            task = self._dice.choice(self._made) if self._made else self._context.call_activity("A9")
        elif kind in COMPOUND:
            least = 0 if self._dice.random() < 0.1 else 1
            children = [self.make(depth + 1) for _ in range(self._dice.randint(least, 3))]
            task = self._context.task_all(children) if kind == "all" else self._context.task_any(children)
        else:
            task = self._simple(kind, self._dice.randint(0, 3))
        self._made.append(task)
        return task

    def _simple(self, kind: str, number: int) -> Any:
        dice, context = self._dice, self._context
        match kind:
            case "activity":
                return context.call_activity(f"A{number}", dice.choice(VALUES))
            case "retry":
                return context.call_activity_with_retry(f"A{number}", self._retry, dice.choice([None, "q"]))
            case "child":
                return context.call_sub_orchestrator(f"S{number}", 3, dice.choice([None, "id"]), dice.choice([None, "v1"]))
            case "retried child":
                return context.call_sub_orchestrator_with_retry(f"S{number}", self._retry, {"b": 2})
            case "timer":
                hours = dice.choice([1, 1, 2, 200])
                return context.create_timer(context.current_utc_datetime + timedelta(hours=hours))
            case "event":
                return context.wait_for_external_event(f"E{number}")
            case "entity":
                return context.call_entity(self._package.EntityId("Ent", "k"), f"op{number}", dice.choice([None, 5]))
        return context.call_http("GET", "http://x/", dice.choice([None, "abc", {"z": 1}]))

    def cancel_one(self) -> None:
        for task in self._made:
            if hasattr(task, "cancel") and not task.is_completed:
                task.cancel()
                return

    def shown(self, value: Any) -> Any:
        """Return JSON for what a yield gave."""
        if isinstance(value, list):
            return [self.shown(each) for each in value]
        if isinstance(value, Exception):
            return f"exception {value}"
        for number, task in enumerate(self._made):
            if value is task:
                return f"task {number} {task.state.name}"
        return value
