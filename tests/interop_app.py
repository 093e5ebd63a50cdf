"""The app of the recorded hubs: orchestrators, activities and the entity that their histories name."""

from __future__ import annotations

import json
from collections.abc import Generator
from datetime import timedelta
from typing import Any

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.entities.definitions import EntityDefinition
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.orchestrators import OrchestratorDefinition
from durable_ext.core.retry import RetryOptions
from durable_ext.runtime.registry import ActivityDefinition, FunctionRegistry

Orchestration = Generator[Any, Any, Any]
CITIES = ["Tokyo", "Seattle", "London", "Paris", "Berlin"]


def _value(event: Any) -> Any:
    # A 1.x client wraps events twice, and a 1.x orchestrator unwraps them once (specs/sdk.md 6.3).
    return json.loads(event) if isinstance(event, str) else event


def hello_sequence(context: OrchestrationContext) -> Orchestration:
    count = context.get_input() or 5
    greetings = []
    for index in range(count):
        city = CITIES[index] if index < len(CITIES) else f"City{index}"
        greetings.append((yield context.call_activity("SayHello", city)))
    return greetings


def fan_out(context: OrchestrationContext) -> Orchestration:
    return (yield context.task_all([context.call_activity("SayHello", f"City{i}") for i in range(context.get_input())]))


def timer_once(context: OrchestrationContext) -> Orchestration:
    yield context.create_timer(context.current_utc_datetime + timedelta(seconds=context.get_input()))
    return "done"


def wait_event(context: OrchestrationContext) -> Orchestration:
    return _value((yield context.wait_for_external_event("Approval")))


def event_or_timer(context: OrchestrationContext) -> Orchestration:
    event = context.wait_for_external_event("Approval")
    timer = context.create_timer(context.current_utc_datetime + timedelta(seconds=context.get_input()))
    winner = yield context.task_any([event, timer])
    if winner == event:
        timer.cancel()
        return _value(event.result)
    return "timeout"


def sub_orch(context: OrchestrationContext) -> Orchestration:
    first = yield context.call_sub_orchestrator("HelloSequence", context.get_input())
    second = yield context.call_sub_orchestrator("HelloSequence", context.get_input(), f"{context.instance_id}-child")
    return [first, second]


def sub_fail(context: OrchestrationContext) -> Orchestration:
    return (yield context.call_sub_orchestrator("Failing", context.get_input()))


def eternal(context: OrchestrationContext) -> Orchestration:
    given = context.get_input()
    state = given if isinstance(given, dict) else {"left": given, "count": 0}
    yield context.call_activity("SayHello", f"round{state['count']}")
    if state["left"] > 0:
        context.continue_as_new({"left": state["left"] - 1, "count": state["count"] + 1})
        return None
    return state["count"]


def shrink(context: OrchestrationContext) -> Orchestration:
    numbers = context.get_input()
    results = []
    for index in range(numbers[0]):
        results.append((yield context.call_activity("SayHello", f"step{len(numbers)}.{index}")))
    if len(numbers) > 1:
        context.continue_as_new(numbers[1:])
        return None
    return results


def failing(context: OrchestrationContext) -> Orchestration:
    return (yield context.call_activity("Boom", context.get_input()))


def throwing(context: OrchestrationContext) -> Orchestration:
    raise RuntimeError("orchestrator threw")
    yield


def catch_fail(context: OrchestrationContext) -> Orchestration:
    try:
        yield context.call_activity("Boom", "caught")
    except Exception:
        return "caught"
    return "not caught"


def retry(context: OrchestrationContext) -> Orchestration:
    seconds = context.get_input() or 1
    return (yield context.call_activity_with_retry("Boom", RetryOptions(seconds * 1000, 3), "retry"))


def set_status(context: OrchestrationContext) -> Orchestration:
    context.set_custom_status(context.get_input())
    yield context.call_activity("SayHello", "status")
    context.set_custom_status({"stage": 2, "text": "håller på"})
    yield context.wait_for_external_event("Go")
    return "ok"


def big(context: OrchestrationContext) -> Orchestration:
    text = yield context.call_activity("Big", context.get_input())
    yield context.call_activity("Echo", text)
    return text


def echo(context: OrchestrationContext) -> Orchestration:
    return (yield context.call_activity("Echo", context.get_input()))


def no_act(context: OrchestrationContext) -> Orchestration:
    return (yield context.call_activity("NoSuchActivity", context.get_input()))


def flaky(context: OrchestrationContext) -> Orchestration:
    hello = yield context.call_activity("SayHello", "Tokyo")
    return [hello, (yield context.call_activity("Flaky", context.get_input()))]


def sub_flaky(context: OrchestrationContext) -> Orchestration:
    child = yield context.call_sub_orchestrator("Flaky", context.get_input())
    return [child, (yield context.call_activity("SayHello", "after"))]


def two_events(context: OrchestrationContext) -> Orchestration:
    first = _value((yield context.wait_for_external_event("Approval")))
    return [first, _value((yield context.wait_for_external_event("Approval")))]


def race(context: OrchestrationContext) -> Orchestration:
    tasks = [context.call_activity("SayHello", f"City{i}") for i in range(context.get_input())]
    winner = yield context.task_any(tasks)
    greeting = yield context.call_activity("SayHello", f"winner {tasks.index(winner)}")
    yield context.task_all(tasks)
    return [greeting, len(tasks)]


# The entity orchestrators of the recordings whose name begins with `entity-`.


def call_counter(context: OrchestrationContext) -> Orchestration:
    counter = EntityId("Counter", context.get_input())
    yield context.call_entity(counter, "add", 5)
    return (yield context.call_entity(counter, "get"))


def ask_counter(context: OrchestrationContext) -> Orchestration:
    return (yield context.call_entity(EntityId("Counter", context.get_input()), "get"))


def signal_counter(context: OrchestrationContext) -> Orchestration:
    for amount in (1, 10, 100):
        context.signal_entity(EntityId("Counter", context.get_input()), "add", amount)
    return "signalled"
    yield


def lock_counter(context: OrchestrationContext) -> Orchestration:
    key = context.get_input()
    first, second = EntityId("Counter", key), EntityId("Counter", f"{key}-2")
    with (yield context.lock_entities([first, second])):
        yield context.call_entity(first, "add", 10)
        yield context.wait_for_external_event("Release")
        return (yield context.call_entity(first, "get"))


def counter(context: Any) -> None:
    state = context.get_state(lambda: 0)
    operation, value = context.operation_name, context.get_input()
    if operation == "add":
        context.set_state(state + value)
    elif operation == "set":
        context.set_state(value)
    elif operation == "delete":
        context.destruct_on_exit()
    context.set_result(context.get_state(lambda: 0))


_ORCHESTRATORS = {
    "HelloSequence": hello_sequence,
    "FanOut": fan_out,
    "TimerOnce": timer_once,
    "WaitEvent": wait_event,
    "EventOrTimer": event_or_timer,
    "SubOrch": sub_orch,
    "SubFail": sub_fail,
    "Eternal": eternal,
    "Shrink": shrink,
    "Failing": failing,
    "Throwing": throwing,
    "CatchFail": catch_fail,
    "Retry": retry,
    "SetStatus": set_status,
    "Big": big,
    "Echo": echo,
    "NoAct": no_act,
    "Flaky": flaky,
    "SubFlaky": sub_flaky,
    "TwoEvents": two_events,
    "Race": race,
    "CallCounter": call_counter,
    "AskCounter": ask_counter,
    "SignalCounter": signal_counter,
    "LockCounter": lock_counter,
}


class ActivityRuns:
    """Which activities ran, with which argument, in which order."""

    def __init__(self) -> None:
        self.all: list[tuple[str, Any]] = []

    def count(self, name: str, argument: Any) -> int:
        return self.all.count((name, argument))


def interop_registry(runs: ActivityRuns | None = None) -> FunctionRegistry:
    """Return the app; every activity run is noted in `runs`. `Flaky` is repaired."""
    noted = runs or ActivityRuns()

    async def say_hello(name: Any) -> str:
        noted.all.append(("SayHello", name))
        return f"Hello {name}!"

    async def echo_activity(value: Any) -> Any:
        noted.all.append(("Echo", value))
        return value

    async def big_activity(count: int) -> str:
        noted.all.append(("Big", count))
        return "x" * count

    async def boom(value: Any) -> None:
        noted.all.append(("Boom", value))
        raise RuntimeError(str(value))

    async def flaky_activity(value: Any) -> str:
        noted.all.append(("Flaky", value))
        return "repaired"

    registry = FunctionRegistry()
    for name, function in _ORCHESTRATORS.items():
        registry.add_orchestrator(OrchestratorDefinition(name=name, function=function))
    activities = {
        "SayHello": say_hello,
        "Echo": echo_activity,
        "Big": big_activity,
        "Boom": boom,
        "Flaky": flaky_activity,
    }
    for name, call in activities.items():
        registry.add_activity(ActivityDefinition(name=name, call=call, is_async=True))
    registry.add_entity(EntityDefinition(name="Counter", function=counter))
    return registry
