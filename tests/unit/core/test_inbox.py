"""Which messages an instance takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from support.orchestration_bench import ME, START, OrchestrationBench

from durable_ext.core.events import (
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    HistoryEvent,
    OrchestrationStatus,
    TaskCompleted,
)
from durable_ext.core.inbox import Admission, AdmissionKind, admit, row_of_ended
from durable_ext.core.messages import ExecutionId, InstanceId, OrchestrationInstance, ReceivedMessage, TaskMessage
from durable_ext.core.runtime_state import RuntimeState
from durable_ext.core.timestamps import Ticks
from durable_ext.failure import FailureDetails

STARTED = ExecutionStarted(timestamp=START, instance=ME, name="orchestrator")
EVENT = EventRaised(timestamp=START, name="go")
RESULT = TaskCompleted(timestamp=START, task_scheduled_id=0)
STOP = ExecutionTerminated(timestamp=START, input="reason")


def message(
    event: HistoryEvent, *, execution_id: str | None = None, instance_id: str = "abc123", dequeue_count: int = 1
) -> ReceivedMessage:
    execution = ExecutionId(execution_id) if execution_id is not None else None
    target = OrchestrationInstance(instance_id=InstanceId(instance_id), execution_id=execution)
    return ReceivedMessage(message_id="m", message=TaskMessage(event=event, target=target), dequeue_count=dequeue_count)


def judge(history: list[HistoryEvent], *messages: ReceivedMessage) -> Admission:
    return admit(RuntimeState(history), messages, lambda: ExecutionId("new"))


def test_the_start_comes_first_whatever_the_order() -> None:
    admission = judge([], message(EVENT), message(STARTED))

    assert admission.kind is AdmissionKind.PLAY
    assert admission.events == (STARTED, EVENT)


def test_a_second_start_is_dropped() -> None:
    second = message(ExecutionStarted(timestamp=START, instance=ME, name="again"))

    admission = judge([STARTED], second, message(EVENT))

    assert (admission.events, admission.dropped) == ((EVENT,), (second,))


def test_the_own_start_message_wakes_an_instance_once_more() -> None:
    again = message(dataclasses.replace(STARTED))

    admission = judge([STARTED], again)

    assert (admission.kind, admission.events, admission.dropped) == (AdmissionKind.PLAY, (), (again,))


def test_a_start_message_of_another_generation_wakes_nothing() -> None:
    other = OrchestrationInstance(instance_id=ME.instance_id, execution_id=ExecutionId("older"))

    admission = judge([STARTED], message(ExecutionStarted(timestamp=START, instance=other, name="orchestrator")))

    assert admission.kind is AdmissionKind.DISCARD


def test_a_message_for_another_generation_is_dropped() -> None:
    stale = message(RESULT, execution_id="older")

    admission = judge([STARTED], stale, message(EVENT, execution_id="first"))

    assert (admission.events, admission.dropped) == ((EVENT,), (stale,))


def test_a_batch_of_which_nothing_counts_is_discarded() -> None:
    assert judge([STARTED], message(RESULT, execution_id="older")).kind is AdmissionKind.DISCARD


@pytest.mark.parametrize("event", [EVENT, RESULT])
def test_messages_before_the_start_are_offered_again(event: HistoryEvent) -> None:
    assert judge([], message(event, dequeue_count=5)).kind is AdmissionKind.ABANDON


def test_messages_without_a_start_are_not_offered_for_ever() -> None:
    assert judge([], message(EVENT, dequeue_count=6)).kind is AdmissionKind.DISCARD


def test_an_instance_that_is_terminated_before_it_began_gets_its_row_only() -> None:
    admission = judge([], message(EVENT), message(STOP))

    assert admission.kind is AdmissionKind.TERMINATED_BEFORE_START
    assert admission.update is not None
    assert (admission.update.status, admission.update.output) == (OrchestrationStatus.TERMINATED, "reason")
    assert len(admission.dropped) == 2


def test_a_message_to_an_entity_that_does_not_exist_starts_it() -> None:
    admission = judge([], message(EVENT, instance_id="@counter@a"))

    started = admission.events[0]
    assert isinstance(started, ExecutionStarted)
    assert (started.name, started.version, started.instance.execution_id) == ("@counter@a", "", "new")
    assert admission.events[1:] == (EVENT,)


@pytest.mark.parametrize(
    "first", [message(EVENT, instance_id="@counter@a", execution_id="old"), message(RESULT, instance_id="@c@a")]
)
def test_other_messages_do_not_start_an_entity(first: ReceivedMessage) -> None:
    assert judge([], first).kind is AdmissionKind.ABANDON


def ended(**fields: Any) -> list[HistoryEvent]:
    return [STARTED, ExecutionCompleted(timestamp=START, status=OrchestrationStatus.FAILED, result="text", **fields)]


def test_an_ended_instance_takes_nothing() -> None:
    admission = judge(ended(), message(EVENT), message(STARTED))

    assert admission.kind is AdmissionKind.DISCARD
    assert admission.update is not None
    assert admission.update.output == "text"


def test_an_ended_instance_takes_the_start_of_another_execution() -> None:
    again = OrchestrationInstance(instance_id=ME.instance_id, execution_id=ExecutionId("second"))
    start = ExecutionStarted(timestamp=START, instance=again, name="orchestrator")

    admission = judge(ended(), message(start), message(RESULT, execution_id="first"))

    assert (admission.kind, admission.restarts, admission.events) == (AdmissionKind.PLAY, True, (start,))


def test_the_row_of_a_structured_failure_has_type_and_message() -> None:
    row = row_of_ended(RuntimeState(ended(failure=FailureDetails(error_type="E", error_message="m"))))

    assert row is not None
    assert row.output == "E: m"


def test_an_instance_that_goes_on_has_no_row_to_repair() -> None:
    assert row_of_ended(RuntimeState([STARTED])) is None


def test_nothing_is_played_when_messages_are_abandoned() -> None:
    bench = OrchestrationBench(lambda context: 1)

    episode = bench.raise_event("go")

    assert episode.admission.kind is AdmissionKind.ABANDON
    assert (episode.opening, episode.decisions, episode.execution_id) == ((), (), "first")


def test_an_event_whose_message_comes_again_after_it_was_stored_only_wakes_the_instance() -> None:
    again = message(EVENT, dequeue_count=2)

    admission = judge([STARTED, EVENT], again)

    assert (admission.kind, admission.events, admission.dropped) == (AdmissionKind.PLAY, (), (again,))


def test_an_event_that_lay_long_enough_to_have_been_delivered_in_memory_is_known_too() -> None:
    again = dataclasses.replace(message(EVENT), is_old=True)

    assert judge([STARTED, EVENT], again).events == ()
    assert judge([STARTED], again).events == (EVENT,)


def test_an_event_like_one_before_is_another_one_if_it_was_never_delivered_before() -> None:
    assert judge([STARTED, EVENT], message(EVENT)).events == (EVENT,)


def test_a_redelivered_event_that_was_not_stored_is_taken() -> None:
    later = dataclasses.replace(EVENT, timestamp=Ticks(START + 1))

    assert judge([STARTED, EVENT], message(later, dequeue_count=3)).events == (later,)


def test_a_result_that_comes_again_is_told_apart_by_replay() -> None:
    assert judge([STARTED, RESULT], message(RESULT, dequeue_count=2)).events == (RESULT,)


CONTROL = [STOP, ExecutionSuspended(timestamp=START, reason="x"), ExecutionResumed(timestamp=START, reason="x")]


@pytest.mark.parametrize("event", CONTROL)
def test_what_was_done_to_a_former_run_is_not_done_again_to_the_next_one(event: HistoryEvent) -> None:
    restarted = dataclasses.replace(STARTED, timestamp=Ticks(START + 1), generation=1)
    again = message(event, dequeue_count=2)

    assert judge([restarted], again).kind is AdmissionKind.DISCARD
    assert judge([], message(restarted), again).events == (restarted,)
    assert judge([restarted], dataclasses.replace(message(event), is_old=True)).kind is AdmissionKind.DISCARD


@pytest.mark.parametrize("event", CONTROL)
def test_what_comes_for_the_first_time_counts_whenever_its_sender_thinks_it_was(event: HistoryEvent) -> None:
    restarted = dataclasses.replace(STARTED, timestamp=Ticks(START + 1), generation=1)

    assert judge([restarted], message(event)).events == (event,)


def test_a_termination_that_comes_again_ends_a_run_that_has_continued_as_new_since() -> None:
    continued = dataclasses.replace(STARTED, timestamp=Ticks(START + 1), generation=None)

    assert judge([continued], message(STOP, dequeue_count=2)).events == (STOP,)


def test_a_termination_that_comes_again_ends_the_run_that_it_was_sent_to() -> None:
    started = dataclasses.replace(STARTED, timestamp=Ticks(START - 1), generation=0)

    assert judge([started], message(STOP, dequeue_count=2)).events == (STOP,)


@pytest.mark.parametrize("event", CONTROL)
def test_what_is_older_than_the_first_start_of_an_id_was_sent_by_a_clock_that_is_behind(event: HistoryEvent) -> None:
    first = dataclasses.replace(STARTED, timestamp=Ticks(START + 1), generation=0)

    assert judge([first], message(event, dequeue_count=2)).events == (event,)
