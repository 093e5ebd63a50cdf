"""Texts, keys and hashes against a second implementation, made from the sentences of specs/azure-storage.md alone."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any
from xml.sax.saxutils import escape

from hypothesis import given, settings
from hypothesis import strategies as st

from durable_ext.backends.azure_storage.instances_table import row_from_entity
from durable_ext.backends.azure_storage.key_encoding import escape_key
from durable_ext.backends.azure_storage.large_payloads import exceeds_column
from durable_ext.backends.azure_storage.message_codec import Envelope, Sender, decode_envelope, encode_envelope
from durable_ext.backends.azure_storage.partitions import fnv1a
from durable_ext.backends.azure_storage.transport.edm import EdmDateTime, EdmOther, EdmValue
from durable_ext.core import events as ev
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.messages import (
    ExecutionId,
    InstanceId,
    OrchestrationInstance,
    ParentInstance,
    TaskMessage,
    TraceContext,
)
from durable_ext.core.timestamps import Ticks, ticks_from_iso, ticks_to_iso, ticks_to_round_trip_iso
from durable_ext.failure import FailureDetails

ANY_TEXT = st.text(alphabet=st.characters(), max_size=12)
WHOLE_TEXT = st.text(max_size=12)
TICKS = st.integers(1, 3_155_378_975_999_999_999).map(Ticks)
IDS = st.text(min_size=1, max_size=12).map(InstanceId)
INSTANCES = st.builds(OrchestrationInstance, instance_id=IDS, execution_id=st.none() | WHOLE_TEXT.map(ExecutionId))
TAGS = st.none() | st.dictionaries(st.text(max_size=4).filter(lambda name: name != "$type"), WHOLE_TEXT, max_size=2)
INT32 = st.integers(-(2**31), 2**31 - 1)
TRACES = st.none() | st.builds(TraceContext, trace_parent=WHOLE_TEXT, trace_state=st.none() | WHOLE_TEXT, id=WHOLE_TEXT)
FAILURES = st.none() | st.builds(
    FailureDetails,
    error_type=WHOLE_TEXT,
    error_message=WHOLE_TEXT,
    inner_failure=st.none() | st.builds(FailureDetails, error_type=WHOLE_TEXT, error_message=WHOLE_TEXT),
)
BASE = {"timestamp": TICKS, "event_id": INT32, "is_played": st.booleans()}
STARTS = st.builds(
    ev.ExecutionStarted,
    **BASE,
    instance=INSTANCES,
    name=WHOLE_TEXT,
    version=st.none() | WHOLE_TEXT,
    input=st.none() | WHOLE_TEXT,
    parent=st.none() | st.builds(ParentInstance, name=WHOLE_TEXT, instance=INSTANCES, task_schedule_id=INT32),
    tags=TAGS,
    trace_context=TRACES,
    scheduled_start_time=st.none() | TICKS,
    generation=st.none() | INT32,
    generate_new_trace=st.booleans(),
)
RESULTS = st.builds(ev.TaskCompleted, **BASE, task_scheduled_id=INT32, result=st.none() | WHOLE_TEXT)
FAILED = st.builds(ev.TaskFailed, **BASE, task_scheduled_id=INT32, reason=WHOLE_TEXT, failure=FAILURES)
TIMERS = st.builds(ev.TimerFired, **BASE, timer_id=INT32, fire_at=TICKS)
RAISED = st.builds(ev.EventRaised, **BASE, name=WHOLE_TEXT, input=st.none() | WHOLE_TEXT, trace_context=TRACES)
SCHEDULED = st.builds(ev.TaskScheduled, **BASE, name=WHOLE_TEXT, version=st.just(""), input=WHOLE_TEXT, tags=TAGS)


def newtonsoft(value: Any) -> str:
    """4.2: compact, non-ASCII literal but for three characters; what XML 1.0 cannot hold is escaped too (4.1)."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return "".join(f"\\u{ord(c):04x}" if c in "\u0085\u2028\u2029\ufffe\uffff" else c for c in text)


def date(ticks: int) -> str:
    """4.2: trailing zeros of the fraction trimmed, dropped when zero."""
    text = ticks_to_round_trip_iso(Ticks(ticks))[:-1]
    whole, fraction = text.split(".")
    return whole + (f".{fraction.rstrip('0')}" if int(fraction) else "") + "Z"


def typed(name: str, **members: Any) -> dict[str, Any]:
    return {"$type": f"DurableTask.Core.{name}", **members}


def dictionary(tags: Any) -> Any:
    text = "[System.String, System.Private.CoreLib]"
    return None if tags is None else {"$type": f"System.Collections.Generic.Dictionary`2[{text},{text}]", **tags}


def instance(value: OrchestrationInstance) -> dict[str, Any]:
    return typed("OrchestrationInstance", InstanceId=value.instance_id, ExecutionId=value.execution_id)


def trace(value: TraceContext | None) -> Any:
    if value is None:
        return None
    ids = {"Id": value.id, "SpanId": value.span_id, "ActivityStartTime": value.activity_start_time}
    return typed("Tracing.DistributedTraceContext", TraceParent=value.trace_parent, TraceState=value.trace_state, **ids)


def failure(value: FailureDetails | None) -> Any:
    if value is None:
        return None
    inner = {"InnerFailure": failure(value.inner_failure), "IsNonRetriable": value.is_non_retriable, "Properties": None}
    texts = {"ErrorType": value.error_type, "ErrorMessage": value.error_message, "StackTrace": value.stack_trace}
    return typed("FailureDetails", **texts, **inner)


def event(value: ev.HistoryEvent) -> dict[str, Any]:
    """4.5, the rows of the table that travel with more than texts."""
    base = {"EventId": value.event_id, "IsPlayed": value.is_played, "Timestamp": date(value.timestamp)}
    if isinstance(value, ev.ExecutionStarted):
        parent = value.parent
        return typed(
            "History.ExecutionStartedEvent",
            OrchestrationInstance=instance(value.instance),
            EventType=0,
            ParentInstance=parent
            and typed(
                "ParentInstance",
                Name=parent.name,
                OrchestrationInstance=instance(parent.instance),
                TaskScheduleId=parent.task_schedule_id,
                Version=parent.version,
            ),
            Name=value.name,
            Version=value.version,
            Input=value.input,
            Tags=dictionary(value.tags),
            Correlation=value.correlation,
            ParentTraceContext=trace(value.trace_context),
            ScheduledStartTime=value.scheduled_start_time and date(value.scheduled_start_time),
            Generation=value.generation,
            GenerateNewTrace=value.generate_new_trace,
            **base,
        )
    if isinstance(value, ev.TaskCompleted):
        return typed(
            "History.TaskCompletedEvent", EventType=5, TaskScheduledId=value.task_scheduled_id, Result=value.result, **base
        )
    if isinstance(value, ev.TaskFailed):
        texts = {"Reason": value.reason, "Details": value.details, "FailureDetails": failure(value.failure)}
        return typed("History.TaskFailedEvent", EventType=6, TaskScheduledId=value.task_scheduled_id, **texts, **base)
    if isinstance(value, ev.TimerFired):
        return typed("History.TimerFiredEvent", EventType=11, TimerId=value.timer_id, FireAt=date(value.fire_at), **base)
    if isinstance(value, ev.EventRaised):
        texts = {"Name": value.name, "Input": value.input, "ParentTraceContext": trace(value.trace_context)}
        return typed("History.EventRaisedEvent", EventType=15, **texts, **base)
    assert isinstance(value, ev.TaskScheduled)
    texts = {"Name": value.name, "Version": value.version, "Input": value.input, "ParentTraceContext": None}
    return typed("History.TaskScheduledEvent", EventType=4, **texts, Tags=dictionary(value.tags), **base)


def message(value: TaskMessage) -> dict[str, Any]:
    context = None
    if value.tags is not None:
        context = typed("OrchestrationExecutionContext", OrchestrationTags=dictionary(value.tags))
    return typed(
        "TaskMessage",
        Event=event(value.event),
        SequenceNumber=0,
        OrchestrationInstance=instance(value.target),
        OrchestrationExecutionContext=context,
    )


ENVELOPES = st.builds(
    Envelope,
    activity_id=st.uuids().map(str),
    message=st.builds(
        TaskMessage, event=STARTS | RESULTS | FAILED | TIMERS | RAISED | SCHEDULED, target=INSTANCES, tags=TAGS
    ),
    sequence_number=st.integers(0, 2**62),
    episode=st.none() | INT32,
    sender=st.builds(Sender, instance_id=WHOLE_TEXT, execution_id=st.none() | WHOLE_TEXT),
)


@settings(max_examples=400, deadline=None)
@given(ENVELOPES)
def test_a_message_has_the_text_of_the_specification_and_comes_back_through_xml(envelope: Envelope) -> None:
    assert envelope.message is not None
    assert envelope.sender is not None
    whole = {
        "$type": "DurableTask.AzureStorage.MessageData",
        "ActivityId": envelope.activity_id,
        "TaskMessage": message(envelope.message),
        "CompressedBlobName": None,
        "SequenceNumber": envelope.sequence_number,
        **({} if envelope.episode is None else {"Episode": envelope.episode}),
        "Sender": {"InstanceId": envelope.sender.instance_id, "ExecutionId": envelope.sender.execution_id},
        "SerializableTraceContext": None,
    }

    text = encode_envelope(envelope)

    assert text == newtonsoft(whole)
    assert ET.fromstring(f"<MessageText>{escape(text)}</MessageText>".encode()).text == text
    assert decode_envelope(text) == envelope


@given(ANY_TEXT)
def test_text_that_is_no_unicode_travels_as_escapes(odd: str) -> None:
    raised = ev.EventRaised(timestamp=Ticks(1), name="x", input=odd)
    target = OrchestrationInstance(instance_id=InstanceId("a"))
    envelope = Envelope(activity_id="0", message=TaskMessage(event=raised, target=target), sequence_number=1)

    text = encode_envelope(envelope)

    assert ET.fromstring(f"<MessageText>{escape(text)}</MessageText>".encode()).text == text
    read = decode_envelope(text).message
    assert read is not None
    assert isinstance(read.event, ev.EventRaised)
    # Halves of a pair that stood apart in two strings become one character, as in .NET.
    assert (read.event.input or "").encode("utf-16", "surrogatepass") == odd.encode("utf-16", "surrogatepass")


@given(TICKS)
def test_a_date_has_both_forms_of_the_specification(ticks: Ticks) -> None:
    assert ticks_to_iso(ticks) == date(ticks)
    assert ticks_from_iso(ticks_to_iso(ticks)) == ticks == ticks_from_iso(ticks_to_round_trip_iso(ticks))
    assert len(ticks_to_round_trip_iso(ticks)) == len("2024-05-06T07:08:09.1234567Z")


@given(st.text(alphabet=st.characters() | st.sampled_from("^/\\#?\x00\x1f\x7f\x9f01234")))
def test_a_key_is_escaped_unit_by_unit(instance_id: str) -> None:
    expected = ""
    for char in instance_id:
        if char == "^":
            expected += "^^"
        elif char in "/\\#?":
            expected += "^" + str("/\\#?".index(char))
        elif ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F:
            expected += "^" + chr(ord(char) + 0xC0)
        else:
            expected += char

    assert escape_key(instance_id) == expected


@given(st.text())
def test_the_hash_is_fnv_1a_of_the_utf_8_bytes(instance_id: str) -> None:
    expected = 2166136261
    for byte in instance_id.encode():
        expected = (expected ^ byte) * 16777619 % 2**32

    assert fnv1a(instance_id) == expected


@given(st.integers(30_700, 30_740), st.integers(0, 30))
def test_a_column_is_large_beyond_61440_bytes_of_utf_16(length: int, astral: int) -> None:
    text = "x" * (length - 2 * astral) + "😀" * astral

    assert exceeds_column(text) is (len(text.encode("utf-16-le")) > 61_440)


# What stands in rows of other writers.

ODD_COLUMNS: st.SearchStrategy[EdmValue] = st.one_of(
    st.text(max_size=5),
    st.sampled_from(["null", "[]", "5", '"x"', '{"a":null}', '{"a":5}', "http://", "{"]),
    st.booleans(),
    INT32,
    st.floats(allow_nan=False),
    st.just(EdmDateTime("2024-05-06T07:08:09Z")),
    st.builds(EdmOther, st.sampled_from(["Edm.Int64", "Edm.Guid", "Edm.Binary", "Edm.Double"]), st.text(max_size=5)),
)
COLUMNS = [
    *(
        "ExecutionId",
        "Name",
        "Version",
        "Input",
        "InputBlobName",
        "Output",
        "CustomStatus",
        "CreatedTime",
        "LastUpdatedTime",
    ),
    *("CompletedTime", "RuntimeStatus", "ScheduledStartTime", "Generation", "Tags", "TaskHubName", "Novelty"),
]


@given(st.dictionaries(st.sampled_from(COLUMNS), ODD_COLUMNS))
def test_an_instance_row_of_any_columns_is_read(columns: dict[str, EdmValue]) -> None:
    row = row_from_entity({"PartitionKey": "a^0b", "RowKey": "", **columns})

    assert row.instance_id == "a/b"
    assert isinstance(row.status, OrchestrationStatus)
    assert row.custom_status != "null"
