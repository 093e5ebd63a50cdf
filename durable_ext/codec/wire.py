"""DTFx JSON of history events and task messages, both ways and byte for byte; knows no queue and no table.

Texts: specs/azure-storage.md 4.2, 4.4, 4.5. Nested values have two forms: objects with `$type` and enums as numbers in
messages, and text without `$type` in table columns (`column_text`). The members themselves are in event_members.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from durable_ext.codec.event_members import EVENT_MEMBERS, Kind
from durable_ext.core import events as ev
from durable_ext.core.events import HistoryEvent, OrchestrationStatus
from durable_ext.core.messages import (
    ExecutionId,
    InstanceId,
    OrchestrationInstance,
    ParentInstance,
    TaskMessage,
    TraceContext,
)
from durable_ext.core.timestamps import MAX_TICKS, MIN_TICKS, Ticks, ticks_from_iso, ticks_to_iso
from durable_ext.failure import FailureDetails

_CORE: Final = "DurableTask.Core."
_HISTORY: Final = "DurableTask.Core.History."
_INT32: Final = 2**31
_MAX_TRACE_STATE: Final = 513
_STRING: Final = "[System.String, System.Private.CoreLib]"
_DICTIONARY: Final = f"System.Collections.Generic.Dictionary`2[{_STRING},{_STRING}]"
# Newtonsoft escapes the first three. The others are no XML 1.0 characters: as raw text they make a queue message
# undeliverable, as escapes they mean the same (specs/azure-storage.md 4.1).
_ESCAPED: Final = re.compile("[\u0085\u2028\u2029\ufffe\uffff\ud800-\udfff]")

STATUS_NUMBERS: Final[dict[OrchestrationStatus, int]] = {
    OrchestrationStatus.RUNNING: 0,
    OrchestrationStatus.COMPLETED: 1,
    OrchestrationStatus.CONTINUED_AS_NEW: 2,
    OrchestrationStatus.FAILED: 3,
    OrchestrationStatus.CANCELED: 4,
    OrchestrationStatus.TERMINATED: 5,
    OrchestrationStatus.PENDING: 6,
    OrchestrationStatus.SUSPENDED: 7,
}
_STATUS_BY_NUMBER: Final = {number: status for status, number in STATUS_NUMBERS.items()}


class WireFormatError(ValueError):
    """A text is not what DTFx writes; the message says which member is wrong."""


def _type_name(cls: type[HistoryEvent]) -> str:
    return f"{_HISTORY}{cls.__name__}Event" if cls is not ev.GenericEvent else f"{_HISTORY}GenericEvent"


_TYPE_NAMES: Final = {cls: _type_name(cls) for cls in EVENT_MEMBERS}
_CLASSES: Final = {name: cls for cls, name in _TYPE_NAMES.items()}


def dump_json(value: Any) -> str:
    """Return compact JSON as Newtonsoft writes it: non-ASCII literal, but U+0085, U+2028, U+2029 escaped.

    Code points that XML 1.0 cannot carry are escaped too, so the text fits into a queue message.
    """
    try:
        text = orjson.dumps(value).decode()
    except TypeError:  # lone surrogates, integers beyond 64 bits
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if text.isascii():
        return text
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def load_json(text: str | bytes) -> Any:
    """Parse JSON; lone surrogate escapes are accepted.

    Raises:
        WireFormatError: The text is no JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise WireFormatError(f"Not JSON: {exc}") from exc


def event_to_wire(event: HistoryEvent) -> dict[str, Any]:
    """Return the JSON object of an event as it travels in a message, `$type` first."""
    cls = type(event)
    if cls not in EVENT_MEMBERS:
        raise WireFormatError(f"{cls.__name__} has no form on the wire.")
    out: dict[str, Any] = {"$type": _TYPE_NAMES[cls]}
    for member in EVENT_MEMBERS[cls]:
        value = getattr(event, member.attribute)
        encode = _ENCODERS.get(member.kind)
        out[member.name] = value if encode is None or value is None else encode(value)
    return out


def event_from_wire(value: Any) -> HistoryEvent:
    """Return the event of a message's `Event` object; unknown members are ignored, absent ones get their default.

    Raises:
        WireFormatError: `$type` is missing or names no event class, or a member has the wrong type.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("$type"), str):
        raise WireFormatError("An event must be a JSON object with a $type.")
    name = value["$type"].split(",", 1)[0].strip()
    cls = _CLASSES.get(name)
    if cls is None:
        raise WireFormatError(f"Unknown event class '{name}'.")
    return build_event(cls, value, _DECODERS)


def build_event(
    cls: type[HistoryEvent], values: Mapping[str, Any], decoders: Mapping[Kind, Callable[[Any], Any]]
) -> HistoryEvent:
    """Make an event from named values; `decoders` turn each kind's stored form into ours.

    Raises:
        WireFormatError: A value cannot be decoded, or not be stored again.
    """
    fields: dict[str, Any] = {}
    for member in EVENT_MEMBERS[cls]:
        kind = member.kind
        if kind is Kind.EVENT_TYPE:
            continue
        value = values.get(member.name)
        if value is None:
            if member.attribute in _REQUIRED:
                fields[member.attribute] = _REQUIRED[member.attribute]
            continue
        try:
            fields[member.attribute] = decoders[kind](value)
        except (ValueError, TypeError, KeyError, RecursionError) as exc:
            raise WireFormatError(f"Member '{member.name}' of {cls.__name__} cannot be read: {exc}") from exc
    return cls(**fields)


# What .NET's reader takes for a member that is absent or null, where our class has no default or another one.
_REQUIRED: Final[dict[str, Any]] = {
    "timestamp": MIN_TICKS,
    "fire_at": MIN_TICKS,
    "task_scheduled_id": 0,
    "timer_id": 0,
    "event_id": 0,
    "name": "",
    "version": None,
    "instance_id": "",
    "status": OrchestrationStatus.RUNNING,
    "instance": OrchestrationInstance(instance_id=InstanceId("")),
}


def message_to_wire(message: TaskMessage) -> dict[str, Any]:
    """Return the JSON object of a task message (specs/azure-storage.md 4.4)."""
    context = None
    if message.tags is not None:
        tags = _dictionary(message.tags)
        context = {"$type": f"{_CORE}OrchestrationExecutionContext", "OrchestrationTags": tags}
    return {
        "$type": f"{_CORE}TaskMessage",
        "Event": event_to_wire(message.event),
        "SequenceNumber": 0,
        "OrchestrationInstance": _instance_to_wire(message.target),
        "OrchestrationExecutionContext": context,
    }


def message_from_wire(value: Any) -> TaskMessage:
    """Return the task message of its JSON object; raises `WireFormatError` as `event_from_wire`."""
    if not isinstance(value, Mapping):
        raise WireFormatError("A task message must be a JSON object.")
    event = event_from_wire(value.get("Event"))
    context = value.get("OrchestrationExecutionContext")
    tags = context.get("OrchestrationTags") if isinstance(context, Mapping) else None
    try:
        target = _instance_from(value.get("OrchestrationInstance"))
        if isinstance(event, ev.ExecutionStarted) and not event.instance.instance_id:
            event = replace(event, instance=target)
        return TaskMessage(event=event, target=target, tags=None if tags is None else _tags_from(tags))
    except (TypeError, KeyError) as exc:
        raise WireFormatError(f"A task message must name its OrchestrationInstance and have a map of tags: {exc}") from exc


def column_text(kind: Kind, value: Any) -> str:
    """Return the JSON text that a nested value has in a table column: no `$type`; `None` is the text `null`."""
    if value is None:
        return "null"
    return dump_json(_without_types(_ENCODERS[kind](value)))


def column_value(kind: Kind, text: str) -> Any:
    """Undo `column_text`; `None` for the text `null` and for the empty text. Raises `WireFormatError`."""
    if text in ("null", ""):
        return None
    try:
        return _DECODERS[kind](load_json(text))
    except (TypeError, KeyError, RecursionError) as exc:
        raise WireFormatError(f"A column with {kind.value} cannot be read: {exc}") from exc


def _without_types(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_types(member) for name, member in value.items() if name != "$type"}
    return [_without_types(member) for member in value] if isinstance(value, list) else value


def _dictionary(tags: Mapping[str, str]) -> dict[str, Any]:
    # A tag of that name would name a .NET class to the reader.
    return {"$type": _DICTIONARY, **{name: text for name, text in tags.items() if name != "$type"}}


def _tags_from(value: Any) -> dict[str, str]:
    tags = _object_from(value)
    # A tag without a value says nothing, and Python code expects texts.
    return {name: _text_from(text) for name, text in tags.items() if name != "$type" and text is not None}


def _instance_to_wire(instance: OrchestrationInstance) -> dict[str, Any]:
    return {
        "$type": "DurableTask.Core.OrchestrationInstance",
        "InstanceId": instance.instance_id,
        "ExecutionId": instance.execution_id,
    }


def _instance_from(value: Any) -> OrchestrationInstance:
    members = _object_from(value)
    execution_id = _optional_text(members, "ExecutionId")
    return OrchestrationInstance(
        instance_id=InstanceId(_text_from(members["InstanceId"])),
        execution_id=ExecutionId(execution_id) if execution_id is not None else None,
    )


def _parent_to_wire(parent: ParentInstance) -> dict[str, Any]:
    return {
        "$type": f"{_CORE}ParentInstance",
        "Name": parent.name,
        "OrchestrationInstance": _instance_to_wire(parent.instance),
        "TaskScheduleId": parent.task_schedule_id,
        "Version": parent.version,
    }


def _parent_from(value: Any) -> ParentInstance:
    members = _object_from(value)
    return ParentInstance(
        name=_optional_text(members, "Name") or "",
        instance=_instance_from(members["OrchestrationInstance"]),
        task_schedule_id=_int_from(members.get("TaskScheduleId", 0)),
        version=_optional_text(members, "Version"),
    )


def _trace_to_wire(trace: TraceContext) -> dict[str, Any]:
    state = trace.trace_state
    return {
        "$type": f"{_CORE}Tracing.DistributedTraceContext",
        "TraceParent": trace.trace_parent,
        "TraceState": state if state is not None and len(state) <= _MAX_TRACE_STATE else None,
        "Id": trace.id,
        "SpanId": trace.span_id,
        "ActivityStartTime": trace.activity_start_time,
    }


def _trace_from(value: Any) -> TraceContext:
    members = _object_from(value)
    return TraceContext(
        trace_parent=_optional_text(members, "TraceParent") or "",
        trace_state=_optional_text(members, "TraceState"),
        id=_optional_text(members, "Id"),
        span_id=_optional_text(members, "SpanId"),
        activity_start_time=_optional_text(members, "ActivityStartTime"),
    )


def _failure_to_wire(failure: FailureDetails) -> dict[str, Any]:
    return {
        "$type": f"{_CORE}FailureDetails",
        "ErrorType": failure.error_type,
        "ErrorMessage": failure.error_message,
        "StackTrace": failure.stack_trace,
        "InnerFailure": None if failure.inner_failure is None else _failure_to_wire(failure.inner_failure),
        "IsNonRetriable": failure.is_non_retriable,
        "Properties": None if failure.properties is None else load_json(failure.properties),
    }


def _failure_from(value: Any) -> FailureDetails:
    members = _object_from(value)
    inner, properties = members.get("InnerFailure"), members.get("Properties")
    return FailureDetails(
        error_type=_optional_text(members, "ErrorType") or "",
        error_message=_optional_text(members, "ErrorMessage") or "",
        stack_trace=_optional_text(members, "StackTrace"),
        inner_failure=None if inner is None else _failure_from(inner),
        is_non_retriable=bool(members.get("IsNonRetriable", False)),
        properties=None if properties is None else dump_json(properties),
    )


def _status_from(value: Any) -> OrchestrationStatus:
    return _STATUS_BY_NUMBER[value] if isinstance(value, int) else OrchestrationStatus(value)


def _date_from(value: Any) -> Ticks:
    # An offset can lead out of what .NET and Python can write.
    return Ticks(min(max(ticks_from_iso(_text_from(value)), MIN_TICKS), MAX_TICKS))


def _object_from(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r} is not an object")
    return value


def _optional_text(members: Mapping[str, Any], name: str) -> str | None:
    value = members.get(name)
    return None if value is None else _text_from(value)


def _int_from(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -_INT32 <= value < _INT32:
        raise TypeError(f"{value!r} is not a 32-bit integer")
    return value


def _text_from(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def _text_of_scalar(value: Any) -> str:
    # A hand-written message may hold a number or a truth value where a text is meant; .NET takes it for one.
    return dump_json(value) if isinstance(value, (int, float)) else _text_from(value)


def _bool_from(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not a boolean")
    return value


_ENCODERS: Final[dict[Kind, Callable[[Any], Any]]] = {
    Kind.DATE: ticks_to_iso,
    Kind.STATUS: STATUS_NUMBERS.__getitem__,
    Kind.INSTANCE: _instance_to_wire,
    Kind.PARENT: _parent_to_wire,
    Kind.TRACE: _trace_to_wire,
    Kind.TAGS: _dictionary,
    Kind.FAILURE: _failure_to_wire,
    Kind.EVENT_TYPE: int,
}
_DECODERS: Final[dict[Kind, Callable[[Any], Any]]] = {
    Kind.TEXT: _text_of_scalar,
    Kind.INT: _int_from,
    Kind.BOOL: _bool_from,
    Kind.DATE: _date_from,
    Kind.STATUS: _status_from,
    Kind.INSTANCE: _instance_from,
    Kind.PARENT: _parent_from,
    Kind.TRACE: _trace_from,
    Kind.TAGS: _tags_from,
    Kind.FAILURE: _failure_from,
}
