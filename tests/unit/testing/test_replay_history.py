"""The replay check: histories built, recorded and read from files, against code that changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from support.functions import registry_of
from support.orchestration_bench import OrchestrationBench

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import RELEASE_EVENT
from durable_ext.core.events import EventSent, ExecutionCompleted, HistoryEvent, OrchestrationStatus
from durable_ext.core.orchestrators import OrchestratorDefinition
from durable_ext.errors import FunctionNotFoundError, InstanceNotFoundError, NonDeterminismError
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.testing import Decided, HistoryBuilder, RecordedHistory, replay_history, run_task_hub
from durable_ext.testing.task_hub import RunningTaskHub

NOON = datetime(2025, 6, 1, 12, tzinfo=timezone.utc)


def price(item: str) -> int:
    return {"tea": 250}[item]


def order(context: Any) -> Any:
    cents = yield context.call_activity("price", context.get_input()["item"])
    timer = context.create_timer(context.current_utc_datetime + timedelta(days=1))
    approval = context.wait_for_external_event("Approval")
    if (yield context.task_any([approval, timer])) is timer:
        return "too late"
    timer.cancel()
    context.set_custom_status({"approved": approval.result})
    receipt = yield context.call_sub_orchestrator("print_receipt", cents, "receipt-1")
    context.signal_entity(EntityId("sales", "all"), "add", cents)
    return receipt


def print_receipt(context: Any) -> Any:
    yield context.create_timer(timedelta(seconds=0))
    return f"{context.get_input()} cents"


def eternal(context: Any) -> Any:
    yield context.wait_for_external_event("Go")
    context.continue_as_new(context.get_input() + 1)


def weight(item: str) -> int:
    return 1


def sales(context: Any) -> None:
    context.set_state(context.get_input())


def app(order: Callable[..., Any] = order) -> FunctionRegistry:
    """Return the app with another function in the place of `order`."""
    registry = registry_of(orchestrators=[print_receipt, eternal], activities=[price, weight], entities=[sales])
    registry.add_orchestrator(OrchestratorDefinition(name="order", function=order))
    return registry


def approved_order() -> HistoryBuilder:
    history = HistoryBuilder("order", {"item": "tea"}, at=NOON)
    history.completed(history.activity("price"), 250)
    history.timer(timedelta(days=1))
    history.wait(timedelta(hours=1))
    history.event("Approval", True)
    return history


def test_what_comes_next_follows_from_what_came_in() -> None:
    history = approved_order()

    replayed = replay_history(history.build(), app())

    assert replayed.status is OrchestrationStatus.RUNNING
    assert replayed.decided == (Decided(kind="sub-orchestration", name="print_receipt", input=250),)
    assert replayed.custom_status == {"approved": True}
    assert replayed.output is None


def test_the_first_decision_has_the_input() -> None:
    replayed = replay_history(HistoryBuilder("order", {"item": "tea"}).build(), app())

    assert replayed.decided == (Decided(kind="activity", name="price", input="tea"),)


def test_a_timer_is_shown_with_its_time_and_fires_at_it() -> None:
    history = HistoryBuilder("order", {"item": "tea"}, at=NOON)
    history.completed(history.activity("price"), 250)
    (made,) = replay_history(history.build(), app()).decided
    history.fired(history.timer(timedelta(days=1)))

    replayed = replay_history(history.build(), app())

    assert made == Decided(kind="timer", fire_at=NOON + timedelta(days=1))
    assert (replayed.status, replayed.output) == (OrchestrationStatus.COMPLETED, "too late")
    assert replayed.decided == (Decided(kind="end", name="Completed"),)


def test_children_end_with_a_value_and_signals_are_shown() -> None:
    history = approved_order()
    history.completed(history.sub_orchestration("print_receipt", "receipt-1"), "250 cents")

    replayed = replay_history(history.build(), app())

    assert replayed.output == "250 cents"
    assert [(each.kind, each.name) for each in replayed.decided] == [("event", "@sales@all"), ("end", "Completed")]


@pytest.mark.parametrize("task", ["activity", "child"])
def test_a_failure_fails_the_instance_with_its_text(task: str) -> None:
    history = HistoryBuilder("order", {"item": "gold"}) if task == "activity" else approved_order()
    task_id = history.activity("price") if task == "activity" else history.sub_orchestration("print_receipt")
    history.failed(task_id, KeyError("gold"))

    replayed = replay_history(history.build(), app())

    assert replayed.status is OrchestrationStatus.FAILED
    assert "gold" in replayed.output


def test_starting_over_is_shown_with_the_new_input() -> None:
    history = HistoryBuilder("eternal", 7)
    history.wait(timedelta(seconds=1))
    history.event("Go")

    assert replay_history(history.build(), app()).decided[0] == Decided(kind="continue-as-new", input=8)


def another_activity(context: Any) -> Any:
    yield context.call_activity("weight", context.get_input()["item"])


def a_timer_first(context: Any) -> Any:
    yield context.create_timer(timedelta(hours=1))


def two_activities(context: Any) -> Any:
    yield context.task_all([context.call_activity("price", "tea"), context.call_activity("price", "cake")])


def nothing_more(context: Any) -> Any:
    yield context.call_activity("price", "tea")


def raises_early(context: Any) -> Any:
    raise ValueError("no more orders")
    yield


CHANGES = [another_activity, a_timer_first, two_activities, nothing_more, raises_early]


@pytest.mark.parametrize("changed", CHANGES)
def test_code_that_decides_something_else_is_refused(changed: Callable[..., Any]) -> None:
    with pytest.raises(NonDeterminismError, match="instance 'instance' diverged"):
        replay_history(approved_order().build(), app(changed))


def test_other_inputs_and_later_steps_may_change() -> None:
    def changed(context: Any) -> Any:
        yield context.call_activity("price", "cake")
        yield context.task_any([context.create_timer(timedelta(days=3)), context.wait_for_external_event("Approval")])
        return (yield context.call_activity("price", "milk"))

    replayed = replay_history(approved_order().build(), app(changed))

    assert replayed.decided == (Decided(kind="activity", name="price", input="milk"),)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningTaskHub]:
    async with run_task_hub(tmp_path / "hub.db", app()) as running:
        yield running


async def _finished(hub: RunningTaskHub) -> RecordedHistory:
    instance_id = await hub.client.start("order", {"item": "tea"}, "order-1")
    await hub.client.raise_event(instance_id, "Approval", True)
    await hub.client.wait_for_completion(instance_id, timeout=timedelta(seconds=20))
    return await RecordedHistory.of(hub.client, instance_id)


async def test_a_recorded_history_comes_back_from_its_file(hub: RunningTaskHub, tmp_path: Path) -> None:
    history = await _finished(hub)

    history.save(tmp_path / "order-1.json")

    assert RecordedHistory.load(tmp_path / "order-1.json") == history
    assert history.started.name == "order"


async def test_unchanged_code_replays_what_a_hub_recorded(hub: RunningTaskHub) -> None:
    replayed = replay_history(await _finished(hub), app())

    assert (replayed.status, replayed.output) == (OrchestrationStatus.COMPLETED, "250 cents")


async def test_code_that_no_longer_ends_where_it_ended_is_refused(hub: RunningTaskHub) -> None:
    def longer(context: Any) -> Any:
        receipt = yield from order(context)
        yield context.call_activity("price", "tea")
        return receipt

    with pytest.raises(NonDeterminismError, match=r"ExecutionCompleted 'Completed'.*TaskScheduled 'price'"):
        replay_history(await _finished(hub), app(longer))


def ended_without_its_lock(*, releases: bool = False) -> RecordedHistory:
    """Return what former versions recorded of `impatient`, or what this one does, with `releases`."""
    bench = OrchestrationBench(impatient, name="impatient", entity_names=["sales"])
    bench.start()
    bench.raise_event("Enough")
    events: list[HistoryEvent] = []
    for event in bench.history:
        if releases or not isinstance(event, EventSent) or event.name != RELEASE_EVENT:
            events.append(event if releases or not isinstance(event, ExecutionCompleted) else replace(event, event_id=1))
    return RecordedHistory(instance_id=bench.instance.instance_id, events=tuple(events))


def impatient(context: Any) -> Any:
    lock = context.lock_entities([EntityId("sales", "a"), EntityId("sales", "b")])
    yield context.task_any([lock, context.wait_for_external_event("Enough")])
    return "too late"


@pytest.mark.parametrize("releases", [False, True])
def test_a_history_of_a_version_that_did_not_give_up_its_lock_requests_is_replayed(releases: bool) -> None:
    registry = app()
    registry.add_orchestrator(OrchestratorDefinition(name="impatient", function=impatient))

    replayed = replay_history(ended_without_its_lock(releases=releases), registry, hub="azure")

    assert (replayed.status, replayed.output) == (OrchestrationStatus.COMPLETED, "too late")


@pytest.mark.parametrize("more", ["signal", "failure"])
def test_only_releases_may_be_more_than_a_history_has(more: str) -> None:
    def changed(context: Any) -> Any:
        result = yield from impatient(context)
        if more == "failure":
            raise ValueError(result)
        context.signal_entity(EntityId("sales", "c"), "add", 1)
        return result

    registry = app()
    registry.add_orchestrator(OrchestratorDefinition(name="impatient", function=changed))

    with pytest.raises(NonDeterminismError):
        replay_history(ended_without_its_lock(), registry, hub="azure")


async def test_an_instance_that_is_not_there_has_no_history(hub: RunningTaskHub) -> None:
    with pytest.raises(InstanceNotFoundError):
        await RecordedHistory.of(hub.client, "nobody")


def test_an_orchestrator_that_is_gone_is_named() -> None:
    with pytest.raises(FunctionNotFoundError, match="'old_order'"):
        replay_history(HistoryBuilder("old_order").build(), app())


def test_a_history_of_an_entity_is_refused() -> None:
    with pytest.raises(ValueError, match="@sales@all"):
        replay_history(HistoryBuilder("@sales@all", instance_id="@sales@all").build(), app())


@pytest.mark.parametrize("text", ["", "[]", '{"instanceId": "a"}', '{"instanceId": "a", "events": [{"$type": "No"}]}'])
def test_a_file_that_is_no_history_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "broken.json"
    file.write_text(text)

    with pytest.raises(ValueError, match=r"broken\.json"):
        RecordedHistory.load(file)


def test_events_that_are_no_whole_history_are_refused() -> None:
    whole = approved_order().build()

    with pytest.raises(ValueError, match=r"not (a )?whole"):
        replay_history(RecordedHistory(instance_id="instance", events=whole.events[2:]), app())


def test_a_task_id_of_another_kind_is_refused() -> None:
    history = HistoryBuilder("order")

    with pytest.raises(ValueError, match="Task 3 is no TimerCreated"):
        history.fired(3)
