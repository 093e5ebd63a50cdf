"""The embedded store's text of events: everything comes back as it was."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_ext.codec.compact import (
    events_from_texts,
    events_to_text,
    message_from_text,
    message_to_text,
    tags_from_text,
    tags_to_text,
)
from durable_ext.core.events import (
    EVENT_CLASSES,
    ContinueAsNew,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    GenericEvent,
    HistoryEvent,
    HistoryState,
    OrchestrationStatus,
    OrchestratorCompleted,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
    UnknownEvent,
)
from durable_ext.core.messages import (
    ExecutionId,
    InstanceId,
    OrchestrationInstance,
    ParentInstance,
    TaskMessage,
    TraceContext,
)
from durable_ext.core.timestamps import Ticks
from durable_ext.failure import FailureDetails

AT = Ticks(638_000_000_000_000_001)
INSTANCE = OrchestrationInstance(instance_id=InstanceId("ä"), execution_id=ExecutionId("e"))
PARENT = ParentInstance(name="P", instance=INSTANCE, task_schedule_id=3, version="")
TRACE = TraceContext(trace_parent="00-1-2-01", trace_state="s", id="i", span_id="p", activity_start_time="t")
FAILURE = FailureDetails(
    error_type="ValueError",
    error_message="böse",
    stack_trace="line 1\nline 2",
    inner_failure=FailureDetails(error_type="KeyError", error_message="k"),
    is_non_retriable=True,
    properties='{"a": 1}',
)
TAGS = {"k": "v", "": "\u2028"}

EVERY_EVENT: list[HistoryEvent] = [
    ExecutionStarted(timestamp=AT, instance=INSTANCE, name="N"),
    ExecutionStarted(
        timestamp=AT,
        event_id=4,
        instance=INSTANCE,
        name="N",
        version="1",
        input='"x"',
        parent=PARENT,
        tags=TAGS,
        correlation="c",
        trace_context=TRACE,
        scheduled_start_time=AT,
        generation=7,
        generate_new_trace=True,
    ),
    ExecutionCompleted(timestamp=AT, event_id=2, status=OrchestrationStatus.FAILED, result="r", failure=FAILURE),
    ContinueAsNew(timestamp=AT, event_id=2, result="r"),
    ExecutionTerminated(timestamp=AT, input="why"),
    ExecutionSuspended(timestamp=AT, reason="why"),
    ExecutionResumed(timestamp=AT, reason=None),
    ExecutionRewound(timestamp=AT, reason="r", parent_execution_id="p", instance_id="i", trace_context=TRACE),
    TaskScheduled(timestamp=AT, event_id=0, name="A"),
    TaskScheduled(timestamp=AT, event_id=0, name="A", version=None, input="i", trace_context=TRACE, tags=TAGS),
    TaskCompleted(timestamp=AT, task_scheduled_id=0, result='"x"'),
    TaskFailed(timestamp=AT, task_scheduled_id=0, reason="r", details="d", failure=FAILURE),
    SubOrchestrationInstanceCreated(
        timestamp=AT, event_id=1, instance_id="c", name="N", version="", input="i", client_span_id="s", tags=TAGS
    ),
    SubOrchestrationInstanceCompleted(timestamp=AT, task_scheduled_id=1, result="r"),
    SubOrchestrationInstanceFailed(timestamp=AT, task_scheduled_id=1, reason="r", details="d", failure=FAILURE),
    TimerCreated(timestamp=AT, event_id=2, fire_at=AT),
    TimerFired(timestamp=AT, timer_id=2, fire_at=AT),
    OrchestratorStarted(timestamp=AT),
    OrchestratorCompleted(timestamp=AT),
    EventSent(timestamp=AT, event_id=3, instance_id="@e@k", name="op", input="{}"),
    EventRaised(timestamp=AT, name="ev", input="1", trace_context=TRACE),
    GenericEvent(timestamp=AT, data="d"),
    HistoryState(timestamp=AT, state="s"),
    UnknownEvent(timestamp=AT, kind="EntityLocked", raw='{"a": 1}'),
]


@pytest.mark.parametrize("event", EVERY_EVENT, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_as_it_was(event: HistoryEvent) -> None:
    assert events_from_texts([events_to_text([event])]) == [event]


@pytest.mark.parametrize("event", EVERY_EVENT, ids=lambda event: type(event).__name__)
def test_a_played_event_stays_played(event: HistoryEvent) -> None:
    played = replace(event, is_played=True)

    assert events_from_texts([events_to_text([played])]) == [played]


def test_every_class_and_every_field_is_among_the_examples() -> None:
    shown = {type(event): set[str]() for event in EVERY_EVENT}
    for event in EVERY_EVENT:
        shown[type(event)] |= {field.name for field in fields(event) if getattr(event, field.name) is not None}

    assert set(shown) == {*EVENT_CLASSES.values(), UnknownEvent}
    missing = {
        (cls.__name__, field.name)
        for cls, names in shown.items()
        for field in fields(cls)
        if field.name not in names and (cls, field.name) not in {(ExecutionResumed, "reason"), (ContinueAsNew, "failure")}
    }
    assert missing == set()


def test_several_texts_are_one_history() -> None:
    texts = [events_to_text(EVERY_EVENT[:5]), events_to_text([]), events_to_text(EVERY_EVENT[5:])]

    assert events_from_texts(texts) == EVERY_EVENT


def test_an_event_of_a_newer_version_is_kept_as_unknown() -> None:
    (event,) = events_from_texts(["[[57, 9, 3, {}]]"])

    assert event == UnknownEvent(timestamp=Ticks(9), event_id=3, kind="57", raw="[57,9,3,{}]")


def test_a_damaged_text_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        events_from_texts(["[[5, "])


@pytest.mark.parametrize("tags", [None, {}, TAGS])
def test_a_message_comes_back_as_it_was(tags: dict[str, str] | None) -> None:
    target = OrchestrationInstance(instance_id=InstanceId("i"))
    message = TaskMessage(event=EVERY_EVENT[1], target=target, tags=tags)

    assert message_from_text(message_to_text(message)) == message
    assert tags_from_text(tags_to_text(tags)) == tags


@given(st.text(alphabet=st.characters(codec=None)), st.text(alphabet=st.characters(codec=None)))
def test_any_text_comes_back_as_it_was(name: str, payload: str) -> None:
    event = EventRaised(timestamp=AT, name=name, input=payload)

    assert events_from_texts([events_to_text([event])]) == [event]


def test_lone_surrogates_come_back_as_they_were() -> None:
    event = EventRaised(timestamp=AT, name="\ud800", input="a\udfffb")

    assert events_from_texts([events_to_text([event])]) == [event]
