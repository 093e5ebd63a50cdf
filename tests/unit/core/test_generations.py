"""continue_as_new: the next generation, what it takes along, and what is dropped."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from support.orchestration_bench import CODEC, OrchestrationBench, kinds

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.episode import Episode
from durable_ext.core.events import (
    EventRaised,
    ExecutionStarted,
    ExecutionSuspended,
    GenericEvent,
    OrchestrationStatus,
)
from durable_ext.core.ids import continues, next_execution_id
from durable_ext.core.messages import ExecutionId
from durable_ext.core.orchestrators import ReplayOptions
from durable_ext.core.tasks import TimerTask


def counting(context: OrchestrationContext) -> Any:
    left = context.get_input()
    context.set_custom_status({"left": left})
    yield context.call_activity("work", left)
    if left:
        context.continue_as_new(left - 1)
    else:
        return "done"


def requests(episode: Episode) -> list[str | None]:
    events = [out.message.event for out in episode.messages]
    return [event.input for event in events if isinstance(event, EventRaised)]


def test_the_next_generation_runs_in_the_same_episode_with_a_new_execution() -> None:
    bench = OrchestrationBench(counting)
    bench.start(2)

    episode = bench.complete(0)

    started = episode.opening[1]
    assert episode.starts_generation
    assert [type(event).__name__ for event in episode.opening] == [
        "OrchestratorStarted",
        "ExecutionStarted",
        "OrchestratorCompleted",
    ]
    assert isinstance(started, ExecutionStarted)
    following = next_execution_id(ExecutionId("first"))
    assert (started.input, started.instance.execution_id, started.generation) == ('"1"', following, None)
    assert episode.execution_id == following
    assert kinds(episode) == [("TaskScheduled", 0)]
    assert episode.activities[0].target.execution_id == following
    assert not episode.can_run_locally


def test_the_row_shows_running_with_the_new_input() -> None:
    bench = OrchestrationBench(counting)
    bench.start(1)

    row = bench.complete(0).instance

    assert row is not None
    assert (row.status, row.input, row.custom_status) == (OrchestrationStatus.RUNNING, '"0"', '{"left":0}')


def test_generations_go_on_until_one_returns() -> None:
    bench = OrchestrationBench(counting)
    bench.start(3)

    for _ in range(4):
        bench.forget()
        bench.complete(0)

    assert bench.output == "done"
    assert len(bench.history) == 9


def test_several_generations_may_pass_in_one_episode() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        left = context.get_input()
        if left:
            context.continue_as_new(left - 1)
            return None
        return "end"

    bench = OrchestrationBench(orchestrator)

    episode = bench.start(5)

    assert bench.output == "end"
    expected = ExecutionId("first")
    for _ in range(5):
        expected = next_execution_id(expected)
    assert episode.execution_id == expected


def test_the_custom_status_is_carried_over_until_it_is_replaced() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        if context.get_input() == 1:
            context.set_custom_status("old")
            context.continue_as_new(2)
        else:
            yield context.call_activity("a")

    bench = OrchestrationBench(orchestrator)

    bench.start(1)
    assert bench.custom_status == '"old"'
    bench.forget()
    bench.complete(0)

    assert bench.custom_status == '"old"'


def test_events_after_the_decision_are_carried_over() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        first = yield context.wait_for_external_event("go")
        if context.get_input() is None:
            context.continue_as_new([first])
        else:
            return [*context.get_input(), first]

    bench = OrchestrationBench(orchestrator)
    bench.start()

    episode = bench.deliver(bench.raised("go", 1), bench.raised("go", 2))

    assert [type(event) for event in episode.opening].count(EventRaised) == 1
    assert bench.output == [1, 2]


def holding(save_events: bool) -> Any:
    def orchestrator(context: OrchestrationContext) -> Any:
        if context.get_input() == "second":
            return (yield context.wait_for_external_event("note"))
        yield context.wait_for_external_event("go")
        context.continue_as_new("second", save_events=save_events)

    return orchestrator


def test_events_that_nobody_waited_for_are_dropped() -> None:
    bench = OrchestrationBench(holding(False))
    bench.start()
    bench.raise_event("note", 1)

    bench.raise_event("go")

    assert bench.status == "Running"


def test_events_that_nobody_waited_for_can_be_saved() -> None:
    bench = OrchestrationBench(holding(True))
    bench.start()
    bench.raise_event("note", 1)

    bench.raise_event("go")

    assert bench.output == 1


def test_what_is_decided_afterwards_is_dropped() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        if context.get_input() == 2:
            return "second"
        context.continue_as_new(2)
        assert context.will_continue_as_new
        context.signal_entity(EntityId("counter", "a"), "add", 1)
        yield context.call_activity("dropped")

    bench = OrchestrationBench(orchestrator)

    episode = bench.start(1)

    assert (episode.activities, episode.messages) == ((), ())
    assert bench.output == "second"


def test_code_after_it_runs_on_over_ended_tasks() -> None:
    seen = []

    def orchestrator(context: OrchestrationContext) -> Any:
        if context.get_input() == 2:
            return "second"
        task = context.call_activity("a")
        yield task
        context.continue_as_new(2)
        seen.append((yield task))
        yield context.call_activity("never")
        seen.append("never")

    bench = OrchestrationBench(orchestrator)
    bench.start(1)

    bench.complete(0, "value")

    assert seen == ["value"]
    assert bench.output == "second"


def test_a_failure_in_the_same_episode_wins() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        context.continue_as_new(2)
        raise ValueError("wins")

    bench = OrchestrationBench(orchestrator)

    bench.start(1)

    assert (bench.status, bench.output) == ("Failed", "Orchestrator function 'orchestrator' failed: wins")


def test_open_tasks_finish_first_and_events_meanwhile_are_carried_over() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        if context.get_input() == 2:
            return (yield context.wait_for_external_event("note"))
        yield context.task_any([context.call_activity("slow"), context.call_activity("fast")])
        context.continue_as_new(2)

    bench = OrchestrationBench(orchestrator)
    bench.start(1)
    waiting = bench.complete(1)
    bench.raise_event("note", "kept")
    bench.forget()

    ending = bench.complete(0)

    assert not waiting.starts_generation
    assert ending.starts_generation
    assert bench.output == "kept"


def test_a_cancelled_timer_does_not_delay_the_next_generation() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        if context.get_input() == 2:
            return "second"
        timer = context.create_timer(timedelta(hours=1))
        assert isinstance(timer, TimerTask)
        yield context.task_any([timer, context.call_activity("a")])
        timer.cancel()
        context.continue_as_new(2)

    bench = OrchestrationBench(orchestrator)
    bench.start(1)

    episode = bench.complete(1)

    assert episode.starts_generation
    assert bench.output == "second"


def test_what_a_generation_sent_before_it_ended_leaves_with_the_episode() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        if context.get_input() == 2:
            yield context.call_activity("a")
        context.signal_entity(EntityId("counter", "a"), "add", 1)
        context.continue_as_new(2)

    bench = OrchestrationBench(orchestrator)

    episode = bench.start(1)

    assert [sent.message.target.instance_id for sent in episode.messages] == ["@counter@a"]
    assert [type(event).__name__ for event in episode.decisions] == ["TaskScheduled", "OrchestratorCompleted"]


def test_name_version_tags_and_parent_stay() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        if context.get_input() == 2:
            yield context.call_activity("a")
        context.continue_as_new(2)

    bench = OrchestrationBench(orchestrator)

    started = bench.start(1, version="7", tags={"k": "v"}).opening[1]

    assert isinstance(started, ExecutionStarted)
    assert (started.name, started.version, started.tags) == ("orchestrator", "7", {"k": "v"})


def test_generations_know_each_other_by_their_ids() -> None:
    first = ExecutionId("first")
    third = next_execution_id(next_execution_id(first))

    assert continues(third, first)
    assert not continues(first, third)
    assert not continues(first, first)
    assert not continues(None, first)


def test_an_episode_that_is_played_again_later_sends_the_same_to_entities() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        context.signal_entity(EntityId("counter", "c"), "begin")
        yield context.call_activity("a")
        context.signal_entity(EntityId("counter", "c"), "end")
        context.continue_as_new(None)

    first, again = OrchestrationBench(orchestrator), OrchestrationBench(orchestrator)
    first.start()
    again.start()
    played = first.complete(1)
    again.history.extend(played.left)  # all that was stored before the worker died
    again.forget()
    again.wait(timedelta(hours=1))

    repeated = again.complete(1)

    assert len(requests(played)) == 2
    assert requests(repeated) == requests(played)
    assert repeated.execution_id == played.execution_id


def test_an_end_that_was_stored_before_a_suspension_is_played_again_as_it_was() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        if context.get_input() == 2:
            yield context.call_entity(EntityId("counter", "c"), "add", 1)
        context.continue_as_new(2)

    first, again = OrchestrationBench(orchestrator), OrchestrationBench(orchestrator)
    played = first.start(1)
    again.history.extend(played.left)  # all that was stored before the worker died; the request was sent
    again.forget()
    again.wait(timedelta(minutes=1))
    again.suspend()
    again.wait(timedelta(minutes=1))

    repeated = again.resume()

    assert len(requests(played)) == 1
    assert requests(repeated) == requests(played)


def collecting(context: OrchestrationContext) -> Any:
    got = context.get_input() or []
    got = [*got, (yield context.wait_for_external_event("item"))]
    context.continue_as_new(got, save_events=True)


def noted(episode: Episode) -> int:
    """How many messages the next generation is told of."""
    notes = [event.data for event in episode.opening if isinstance(event, GenericEvent)]
    return len(str(notes[0]).split(": ")[1].split()) if notes else 0


@pytest.mark.parametrize("generations", [1, 2])
def test_a_suspension_of_a_former_generation_that_comes_again_suspends_nothing(generations: int) -> None:
    bench = OrchestrationBench(counting)
    bench.start(generations)
    first = bench.suspend()
    suspended = next(event for event in first.opening if isinstance(event, ExecutionSuspended))
    bench.resume()
    for _ in range(generations):
        bench.complete(0)
    bench.forget()

    bench.live.play([bench.message(suspended, dequeue_count=2)], lambda: bench.time)

    assert bench.status == "Running"
    bench.wait(timedelta(seconds=1))
    assert bench.suspend().opening, "another one counts"
    assert bench.status == "Suspended"


def test_an_event_of_a_former_generation_that_comes_again_is_taken_once() -> None:
    bench = OrchestrationBench(collecting)
    bench.start()
    one = bench.raised("item", "one")
    bench.deliver(one)
    bench.wait(timedelta(seconds=1))
    bench.forget()

    again = bench.live.play([bench.message(one, dequeue_count=2)], lambda: bench.time)
    two = bench.raise_event("item", "two")

    assert [received.message.event for received in again.admission.dropped] == [one]
    started = two.opening[1]
    assert isinstance(started, ExecutionStarted)
    assert started.input is not None
    assert started.input.count("one") == 1


def test_the_events_of_all_generations_that_one_batch_has_ended_are_noted() -> None:
    bench = OrchestrationBench(collecting)
    bench.start()
    bench.raise_event("item", "zero")
    bench.wait(timedelta(seconds=1))
    one = bench.raised("item", "one")
    bench.wait(timedelta(seconds=1))
    bench.deliver(one, bench.raised("item", "two"))
    bench.forget()

    again = bench.live.play([bench.message(one, dequeue_count=2)], lambda: bench.time)

    assert [received.message.event for received in again.admission.dropped] == [one]


def test_a_session_notes_what_it_began_with_and_the_newest_of_what_it_was_told() -> None:
    bench = OrchestrationBench(collecting)

    def raise_one() -> int:
        bench.wait(timedelta(milliseconds=10))
        return noted(bench.raise_event("item", "x"))

    bench.start()
    assert [raise_one() for _ in range(204)][-6:] == [199, 200, 201, 202, 202, 202]
    bench.forget()
    assert [raise_one() for _ in range(204)][-3:] == [404, 404, 404]


def test_a_batch_of_many_events_that_ends_a_generation_with_each_notes_all_of_them() -> None:
    bench = OrchestrationBench(collecting)
    bench.start()
    events = []
    for number in range(300):
        bench.wait(timedelta(microseconds=1))
        events.append(bench.raised("item", number))

    assert noted(bench.deliver(*events)) == 300


def test_an_event_whose_message_could_not_be_deleted_is_known_some_generations_later() -> None:
    bench = OrchestrationBench(collecting)
    bench.start()
    bench.raise_event("item", "zero")
    bench.wait(timedelta(seconds=1))
    one = bench.raised("item", "one")
    bench.deliver(one)
    for number in range(3):
        bench.wait(timedelta(seconds=1))
        bench.raise_event("item", number)
    bench.forget()

    again = bench.live.play([bench.message(one, dequeue_count=2)], lambda: bench.time)

    assert [received.message.event for received in again.admission.dropped] == [one]


@pytest.mark.parametrize("changed", [{"name": "item2"}, {"input": "999"}])
def test_another_event_of_the_same_moment_is_no_copy(changed: dict[str, Any]) -> None:
    bench = OrchestrationBench(collecting)
    bench.start()
    one = bench.raised("item", "one")
    bench.deliver(one)
    bench.forget()

    other = bench.live.play([bench.message(replace(one, **changed), dequeue_count=2)], lambda: bench.time)

    assert not other.admission.dropped


def test_a_generation_remembers_what_it_was_told_for_ten_minutes() -> None:
    bench = OrchestrationBench(counting)
    bench.start(2)
    bench.suspend()
    bench.resume()
    bench.wait(timedelta(minutes=5))
    remembering = bench.complete(0)
    bench.wait(timedelta(minutes=6))

    assert noted(remembering) == 2
    assert noted(bench.complete(0)) == 0


def test_a_generation_that_was_told_nothing_leaves_no_note() -> None:
    bench = OrchestrationBench(counting)
    bench.start(1)

    assert len(bench.complete(0).opening) == 3


def test_answers_of_entities_are_not_noted_because_they_name_their_generation() -> None:
    def asking(context: OrchestrationContext) -> Any:
        yield context.call_entity(EntityId("counter", "c"), "get")
        context.continue_as_new(None)

    bench = OrchestrationBench(asking)
    (request,) = requests(bench.start())
    asked = CODEC.read_request(request or "")

    episode = bench.deliver(EventRaised(timestamp=bench.time, name=asked.request_id, input='{"result":"1"}'))

    assert episode.starts_generation
    assert noted(episode) == 0


def test_a_store_that_delivers_once_has_nothing_to_remember() -> None:
    bench = OrchestrationBench(counting, options=ReplayOptions(deliver_in_order=True))
    bench.start(1)
    bench.suspend()
    bench.resume()

    assert noted(bench.complete(0)) == 0
