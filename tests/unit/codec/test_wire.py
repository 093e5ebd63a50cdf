"""Every message that the real provider wrote decodes and encodes back to the same bytes."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from durable_ext.backends.azure_storage.message_codec import decode_envelope, encode_envelope
from durable_ext.codec.event_members import Kind
from durable_ext.codec.wire import (
    WireFormatError,
    column_text,
    column_value,
    dump_json,
    event_from_wire,
    event_to_wire,
    load_json,
    message_from_wire,
)
from durable_ext.core.events import EventRaised, ExecutionStarted, TaskCompleted, TaskScheduled
from durable_ext.core.messages import TraceContext
from durable_ext.core.timestamps import Ticks
from durable_ext.failure import FailureDetails

FIXTURES = Path(__file__).parents[2] / "interop"


def recorded_messages() -> list[tuple[str, str]]:
    found = []
    for path in sorted(FIXTURES.glob("*.json")):
        for queue, messages in json.loads(path.read_text())["queues"].items():
            for number, message in enumerate(messages):
                text = message["text"]
                plain = text if text.startswith("{") else base64.b64decode(text).decode()
                found.append((f"{path.stem}-{queue}-{number}", plain))
    return found


RECORDED = recorded_messages()


@pytest.mark.parametrize("text", [text for _, text in RECORDED], ids=[name for name, _ in RECORDED])
def test_a_recorded_message_is_encoded_back_byte_for_byte(text: str) -> None:
    envelope = decode_envelope(text)

    assert encode_envelope(envelope) == text


def test_there_are_recorded_messages() -> None:
    assert len(RECORDED) > 60


def test_unknown_members_and_a_trailing_assembly_are_tolerated() -> None:
    event = event_from_wire(
        {
            "$type": "DurableTask.Core.History.TaskCompletedEvent, DurableTask.Core",
            "EventType": 5,
            "TaskScheduledId": 3,
            "Result": "1",
            "Novelty": {"a": 1},
            "EventId": -1,
            "Timestamp": "2024-05-06T07:08:09Z",
        }
    )

    assert isinstance(event, TaskCompleted)
    assert (event.task_scheduled_id, event.result, event.event_id) == (3, "1", -1)


def test_an_absent_event_id_reads_as_zero_as_in_dotnet() -> None:
    event = event_from_wire({"$type": "DurableTask.Core.History.TaskCompletedEvent"})

    assert event.event_id == 0


def test_a_start_with_few_members_is_read() -> None:
    event = event_from_wire(
        {
            "$type": "DurableTask.Core.History.ExecutionStartedEvent",
            "OrchestrationInstance": {"InstanceId": "a"},
            "Name": "N",
        }
    )

    assert isinstance(event, ExecutionStarted)
    assert (event.instance.instance_id, event.instance.execution_id, event.generation) == ("a", None, None)


def test_a_start_that_does_not_say_whose_it_is_starts_the_target_of_its_message() -> None:
    message = message_from_wire(
        {
            "Event": {"$type": "DurableTask.Core.History.ExecutionStartedEvent", "Name": "N"},
            "OrchestrationInstance": {"InstanceId": "a", "ExecutionId": "e"},
        }
    )

    assert isinstance(message.event, ExecutionStarted)
    assert message.event.instance == message.target


@pytest.mark.parametrize(("given", "text"), [(5, "5"), (0.5, "0.5"), (True, "true"), ("5", "5"), (None, None)])
def test_a_number_in_the_place_of_a_text_is_its_text_as_in_dotnet(given: object, text: str | None) -> None:
    event = event_from_wire({"$type": "DurableTask.Core.History.EventRaisedEvent", "Name": "go", "Input": given})

    assert isinstance(event, EventRaised)
    assert event.input == text


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"$type": "DurableTask.Core.History.NewKindEvent"},
        {"$type": "DurableTask.Core.History.TaskCompletedEvent", "TaskScheduledId": "x"},
        {"$type": "DurableTask.Core.History.TaskCompletedEvent", "Timestamp": "yesterday"},
        {"$type": "DurableTask.Core.History.TaskCompletedEvent", "Result": {"a": 1}},
        {"$type": "DurableTask.Core.History.ExecutionStartedEvent", "OrchestrationInstance": 5},
    ],
)
def test_what_is_no_event_is_refused(value: object) -> None:
    with pytest.raises(WireFormatError):
        event_from_wire(value)


def test_line_separators_and_characters_that_xml_cannot_carry_are_escaped() -> None:
    text = dump_json({"t": "a\u0085\u2028\u2029\ufffe\ud800é😀\x7f"})

    assert text == '{"t":"a\\u0085\\u2028\\u2029\\ufffe\\ud800é😀\x7f"}'
    assert load_json(text) == {"t": "a\u0085\u2028\u2029\ufffe\ud800é😀\x7f"}


def test_failure_details_in_a_column_have_no_type_and_come_back() -> None:
    failure = FailureDetails(
        error_type="MyError",
        error_message="boom",
        stack_trace="stack",
        inner_failure=FailureDetails(error_type="Inner", error_message="i"),
        properties='{"code":5}',
    )

    text = column_text(Kind.FAILURE, failure)

    assert text == (
        '{"ErrorType":"MyError","ErrorMessage":"boom","StackTrace":"stack","InnerFailure":{"ErrorType":"Inner",'
        '"ErrorMessage":"i","StackTrace":null,"InnerFailure":null,"IsNonRetriable":false,"Properties":null},'
        '"IsNonRetriable":false,"Properties":{"code":5}}'
    )
    assert column_value(Kind.FAILURE, text) == failure


@pytest.mark.parametrize(("length", "kept"), [(513, True), (514, False), (40_000, False)])
def test_a_trace_state_that_is_too_long_is_dropped_as_in_the_provider(length: int, kept: bool) -> None:
    context = TraceContext(trace_parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", trace_state="s" * length)

    written = json.loads(column_text(Kind.TRACE, context))

    assert written["TraceState"] == ("s" * length if kept else None)


def test_a_tag_cannot_name_a_class_to_the_reader() -> None:
    event = TaskScheduled(timestamp=Ticks(1), name="A", tags={"a": "b", "$type": "System.Object"})

    tags = event_to_wire(event)["Tags"]

    assert list(tags) == ["$type", "a"]
    assert tags["$type"].startswith("System.Collections.Generic.Dictionary`2[[")
