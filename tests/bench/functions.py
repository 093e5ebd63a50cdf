"""The orchestrations, activities and the entity of the workloads."""

from __future__ import annotations

from typing import Any

from durable_ext.core.entities.definitions import EntityDefinition
from durable_ext.core.orchestrators import OrchestratorDefinition
from durable_ext.runtime.registry import ActivityDefinition, FunctionRegistry

CITIES = ["Tokyo", "Seattle", "London", "Amsterdam", "Mumbai"]
GREETINGS = [f"Hello {city}!" for city in CITIES]


async def say_hello(name: Any) -> str:
    return f"Hello {name}!"


def hello5(context: Any) -> Any:
    greetings = []
    for city in CITIES:
        greetings.append((yield context.call_activity("say_hello", city)))
    return greetings


def fan(context: Any) -> Any:
    greetings = yield context.task_all([context.call_activity("say_hello", i) for i in range(context.get_input())])
    return len(greetings)


def sequence(context: Any) -> Any:
    count = context.get_input()
    for i in range(count):
        yield context.call_activity("say_hello", i)
    return count


def sequence_then_event(context: Any) -> Any:
    for i in range(context.get_input()):
        yield context.call_activity("say_hello", i)
    context.set_custom_status("waiting")
    yield context.wait_for_external_event("ev")
    return "done"


def ping_pong(context: Any) -> Any:
    count = context.get_input()
    for i in range(count):
        yield context.wait_for_external_event("ev")
        context.set_custom_status({"seen": i})
    return count


def leaf(context: Any) -> Any:
    return (yield context.call_activity("say_hello", context.get_input()))


def branch(context: Any) -> Any:
    leaves = yield context.task_all([context.call_sub_orchestrator("leaf", i) for i in range(context.get_input())])
    return len(leaves)


def tree(context: Any) -> Any:
    count = context.get_input()
    branches = yield context.task_all([context.call_sub_orchestrator("branch", count) for _ in range(count)])
    return sum(branches)


def counter(context: Any) -> None:
    value = context.get_state(lambda: 0)
    if context.operation_name == "add":
        context.set_state(value + context.get_input())
    else:
        context.set_result(value)


def bench_registry() -> FunctionRegistry:
    """Return everything the workloads call."""
    registry = FunctionRegistry()
    for function in (hello5, fan, sequence, sequence_then_event, ping_pong, leaf, branch, tree):
        registry.add_orchestrator(OrchestratorDefinition(name=function.__name__, function=function))
    registry.add_activity(ActivityDefinition(name="say_hello", call=say_hello, is_async=True))
    registry.add_entity(EntityDefinition(name="Counter", function=counter))
    return registry
