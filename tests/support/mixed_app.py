"""Our side of `support.provider_model.mixed_app`: the same functions for our worker."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

from interop_app import ActivityRuns, interop_registry

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.entities.definitions import EntityDefinition
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.orchestrators import OrchestratorDefinition
from durable_ext.runtime.registry import FunctionRegistry

Orchestration = Generator[Any, Any, Any]


def _value(event: Any) -> Any:
    """A 1.x client wraps events twice, so that some come as JSON."""
    try:
        return json.loads(event) if isinstance(event, str) else event
    except ValueError:
        return event


def collect(context: OrchestrationContext) -> Orchestration:
    items: list[Any] = []
    while len(items) < context.get_input():
        items.append(_value((yield context.wait_for_external_event("Item"))))
    return items


def family(context: OrchestrationContext) -> Orchestration:
    ids = [f"{context.instance_id}-{i}" for i in range(context.get_input())]
    return (yield context.task_all([context.call_sub_orchestrator("HelloSequence", 1, one) for one in ids]))


def tally(context: OrchestrationContext) -> Orchestration:
    key, rounds = context.get_input()
    for _ in range(rounds):
        context.signal_entity(EntityId("Counter", key), "add", 1)
        yield context.call_entity(EntityId("Counter", key), "add", 1)
    return rounds


def guarded(context: OrchestrationContext) -> Orchestration:
    counters = [EntityId("Counter", key) for key in context.get_input()]
    with (yield context.lock_entities(counters)):
        for counter in counters:
            value = yield context.call_entity(counter, "get")
            yield context.call_entity(counter, "set", value + 1)
    return "done"


def told_then_works(context: OrchestrationContext) -> Orchestration:
    word = _value((yield context.wait_for_external_event("Approval")))
    first = yield context.call_activity("SayHello", word)
    return [first, (yield context.call_activity("SayHello", "after"))]


def relayed(context: OrchestrationContext) -> Orchestration:
    key = context.get_input()
    context.signal_entity(EntityId("Relay", key), "forward", {"to": [key], "amount": 7})
    start = {"name": "HelloSequence", "id": f"{context.instance_id}-started", "input": 1}
    context.signal_entity(EntityId("Relay", key), "start", start)
    return "relayed"
    yield


def relay(context: Any) -> None:
    value = context.get_input()
    context.set_state(context.get_state(lambda: 0) + 1)
    if context.operation_name == "start":
        context.start_new_orchestration(value["name"], value["input"], value["id"])
        return
    for key in value["to"]:
        context.signal_entity(EntityId("Counter", key), "add", value["amount"])


def mixed_registry(runs: ActivityRuns) -> FunctionRegistry:
    """Return the recorded app and these functions; every activity run is noted in `runs`."""
    registry = interop_registry(runs)
    mine = {"Collect": collect, "Family": family, "Tally": tally, "Guarded": guarded, "Relayed": relayed}
    mine["ToldThenWorks"] = told_then_works
    for name, function in mine.items():
        registry.add_orchestrator(OrchestratorDefinition(name=name, function=function))
    registry.add_entity(EntityDefinition(name="Relay", function=relay))
    return registry
