"""The app of the recorded hubs (interop README), as the model's orchestrators, activities and entity."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from support.provider_model.entities import Outcome
from support.provider_model.event_schema import compact
from support.provider_model.executor import Context, TaskError, all_of, any_of
from support.provider_model.worker import App

Code = Generator[Any, Any, Any]
CITIES = ["Tokyo", "Seattle", "London", "Paris", "Berlin"]


def hello_sequence(context: Context) -> Code:
    greetings = []
    for index in range(context.input or 5):
        city = CITIES[index] if index < len(CITIES) else f"City{index}"
        greetings.append((yield context.activity("SayHello", city)))
    return greetings


def fan_out(context: Context) -> Code:
    return (yield all_of(context.activity("SayHello", f"City{i}") for i in range(context.input)))


def timer_once(context: Context) -> Code:
    yield context.timer(context.input)
    return "done"


def wait_event(context: Context) -> Code:
    return (yield context.event("Approval"))


def event_or_timer(context: Context) -> Code:
    event, timer = context.event("Approval"), context.timer(context.input)
    if (yield any_of([event, timer])) is event:
        context.cancel(timer)
        return event.value
    return "timeout"


def sub_orch(context: Context) -> Code:
    first = yield context.child("HelloSequence", context.input)
    return [first, (yield context.child("HelloSequence", context.input, f"{context.instance_id}-child"))]


def sub_fail(context: Context) -> Code:
    return (yield context.child("Failing", context.input))


def eternal(context: Context) -> Code:
    state = context.input if isinstance(context.input, dict) else {"left": context.input, "count": 0}
    yield context.activity("SayHello", f"round{state['count']}")
    if state["left"] > 0:
        context.continue_as_new({"left": state["left"] - 1, "count": state["count"] + 1})
    return state["count"]


def shrink(context: Context) -> Code:
    results = []
    for index in range(context.input[0]):
        results.append((yield context.activity("SayHello", f"step{len(context.input)}.{index}")))
    if len(context.input) > 1:
        context.continue_as_new(context.input[1:])
    return results


def failing(context: Context) -> Code:
    return (yield context.activity("Boom", context.input))


def catch_fail(context: Context) -> Code:
    try:
        yield context.activity("Boom", "caught")
    except TaskError:
        return "caught"


def retry(context: Context) -> Code:
    """After the last attempt the wrapper waits once more, for no time (execution-semantics 4)."""
    for attempt in range(3):
        try:
            return (yield context.activity("Boom", "retry"))
        except TaskError as error:
            failure = error
        yield context.timer((context.input or 1) if attempt < 2 else 0)
    raise failure


def set_status(context: Context) -> Code:
    context.status = context.input
    yield context.activity("SayHello", "status")
    context.status = {"stage": 2, "text": "håller på"}
    yield context.event("Go")
    return "ok"


def big(context: Context) -> Code:
    text = yield context.activity("Big", context.input)
    yield context.activity("Echo", text)
    return text


def echo(context: Context) -> Code:
    return (yield context.activity("Echo", context.input))


def flaky(context: Context) -> Code:
    hello = yield context.activity("SayHello", "Tokyo")
    return [hello, (yield context.activity("Flaky", context.input))]


def sub_flaky(context: Context) -> Code:
    child = yield context.child("Flaky", context.input)
    return [child, (yield context.activity("SayHello", "after"))]


def two_events(context: Context) -> Code:
    first = yield context.event("Approval")
    return [first, (yield context.event("Approval"))]


def race(context: Context) -> Code:
    tasks = [context.activity("SayHello", f"City{i}") for i in range(context.input)]
    winner = yield any_of(tasks)
    greeting = yield context.activity("SayHello", f"winner {tasks.index(winner)}")
    yield all_of(tasks)
    return [greeting, len(tasks)]


def call_counter(context: Context) -> Code:
    yield context.call_entity(f"@counter@{context.input}", "add", 5)
    return (yield context.call_entity(f"@counter@{context.input}", "get"))


def ask_counter(context: Context) -> Code:
    return (yield context.call_entity(f"@counter@{context.input}", "get"))


def signal_counter(context: Context) -> Code:
    for amount in (1, 10, 100):
        context.signal_entity(f"@counter@{context.input}", "add", amount)
    return "signalled"
    yield


def lock_counter(context: Context) -> Code:
    first, second = f"@counter@{context.input}", f"@counter@{context.input}-2"
    yield context.lock(first, second)
    yield context.call_entity(first, "add", 10)
    yield context.event("Release")
    total = yield context.call_entity(first, "get")
    context.unlock()
    return total


def counter(operation: str, value: Any, state: Any) -> Outcome:
    if operation == "delete":
        return Outcome(None, exists=False)
    if operation == "get":
        return Outcome(state, state or 0, exists=state is not None)
    state = (state or 0) + value if operation == "add" else value
    return Outcome(state, state)


ORCHESTRATORS = {
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
    "CatchFail": catch_fail,
    "Retry": retry,
    "SetStatus": set_status,
    "Big": big,
    "Echo": echo,
    "Flaky": flaky,
    "SubFlaky": sub_flaky,
    "TwoEvents": two_events,
    "Race": race,
    "CallCounter": call_counter,
    "AskCounter": ask_counter,
    "SignalCounter": signal_counter,
    "LockCounter": lock_counter,
}


def recorded_app() -> App:
    """Return the app, with nothing run yet; `Flaky` is repaired."""

    def boom(value: Any) -> None:
        raise RuntimeError(f"Exception: {compact(value)}")

    activities = {
        "SayHello": lambda name: f"Hello {name}!",
        "Echo": lambda value: value,
        "Big": lambda count: "x" * count,
        "Boom": boom,
        "Flaky": lambda value: "repaired",
    }
    return App(ORCHESTRATORS, activities, {"Counter": counter})
