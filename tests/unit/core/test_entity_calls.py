"""Entities from orchestrators: calls, signals, locks."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from support.orchestration_bench import AZURE_TIMERS, CODEC, START, OrchestrationBench, at, kinds

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import EntityRequest, EntityResponse
from durable_ext.core.episode import Episode
from durable_ext.core.events import EventRaised, EventSent, ExecutionStarted, GenericEvent
from durable_ext.core.rewind import plan_rewind, rewound

A, B = EntityId("Counter", "a"), EntityId("Counter", "b")


def requests_of(episode: Episode) -> list[EntityRequest]:
    return [
        CODEC.read_request(sent.message.event.input or "")
        for sent in episode.messages
        if isinstance(sent.message.event, EventRaised) and sent.message.event.name.startswith("op")
    ]


def answer(bench: OrchestrationBench, request: EntityRequest, **fields: Any) -> Episode:
    text = CODEC.response_text(EntityResponse(**fields))
    return bench.deliver(EventRaised(timestamp=bench.time, name=request.request_id, input=text))


def calling(*arguments: Any, **named: Any) -> Any:
    return lambda context: (yield context.call_entity(A, *arguments, **named))


def test_a_call_is_an_event_to_the_entity_and_its_answer_the_result() -> None:
    bench = OrchestrationBench(calling("add", 5))

    episode = bench.start()
    (request,) = requests_of(episode)
    answer(bench, request, result="12")

    (sent,) = episode.messages
    assert kinds(episode) == [("EventSent", 0)]
    assert (sent.message.target.instance_id, sent.message.target.execution_id) == ("@counter@a", None)
    assert (request.operation, request.input, request.parent, request.parent_execution) == ("add", '"5"', "abc123", "first")
    assert bench.output == 12


def test_an_answer_finds_its_call_after_a_reload() -> None:
    bench = OrchestrationBench(calling("get"))
    (request,) = requests_of(bench.start())
    bench.forget()

    answer(bench, request, result="1")

    assert bench.output == 1


def recorded_by_another_rule(bench: OrchestrationBench, request: EntityRequest) -> EntityRequest:
    """Give a request another id in history, and forget what was in memory."""
    foreign = replace(request, request_id="11111111-2222-5333-8444-555555555555")
    bench.history = [
        replace(event, input=CODEC.request_text(foreign, typed=True)) if isinstance(event, EventSent) else event
        for event in bench.history
    ]
    bench.forget()
    return foreign


def test_the_request_id_that_history_has_counts() -> None:
    bench = OrchestrationBench(calling("get"))
    (request,) = requests_of(bench.start())
    foreign = recorded_by_another_rule(bench, request)

    answer(bench, foreign, result="1")

    assert bench.output == 1


def test_the_lock_that_is_given_back_is_the_one_that_history_has() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        with (yield context.lock_entities([A])):
            yield context.call_activity("inside")
        return "done"

    bench = OrchestrationBench(orchestrator)
    (request,) = requests_of(bench.start())
    foreign = recorded_by_another_rule(bench, request)
    answer(bench, foreign, result='"x"')

    (release,) = bench.complete(1).messages

    assert CODEC.read_release(release.message.event.input or "").lock_request_id == foreign.request_id  # type: ignore[attr-defined]


def test_a_recorded_request_that_cannot_be_read_is_left_alone() -> None:
    bench = OrchestrationBench(calling("get"))
    (request,) = requests_of(bench.start())
    bench.history = [replace(event, input="nonsense") if isinstance(event, EventSent) else event for event in bench.history]
    bench.forget()

    answer(bench, request, result="1")

    assert bench.output == 1


def test_no_result_is_none() -> None:
    bench = OrchestrationBench(calling("get"))
    (request,) = requests_of(bench.start())

    answer(bench, request)

    assert (bench.status, bench.output) == ("Completed", None)


def test_a_result_becomes_the_expected_type() -> None:
    bench = OrchestrationBench(
        lambda context: isinstance((yield context.call_entity(A, "get", None, tuple[int, int])), tuple)
    )
    (request,) = requests_of(bench.start())

    answer(bench, request, result="[1,2]")

    assert bench.output is True


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ({"result": '"no such thing"', "exception_type": "Error"}, "no such thing"),
        ({"result": "Timeout value of 00:05:00 exceeded"}, "Timeout value of 00:05:00 exceeded"),
    ],
)
def test_a_failed_operation_raises_its_message(response: dict[str, Any], text: str) -> None:
    bench = OrchestrationBench(calling("zap"))
    (request,) = requests_of(bench.start())

    answer(bench, request, **response)

    assert bench.output == f"Orchestrator function 'orchestrator' failed: {text}"


def test_a_structured_failure_raises_its_message() -> None:
    bench = OrchestrationBench(calling("zap"))
    (request,) = requests_of(bench.start())
    text = '{"result":null,"failureDetails":{"ErrorType":"E","ErrorMessage":"structured"}}'

    bench.deliver(EventRaised(timestamp=bench.time, name=request.request_id, input=text))

    assert bench.output == "Orchestrator function 'orchestrator' failed: structured"


def test_an_answer_that_cannot_be_read_fails_the_call() -> None:
    bench = OrchestrationBench(calling("get"))
    (request,) = requests_of(bench.start())

    bench.deliver(EventRaised(timestamp=bench.time, name=request.request_id, input="nonsense"))

    assert bench.status == "Failed"


def test_a_result_that_cannot_be_decoded_fails_the_call() -> None:
    bench = OrchestrationBench(calling("get"))
    (request,) = requests_of(bench.start())

    answer(bench, request, result="{")

    assert bench.status == "Failed"


def test_an_instance_ends_without_the_answers_of_calls_it_abandoned() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield context.task_any([context.call_entity(A, "slow"), context.call_activity("a")])
        return "ended"

    bench = OrchestrationBench(orchestrator)
    bench.start()

    bench.complete(1)

    assert bench.output == "ended"


def test_the_same_call_can_be_yielded_twice() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        call = context.call_entity(A, "get")
        yield context.task_any([call, context.call_activity("a")])
        return (yield call)

    bench = OrchestrationBench(orchestrator)
    (request,) = requests_of(bench.start())
    bench.complete(1)

    answer(bench, request, result="3")

    assert bench.output == 3


def test_requests_to_one_entity_are_stamped_one_after_the_other() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        context.signal_entity(A, "add", 1)
        context.signal_entity(A, "add", 2)
        context.signal_entity(B, "add", 3)

    first, second, other = requests_of(OrchestrationBench(orchestrator).start())

    assert (first.timestamp.ticks, first.predecessor.ticks) == (START, 0)
    assert (second.timestamp.ticks, second.predecessor) == (START + 1, first.timestamp)
    assert (other.timestamp.ticks, other.predecessor.ticks) == (START, 0)


def test_stores_that_deliver_in_order_need_no_stamps() -> None:
    bench = OrchestrationBench(calling("get"), options=replace(AZURE_TIMERS, deliver_in_order=True))

    (request,) = requests_of(bench.start())

    assert request.timestamp.ticks == 0


def test_a_signal_goes_out_at_once_and_yielding_it_goes_on() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        return (yield context.signal_entity(A, "add", 1))

    bench = OrchestrationBench(orchestrator)

    episode = bench.start()

    (request,) = requests_of(episode)
    assert request.is_signal
    assert kinds(episode) == [("EventSent", 0), ("ExecutionCompleted", 1)]


def test_a_delayed_signal_names_its_time_and_has_no_stamps() -> None:
    due = datetime(2024, 1, 1, 2, tzinfo=timezone.utc)
    bench = OrchestrationBench(lambda context: context.signal_entity(A, "add", 1, signal_time=due) and None)

    episode = bench.start()

    (sent,) = episode.messages
    (request,) = requests_of(episode)
    assert sent.due == request.due == at(START, hours=2)
    assert sent.message.event.name == "op@2024-01-01T02:00:00.0000000Z"  # type: ignore[attr-defined]
    assert request.timestamp.ticks == 0


def test_a_signal_that_is_due_too_late_for_the_hub_hops() -> None:
    due = datetime(2025, 1, 1, tzinfo=timezone.utc)
    bench = OrchestrationBench(lambda context: context.signal_entity(A, "add", 1, signal_time=due) and None)

    episode = bench.start()

    (request,) = requests_of(episode)
    assert episode.messages[0].due == at(START, days=3)
    assert request.due == at(START, days=366)


@pytest.mark.parametrize("method", ["call_entity", "signal_entity"])
def test_an_entity_id_is_needed(method: str) -> None:
    bench = OrchestrationBench(lambda context: getattr(context, method)(None, "add"))

    bench.start()

    assert str(bench.output).endswith("entity_id cannot be empty")


@pytest.mark.parametrize("method", ["call_entity", "signal_entity"])
def test_an_entity_that_is_not_registered_fails_the_instance_at_once(method: str) -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield getattr(context, method)(A, "add")

    bench = OrchestrationBench(orchestrator, entity_names=["other"])

    bench.start()

    assert "The function 'counter' doesn't exist, is disabled, or is not an entity function." in str(bench.output)


def test_a_registered_entity_is_found_in_any_case() -> None:
    bench = OrchestrationBench(calling("get"), entity_names=["COUNTER"])

    assert kinds(bench.start()) == [("EventSent", 0)]


# Locks.


def critical(context: OrchestrationContext) -> Any:
    with (yield context.lock_entities([B, A])):
        value = yield context.call_entity(A, "get")
        yield context.call_activity("inside")
    yield context.call_activity("outside")
    return value


def test_a_lock_request_goes_to_the_first_entity_with_the_whole_set() -> None:
    bench = OrchestrationBench(critical)

    (request,) = requests_of(bench.start())

    assert request.is_lock
    assert [entity.instance_id for entity in request.lock_set or ()] == ["@counter@a", "@counter@b"]
    assert bench.episodes[0].messages[0].message.target.instance_id == "@counter@a"


def test_leaving_the_section_releases_every_entity() -> None:
    bench = OrchestrationBench(critical)
    (lock,) = requests_of(bench.start())
    (call,) = requests_of(answer(bench, lock, result='"Lock Acquisition Completed"'))
    answer(bench, call, result="5")
    bench.forget()

    episode = bench.complete(2)
    bench.complete(5)

    assert kinds(episode) == [("EventSent", 3), ("EventSent", 4), ("TaskScheduled", 5)]
    assert [sent.message.event.name for sent in episode.messages] == ["release", "release"]  # type: ignore[attr-defined]
    assert bench.output == 5


def test_locks_are_released_when_the_orchestrator_ends() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        lock = yield context.lock_entities([A])
        assert [entity.key for entity in lock.lock_set] == ["a"]

    bench = OrchestrationBench(orchestrator)
    (lock,) = requests_of(bench.start())

    episode = answer(bench, lock, result='"x"')

    assert [type(event).__name__ for event in episode.decisions[:-1]] == ["EventSent", "ExecutionCompleted"]


def test_locks_are_released_when_the_instance_is_terminated() -> None:
    bench = OrchestrationBench(critical)
    (lock,) = requests_of(bench.start())
    answer(bench, lock, result='"x"')

    episode = bench.terminate()

    assert [sent.message.event.name for sent in episode.messages] == ["release", "release"]  # type: ignore[attr-defined]
    assert bench.status == "Terminated"


def test_what_was_asked_for_and_not_granted_is_given_up_at_the_end_too() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield context.task_any([context.lock_entities([A, B]), context.create_timer(timedelta(minutes=1))])

    bench = OrchestrationBench(orchestrator)
    (lock,) = requests_of(bench.start())

    episode = bench.fire(1)

    assert [sent.message.target.instance_id for sent in episode.messages] == ["@counter@a", "@counter@b"]
    texts = [CODEC.read_release(sent.message.event.input or "") for sent in episode.messages]  # type: ignore[attr-defined]
    assert {text.lock_request_id for text in texts} == {lock.request_id}
    assert bench.status == "Completed"


def test_a_lock_that_was_released_before_releases_nothing_of_a_later_section() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        first = yield context.lock_entities([A])
        first.release()
        with (yield context.lock_entities([B])):
            first.release()
            yield context.call_activity("inside")

    bench = OrchestrationBench(orchestrator)
    (lock,) = requests_of(bench.start())
    second = answer(bench, lock, result='"x"')
    (lock,) = [request for request in requests_of(second) if request.is_lock]

    assert kinds(answer(bench, lock, result='"x"')) == [("TaskScheduled", 3)]


def test_forgetting_an_instance_inside_a_section_releases_nothing() -> None:
    bench = OrchestrationBench(critical)
    (lock,) = requests_of(bench.start())
    (call,) = requests_of(answer(bench, lock, result='"x"'))

    bench.forget()
    episode = answer(bench, call, result="5")

    assert kinds(episode) == [("TaskScheduled", 2)]


@pytest.mark.parametrize(
    ("inside", "text"),
    [
        (lambda context: context.lock_entities([B]), "Cannot acquire more locks when already holding some locks."),
        (lambda context: context.call_sub_orchestrator("x"), "While holding locks, cannot call suborchestrators."),
        (lambda context: context.call_entity(B, "get"), "While holding locks, cannot call entities whose lock is not held."),
        (lambda context: context.signal_entity(A, "get"), "While holding locks, cannot signal entities whose lock is held."),
    ],
)
def test_what_would_dead_lock_is_refused_inside_a_section(inside: Any, text: str) -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        with (yield context.lock_entities([A])):
            yield inside(context)

    bench = OrchestrationBench(orchestrator)
    (lock,) = requests_of(bench.start())

    answer(bench, lock, result='"x"')

    assert str(bench.output).endswith(text)


def test_the_same_lock_can_be_yielded_twice() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        lock = context.lock_entities([A])
        yield context.task_any([lock, context.create_timer(timedelta(minutes=1))])
        with (yield lock):
            pass
        yield context.call_activity("a")

    bench = OrchestrationBench(orchestrator)
    (lock,) = requests_of(bench.start())
    bench.fire(1)

    episode = answer(bench, lock, result='"x"')

    assert kinds(episode) == [("EventSent", 2), ("TaskScheduled", 3)]


def test_more_signals_than_allowed_fail_the_instance() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        for _ in range(3):
            context.signal_entity(A, "add")
        yield context.call_activity("a")

    bench = OrchestrationBench(orchestrator, options=replace(AZURE_TIMERS, max_actions=2))

    bench.start()

    assert "(2) has been reached" in str(bench.output)


def test_a_call_waits_under_the_id_of_its_request_until_it_is_answered() -> None:
    seen: list[list[str]] = []

    def orchestrator(context: OrchestrationContext) -> Any:
        entities = context._replay.entities
        call = context.call_entity(A, "get")
        yield context.task_any([call, context.create_timer(timedelta(seconds=1))])
        seen.append([request_id for request_id, task in entities.waiting.items() if task is call])
        yield call
        seen.append(list(entities.waiting))

    bench = OrchestrationBench(orchestrator)
    [request] = requests_of(bench.start())
    bench.fire(1)

    answer(bench, request, result="7")

    assert seen == [[request.request_id], []]


def rewound_bench(first: OrchestrationBench, function: Any) -> OrchestrationBench:
    """Return a bench with this history as a rewind leaves it."""
    bench = OrchestrationBench(function)
    bench.history.extend(rewound(first.history, plan_rewind(first.history).neutralized))
    bench.forget()
    return bench


def test_a_lock_after_a_step_that_had_failed_is_an_ordinary_request() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield context.call_activity("fails")
        yield context.lock_entities([A])

    first = OrchestrationBench(orchestrator)
    first.start()
    first.fail(0)
    bench = rewound_bench(first, orchestrator)
    bench.deliver(GenericEvent(timestamp=bench.time, data="rewound"))

    (lock,) = requests_of(bench.complete(0))

    assert lock.timestamp.ticks


def test_a_lock_that_a_rewind_has_undone_is_asked_for_by_another_request_that_nothing_waits_for() -> None:
    first = OrchestrationBench(critical)
    (undone,) = requests_of(first.start())
    again = rewound_bench(first, critical)

    (lock,) = requests_of(again.deliver(GenericEvent(timestamp=again.time, data="rewound")))
    (call,) = requests_of(answer(again, lock, result='"x"'))

    assert undone.timestamp.ticks
    assert lock.request_id != undone.request_id
    assert (lock.timestamp.ticks, call.predecessor.ticks) == (0, 0)


@pytest.mark.parametrize("is_reloaded", [False, True])
def test_a_call_that_a_rewind_has_undone_is_another_one_and_hears_only_its_own_answer(is_reloaded: bool) -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        found = yield context.call_entity(A, "get")
        context.continue_as_new(found, save_events=True)

    first = OrchestrationBench(orchestrator)
    (undone,) = requests_of(first.start())
    bench = rewound_bench(first, orchestrator)
    (call,) = requests_of(bench.deliver(GenericEvent(timestamp=bench.time, data="rewound")))
    if is_reloaded:
        bench.forget()

    answer(bench, undone, result="1")
    assert not bench.live.state.is_terminal
    answer(bench, call, result="2")

    assert (call.operation, call.timestamp.ticks) == ("get", 0)
    assert call.request_id != undone.request_id
    started = next(event for event in bench.history if isinstance(event, ExecutionStarted))
    assert started.input == '"2"'
    assert not [event for event in bench.history if isinstance(event, EventRaised)]
