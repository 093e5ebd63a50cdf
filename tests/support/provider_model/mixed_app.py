"""What is played on a hub that several kinds of workers share, beside the recorded app."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from support.provider_model.entities import Outcome, Signal, Start
from support.provider_model.executor import Context, all_of
from support.provider_model.recorded_app import recorded_app
from support.provider_model.worker import App

Code = Generator[Any, Any, Any]


def collect(context: Context) -> Code:
    items: list[Any] = []
    while len(items) < context.input:
        items.append((yield context.event("Item")))
    return items


def family(context: Context) -> Code:
    return (yield all_of(context.child("HelloSequence", 1, f"{context.instance_id}-{i}") for i in range(context.input)))


def tally(context: Context) -> Code:
    key, rounds = context.input
    for _ in range(rounds):
        context.signal_entity(f"@counter@{key}", "add", 1)
        yield context.call_entity(f"@counter@{key}", "add", 1)
    return rounds


def guarded(context: Context) -> Code:
    """Add one to each counter by reading and setting it, which only a lock makes safe."""
    counters = [f"@counter@{key}" for key in context.input]
    yield context.lock(*counters)
    for counter in counters:
        value = yield context.call_entity(counter, "get")
        yield context.call_entity(counter, "set", value + 1)
    context.unlock()
    return "done"


def told_then_works(context: Context) -> Code:
    word = yield context.event("Approval")
    first = yield context.activity("SayHello", word)
    return [first, (yield context.activity("SayHello", "after"))]


def relayed(context: Context) -> Code:
    """Let an entity pass an amount on to a counter, and start an orchestration."""
    relay = f"@relay@{context.input}"
    context.signal_entity(relay, "forward", {"to": [context.input], "amount": 7})
    context.signal_entity(relay, "start", {"name": "HelloSequence", "id": f"{context.instance_id}-started", "input": 1})
    return "relayed"
    yield


def relay(operation: str, value: Any, state: Any) -> Outcome:
    """Pass an amount on to counters, or start an orchestration; the state counts what was done."""
    done = (state or 0) + 1
    if operation == "start":
        return Outcome(done, sent=(Start(value["name"], value["id"], value["input"]),))
    return Outcome(done, sent=tuple(Signal(f"@counter@{key}", "add", value["amount"]) for key in value["to"]))


def mixed_app() -> App:
    """Return the recorded app and these functions, with nothing run yet."""
    app = recorded_app()
    mine = {"Collect": collect, "Family": family, "Tally": tally, "Guarded": guarded, "Relayed": relayed}
    mine["ToldThenWorks"] = told_then_works
    return App({**app.orchestrators, **mine}, app.activities, {**app.entities, "Relay": relay})
