"""LiveEntity: a work item in, one commit out (specs/execution-semantics.md 12.2, specs/azure-storage.md 10.3-10.6)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from support.entity_bench import CODEC, EntityBench, call, lock, raised, sent, signal

from durable_ext.core.entities.context import EntityContext
from durable_ext.core.entities.definitions import EntityOptions, missing_entity
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.live import EntityEpisode
from durable_ext.core.entities.messages import (
    NO_STAMP,
    EntityRequest,
    EntityStatus,
    RecentBatch,
    Stamp,
    delayed_event_name,
)
from durable_ext.core.events import (
    EventRaised,
    ExecutionStarted,
    ExecutionTerminated,
    OrchestrationStatus,
    OrchestratorCompleted,
    OrchestratorStarted,
)
from durable_ext.core.messages import (
    ExecutionId,
    InstanceId,
    OrchestrationInstance,
    ParentInstance,
    ReceivedMessage,
    TaskMessage,
)
from durable_ext.core.timestamps import Ticks, ticks_add, ticks_from_iso


def test_a_generation_is_three_events_with_the_state_as_input() -> None:
    bench = EntityBench()

    episode = bench.run(signal("add", 5))

    assert [type(event) for event in episode.new_events] == [OrchestratorStarted, ExecutionStarted, OrchestratorCompleted]
    started = episode.new_events[1]
    assert isinstance(started, ExecutionStarted)
    assert started.name == "@counter@one"
    assert started.instance.execution_id == episode.execution_id
    assert started.input is not None
    assert started.input.startswith('{"exists":true,"state":"5","sorter":{}')


def test_the_row_is_running_and_shows_state_and_status() -> None:
    bench = EntityBench()

    row = bench.run(signal("add", 5)).instance

    assert row is not None
    assert row.status is OrchestrationStatus.RUNNING
    assert row.custom_status == '{"entityExists":true}'
    assert row.created_at == bench.now


def test_operations_of_one_work_item_run_in_order_on_one_state() -> None:
    bench = EntityBench()

    episode = bench.run(signal("add", 5), signal("delete"), signal("add", 2), call("get"))

    assert bench.state == "2"
    assert [text for _, _, text in sent(episode)] == [CODEC.response_text(CODEC.read_response('{"result":"2"}'))]


def test_a_signal_gets_no_answer_and_a_call_gets_one_addressed_to_the_callers_execution() -> None:
    bench = EntityBench()
    request = call("add", 4)

    episode = bench.run(signal("add", 3), request)

    (answer,) = episode.messages
    assert answer.message.target == OrchestrationInstance(
        instance_id=InstanceId("caller"), execution_id=ExecutionId("caller-execution")
    )
    assert isinstance(answer.message.event, EventRaised)
    assert answer.message.event.name == request.request_id
    assert CODEC.read_response(answer.message.event.input or "").result == "7"


def test_a_failed_operation_answers_with_its_message_and_leaves_no_trace() -> None:
    bench = EntityBench()

    episode = bench.run(signal("add", 5), call("boom"), signal("add", 1))

    assert bench.state == "6"
    response = CODEC.read_response(sent(episode)[0][2] or "")
    assert (response.result, response.exception_type) == ('"boom"', "Error")


def test_without_rollback_what_a_failed_operation_did_stays() -> None:
    bench = EntityBench(rollback=False)

    bench.run(signal("add", 5), signal("boom"))

    assert bench.state == "105"


def test_rollback_undoes_changes_in_place() -> None:
    def append(context: EntityContext) -> None:
        items = context.get_state(list)
        items.append(context.get_input())
        context.set_state(items)
        if context.get_input() == "bad":
            raise ValueError("bad")

    bench = EntityBench(append)

    bench.run(signal("append", "a"), signal("append", "bad"), signal("append", "b"))

    assert bench.state == '["a", "b"]'


def test_a_failed_operation_sends_nothing_with_rollback() -> None:
    def tell(context: EntityContext) -> None:
        context.signal_entity(EntityId("Other", "x"), "add", 1)
        raise ValueError("no")

    bench = EntityBench(tell)

    assert sent(bench.run(signal("tell"))) == []


def test_a_deleted_entity_leaves_an_empty_state() -> None:
    bench = EntityBench(options=EntityOptions(deliver_in_order=True))

    bench.run(signal("add", 5), signal("delete"))

    started = bench.history[1]
    assert isinstance(started, ExecutionStarted)
    assert started.input == '{"sorter":{}}'
    assert bench.status == EntityStatus()


def test_a_state_that_cannot_be_serialized_fails_the_operation_and_keeps_the_old_one() -> None:
    def spoil(context: EntityContext) -> None:
        context.set_state({1, 2} if context.operation_name == "spoil" else 7)

    bench = EntityBench(spoil)

    episode = bench.run(signal("set"), call("spoil"))

    assert bench.state == "7"
    assert "does not expose a `to_json` function" in (CODEC.read_response(sent(episode)[0][2] or "").result or "")


def test_without_rollback_a_state_that_cannot_be_serialized_fails_the_whole_batch() -> None:
    def spoil(context: EntityContext) -> None:
        context.set_state({1, 2} if context.operation_name == "spoil" else 7)

    bench = EntityBench(spoil, rollback=False)

    episode = bench.run(call("set"), call("spoil"))

    assert bench.state is None
    assert all(CODEC.read_response(text or "").is_failure for _, _, text in sent(episode))


def test_a_result_that_cannot_be_serialized_fails_the_operation() -> None:
    bench = EntityBench(lambda context: b"bytes")

    episode = bench.run(call("get"))

    assert CODEC.read_response(sent(episode)[0][2] or "").is_failure


def test_what_the_function_returns_is_the_result_if_it_set_none() -> None:
    bench = EntityBench(lambda context: "returned" if context.operation_name == "plain" else context.set_result("set"))

    episode = bench.run(call("plain"), call("set"))

    assert [CODEC.read_response(text or "").result for _, _, text in sent(episode)] == ['"returned"', '"set"']


def test_all_operations_of_an_entity_that_is_not_registered_fail_with_the_known_names() -> None:
    bench = EntityBench(missing_entity("Nobody", ["Counter"]).function)

    episode = bench.run(call("get"))

    result = CODEC.read_response(sent(episode)[0][2] or "").result or ""
    assert "The function 'Nobody' doesn't exist" in result
    assert "Counter" in result


def test_a_time_out_fails_every_operation_with_plain_text_and_changes_nothing() -> None:
    bench = EntityBench()
    bench.run(signal("add", 5))
    batch = bench.entity.begin([bench.received(call("add", 1)), bench.received(call("add", 2))], lambda: bench.now)
    batch.open(batch.operations[0]).set_state(99)

    batch.fail_all("Timeout value of 00:05:00 exceeded by function 'counter'.")
    episode = bench.entity.commit(batch, lambda: bench.now)

    assert [CODEC.read_response(text or "").result for _, _, text in sent(episode)] == [
        "Timeout value of 00:05:00 exceeded by function 'counter'."
    ] * 2
    assert episode.new_events[1].input.startswith('{"exists":true,"state":"5"')  # type: ignore[attr-defined]


def test_a_batch_cannot_be_committed_with_an_operation_left_over() -> None:
    bench = EntityBench()
    batch = bench.entity.begin([bench.received(signal("add", 1))], lambda: bench.now)

    with pytest.raises(RuntimeError, match="0 of 1"):
        bench.entity.commit(batch, lambda: bench.now)


def test_a_batch_limit_suspends_the_entity_and_sends_it_a_continue_message() -> None:
    bench = EntityBench(options=EntityOptions(max_batch=2, deliver_in_order=True))

    episode = bench.run(*(signal("add", number) for number in (1, 2, 4, 8, 16)))

    assert sent(episode) == [("@counter@one", "continue", None)]
    assert bench.state == "3"
    assert bench.stored.suspended
    assert episode.instance is not None
    assert episode.instance.custom_status == '{"entityExists":true,"queueSize":3}'


def test_a_continue_message_lets_a_suspended_entity_go_on() -> None:
    bench = EntityBench(options=EntityOptions(max_batch=2))
    bench.run(*(signal("add", number) for number in (1, 2, 4)))

    bench.run(EventRaised(timestamp=bench.now, name="continue"))

    assert bench.state == "7"
    assert not bench.stored.suspended


def test_a_suspended_entity_only_queues() -> None:
    bench = EntityBench(options=EntityOptions(max_batch=1))
    bench.run(signal("add", 1), signal("add", 2))

    bench.run(signal("add", 4))

    assert bench.state == "1"
    assert len(bench.stored.queue) == 2


def test_a_lost_continue_message_counts_as_come_after_ten_seconds() -> None:
    bench = EntityBench(options=EntityOptions(max_batch=1))
    bench.run(signal("add", 1), signal("add", 2))
    bench.later(timedelta(seconds=11))

    bench.run(signal("add", 4))

    assert bench.state == "3"


# What is stored before anything is sent.


def test_what_answers_is_stored_waiting_before_its_answer_is_sent() -> None:
    bench = EntityBench()
    bench.run(signal("add", 1))
    asked = call("add", 2)

    episode = bench.run(signal("add", 4), asked)

    assert episode.opening is not None
    assert (episode.opening.messages, episode.opening.instance, episode.opening.starts_generation) == ((), None, True)
    bench.history = episode.opening.new_events
    assert (bench.state, [request.operation for request in bench.stored.queue]) == ("1", ["add", "add"])
    bench.reload()
    again = bench.run(asked, call("add", 100))
    assert sent(again)[0] == sent(episode)[0], "as if it were still the first: what came meanwhile runs later"
    assert bench.state == "107"


def test_what_sends_nothing_is_stored_once() -> None:
    bench = EntityBench()

    assert bench.run(signal("add", 4), signal("add", 5)).opening is None


def test_what_waited_in_the_queue_anyway_is_not_stored_again_before_it_runs() -> None:
    bench = EntityBench()
    bench.run(call("add", 1), call("add", 2), at_most=1)

    episode = bench.run(EventRaised(timestamp=bench.now, name="continue"), at_most=1)

    assert len(sent(episode)) == 2, "an answer, and its own continue message"
    assert episode.opening is None


def test_a_store_that_commits_and_sends_at_once_needs_no_opening() -> None:
    bench = EntityBench(options=EntityOptions(deliver_in_order=True))

    assert bench.run(call("add", 4)).opening is None


# What comes twice.


def test_a_signal_of_a_client_that_comes_again_in_another_session_counts_once() -> None:
    bench = EntityBench()
    request = signal("add", 5)
    bench.run(request)
    bench.reload()

    episode = bench.run(request, signal("add", 1))

    assert bench.state == "6"
    assert episode.starts_generation


def test_a_message_that_comes_again_repairs_the_row_on_a_store_that_writes_it_apart() -> None:
    bench = EntityBench(options=EntityOptions(deliver_in_order=False))
    request = signal("add", 5)
    stored = bench.run(request)
    bench.reload()

    episode = bench.run(request)

    assert stored.instance is not None
    assert episode.instance is not None
    assert (episode.new_events, episode.messages, episode.instance.input) == ((), (), stored.instance.input)
    assert episode.instance.execution_id == stored.execution_id


def test_a_signal_that_changes_nothing_writes_nothing_on_a_store_that_delivers_in_order() -> None:
    bench = EntityBench(options=EntityOptions(deliver_in_order=True))
    bench.run(signal("add", 5))

    episode = bench.run(signal("get"))

    assert (episode.new_events, episode.messages, episode.instance) == ((), (), None)


def test_a_signal_that_waits_in_the_queue_is_not_queued_twice() -> None:
    bench = EntityBench()
    request = signal("add", 5)
    bench.run(lock("owner", "one"), request)
    bench.reload()

    bench.run(request)

    assert len(bench.stored.queue) == 1


def test_a_call_of_an_orchestration_that_comes_again_counts_once() -> None:
    bench = EntityBench()
    request = call("add", 5, timestamp=Stamp(bench.now))
    bench.run(request)
    bench.reload()

    bench.run(request)

    assert bench.state == "5"


def test_requests_are_forgotten_ten_minutes_after_their_session() -> None:
    bench = EntityBench()
    bench.run(signal("add", 5))
    bench.reload()
    bench.later(timedelta(minutes=11))

    bench.run(signal("add", 1))

    assert [len(batch.ids) for batch in bench.stored.recent] == [1]


def test_a_busy_session_does_not_remember_more_than_some_hundred_requests() -> None:
    bench = EntityBench()

    for _ in range(50):
        bench.run(*(signal("add", 1) for _ in range(10)))

    assert sum(len(batch.ids) for batch in bench.stored.recent) <= 210


def test_a_store_that_delivers_once_needs_no_memory_of_requests() -> None:
    bench = EntityBench(options=EntityOptions(deliver_in_order=True))

    bench.run(signal("add", 5), call("add", 1, timestamp=Stamp(bench.now)))

    assert bench.stored.recent == ()
    assert bench.history[1].input == '{"exists":true,"state":"6","sorter":{}}'  # type: ignore[attr-defined]


def test_what_an_operation_sends_has_the_same_id_if_the_batch_runs_again() -> None:
    def relay(context: EntityContext) -> None:
        context.signal_entity(EntityId("Other", "x"), "add", 1)

    request = signal("relay")
    first, second = EntityBench(relay).run(request), EntityBench(relay).run(request)

    ids = {CODEC.read_request(sent(episode)[0][2] or "").request_id for episode in (first, second)}
    assert len(ids) == 1


# Delays.


def delayed(request: EntityRequest, due: Ticks) -> EventRaised:
    return EventRaised(timestamp=due, name=delayed_event_name(due), input=CODEC.request_text(request, typed=False))


def test_a_delayed_signal_that_comes_early_is_sent_on_to_its_time() -> None:
    bench = EntityBench()
    due = ticks_add(bench.now, timedelta(hours=1))
    request = signal("add", 7, due=due)

    episode = bench.run(delayed(request, due))

    (message,) = episode.messages
    assert message.due == due
    assert isinstance(message.message.event, EventRaised)
    assert message.message.event.name == delayed_event_name(due)
    assert CODEC.read_request(message.message.event.input or "") == request
    assert (message.message.event.input or "").startswith('{"$type"')
    assert bench.state is None


def test_a_delay_over_the_limit_goes_in_hops() -> None:
    bench = EntityBench()
    due = ticks_add(bench.now, timedelta(days=365))
    request = signal("add", 7, due=due)

    (message,) = bench.run(delayed(request, ticks_add(bench.now, timedelta(days=3)))).messages

    assert message.due == ticks_add(bench.now, timedelta(days=3))
    assert CODEC.read_request(message.message.event.input).due == due  # type: ignore[attr-defined]


def test_a_delayed_signal_runs_at_its_time() -> None:
    bench = EntityBench()
    due = ticks_add(bench.now, timedelta(hours=1))
    bench.later(timedelta(hours=1))

    bench.run(delayed(signal("add", 7, due=due), due))

    assert bench.state == "7"


# What an operation sends.


def test_signals_to_one_entity_carry_stamps_that_follow_each_other() -> None:
    def relay(context: EntityContext) -> None:
        context.signal_entity(EntityId("Other", "x"), "add", 1)
        context.signal_entity(EntityId("Other", "x"), "add", 2)

    bench = EntityBench(relay)

    first, second = (CODEC.read_request(text or "") for _, _, text in sent(bench.run(signal("relay"))))

    assert first.timestamp == Stamp(bench.now)
    assert second.predecessor == first.timestamp
    assert second.timestamp == Stamp(bench.now + 1, False)
    assert (first.parent, first.parent_execution) == ("@counter@one", None)


def test_the_input_of_a_signal_is_text_in_a_json_string_like_that_of_every_sdk_call() -> None:
    def relay(context: EntityContext) -> None:
        context.signal_entity(EntityId("Other", "x"), "add", {"n": 1})

    ((_, _, text),) = sent(EntityBench(relay).run(signal("relay")))

    assert CODEC.read_request(text or "").input == '"{\\"n\\": 1}"'


def test_an_entity_can_start_an_orchestration_that_does_not_report_back() -> None:
    started: list[str] = []

    def begin(context: EntityContext) -> None:
        started.append(context.start_new_orchestration("Hello", 5))

    (message,) = EntityBench(begin).run(signal("begin")).messages

    event = message.message.event
    assert isinstance(event, ExecutionStarted)
    assert (event.name, event.input, event.instance.instance_id) == ("Hello", '"5"', started[0])
    assert event.parent is not None
    assert event.parent.instance.instance_id == "@counter@one"
    assert "FireAndForget" in (event.tags or {})
    assert message.message.tags == {}  # those of the entity that sends it


def test_a_start_that_is_sent_again_after_a_crash_names_the_same_parent_and_another_start_another() -> None:
    def begin(context: EntityContext) -> None:
        context.start_new_orchestration("Hello", 5, instance_id="child")

    bench = EntityBench(begin)
    bench.run(signal("begin"))
    first = bench.run(signal("begin"), signal("begin"))
    assert first.opening is not None
    bench.history = first.opening.new_events
    bench.reload()

    again = bench.run(signal("begin"))

    def parents(episode: EntityEpisode) -> list[ParentInstance | None]:
        events = [message.message.event for message in episode.messages]
        return [event.parent for event in events if isinstance(event, ExecutionStarted)]

    assert parents(again)[:2] == parents(first)
    assert len(set(map(str, parents(again)))) == 3


def test_what_a_newer_worker_has_added_to_the_state_is_kept() -> None:
    started = ExecutionStarted(
        timestamp=EntityBench().now,
        instance=OrchestrationInstance(instance_id=InstanceId("@counter@one"), execution_id=ExecutionId("old")),
        name="@counter@one",
        input='{"exists":true,"state":"5","sorter":{},"novelty":[1]}',
    )
    bench = EntityBench(history=(started,))

    bench.run(signal("add", 1))
    bench.reload()
    bench.run(signal("add", 1))

    assert bench.state == "7"
    assert bench.stored.foreign == (("novelty", "[1]"),)


# Strange messages.


def test_a_payload_that_is_no_request_is_dropped_and_reported() -> None:
    bench = EntityBench()

    bench.run(EventRaised(timestamp=bench.now, name="op", input="[]"), signal("add", 1))

    assert bench.state == "1"
    assert bench.batch is not None
    assert len(bench.batch.unreadable) == 1


def test_an_entity_cannot_be_terminated() -> None:
    bench = EntityBench()
    bench.run(signal("add", 1))
    message = TaskMessage(
        event=ExecutionTerminated(timestamp=bench.now, input="stop"),
        target=OrchestrationInstance(instance_id=bench.instance_id),
    )

    batch = bench.entity.begin([ReceivedMessage(message_id="t", message=message)], lambda: bench.now)
    episode = bench.entity.commit(batch, lambda: bench.now)

    assert not episode.starts_generation


def test_an_entity_of_another_worker_goes_on_where_it_was() -> None:
    bench = EntityBench()
    started = ExecutionStarted(
        timestamp=bench.now,
        instance=OrchestrationInstance(instance_id=bench.instance_id, execution_id=ExecutionId("dotnet")),
        name="@counter@one",
        input='{"exists":true,"state":"3","queue":[{"op":"add","signal":true,"input":"4","id":"ca566d78-ba92-47af-846d-'
        '1d497b0fe23d","Timestamp":"0001-01-01T00:00:00","Predecessor":"0001-01-01T00:00:00"}],"suspended":true,"sorter":{}}',
    )
    bench = EntityBench(history=(OrchestratorStarted(timestamp=bench.now), started))

    bench.run(EventRaised(timestamp=bench.now, name="continue"))

    assert bench.state == "7"


def test_the_memory_of_requests_has_the_time_of_its_batch() -> None:
    bench = EntityBench()
    request = signal("add", 1)

    bench.run(request)

    assert bench.stored.recent == (RecentBatch(at=bench.now, ids=(request.request_id.replace("-", "")[:12],)),)


def test_raised_requests_are_told_by_their_name() -> None:
    bench = EntityBench()

    bench.run(raised(signal("add", 2), bench.now))

    assert bench.state == "2"


def test_an_operation_can_send_a_signal_to_itself_for_a_later_time() -> None:
    def remind(context: EntityContext) -> None:
        context.signal_entity(context.entity_id, "wake", signal_time=datetime(2030, 1, 1, tzinfo=timezone.utc))

    bench = EntityBench(remind, options=EntityOptions())

    (message,) = bench.run(signal("remind")).messages

    assert message.due == ticks_from_iso("2030-01-01T00:00:00Z")
    assert message.message.target.instance_id == "@counter@one"
    request = CODEC.read_request(message.message.event.input)  # type: ignore[attr-defined]
    assert (request.due, request.timestamp, request.input) == (message.due, NO_STAMP, None)


def test_failed_operations_are_told_for_the_log() -> None:
    bench = EntityBench()

    bench.run(signal("add", 1), signal("boom"))

    assert bench.batch is not None
    assert [(each.request.operation, str(each.error)) for each in bench.batch.failures] == [("boom", "boom")]
    assert len(bench.batch.outcomes) == 2


def test_an_operation_is_closed_once() -> None:
    bench = EntityBench()
    batch = bench.entity.begin([bench.received(signal("get"))], lambda: bench.now)
    batch.open(batch.operations[0])
    batch.close()

    with pytest.raises(RuntimeError, match="No operation"):
        batch.close()


def test_an_entity_knows_the_generation_it_committed() -> None:
    bench = EntityBench()
    assert bench.entity.execution_id is None

    episode = bench.run(signal("add", 1))

    assert bench.entity.execution_id == episode.execution_id


def test_what_is_not_sorted_leaves_the_sorter_as_it_is() -> None:
    bench = EntityBench()
    bench.run(call("add", 5, timestamp=Stamp(bench.now)))
    sorter = bench.stored.sorter

    bench.run(signal("add", 1))

    assert bench.stored.sorter == sorter
