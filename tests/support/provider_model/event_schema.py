"""History event classes as .NET types them, in rows and in messages (specs/azure-storage.md 4.5, 5.2, 5.3, 13)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from support.provider_model.dotnet import UnreadableError, ticks, time_text

_KINDS: Final = (
    "ExecutionStarted",
    "ExecutionCompleted",
    "ExecutionFailed",
    "ExecutionTerminated",
    "TaskScheduled",
    "TaskCompleted",
    "TaskFailed",
    "SubOrchestrationInstanceCreated",
    "SubOrchestrationInstanceCompleted",
    "SubOrchestrationInstanceFailed",
    "TimerCreated",
    "TimerFired",
    "OrchestratorStarted",
    "OrchestratorCompleted",
    "EventSent",
    "EventRaised",
    "ContinueAsNew",
    "GenericEvent",
    "HistoryState",
    "ExecutionSuspended",
    "ExecutionResumed",
    "ExecutionRewound",
)
NUMBERS: Final = {name: number for number, name in enumerate(_KINDS)}
STATUSES: Final = ("Running", "Completed", "ContinuedAsNew", "Failed", "Canceled", "Terminated", "Pending", "Suspended")
_FAILED: Final = {"TaskScheduledId": "int", "Reason": "str", "Details": "str", "FailureDetails": "FailureDetails"}
_ENDED: Final = {"OrchestrationStatus": "status", "Result": "str", "FailureDetails": "FailureDetails"}
# Own members in the order of the class, without EventType; `?` = may be null.
OWN: Final[Mapping[str, Mapping[str, str]]] = {
    "ExecutionStarted": {
        "OrchestrationInstance": "OrchestrationInstance",
        "ParentInstance": "ParentInstance",
        "Name": "str",
        "Version": "str",
        "Input": "str",
        "Tags": "dictionary",
        "Correlation": "str",
        "ParentTraceContext": "TraceContext",
        "ScheduledStartTime": "date?",
        "Generation": "int?",
        "GenerateNewTrace": "bool",
    },
    "ExecutionCompleted": _ENDED,
    "ContinueAsNew": _ENDED,
    "ExecutionTerminated": {"Input": "str"},
    "ExecutionSuspended": {"Reason": "str"},
    "ExecutionResumed": {"Reason": "str"},
    "ExecutionRewound": {
        "Reason": "str",
        "ParentExecutionId": "str",
        "InstanceId": "str",
        "ParentTraceContext": "TraceContext",
    },
    "TaskScheduled": {
        "Name": "str",
        "Version": "str",
        "Input": "str",
        "ParentTraceContext": "TraceContext",
        "Tags": "dictionary",
    },
    "TaskCompleted": {"TaskScheduledId": "int", "Result": "str"},
    "TaskFailed": _FAILED,
    "SubOrchestrationInstanceCreated": {
        "Name": "str",
        "Version": "str",
        "InstanceId": "str",
        "Input": "str",
        "ClientSpanId": "str",
        "Tags": "dictionary",
    },
    "SubOrchestrationInstanceCompleted": {"TaskScheduledId": "int", "Result": "str"},
    "SubOrchestrationInstanceFailed": _FAILED,
    "TimerCreated": {"FireAt": "date"},
    "TimerFired": {"TimerId": "int", "FireAt": "date"},
    "EventSent": {"InstanceId": "str", "Name": "str", "Input": "str"},
    "EventRaised": {"Name": "str", "Input": "str", "ParentTraceContext": "TraceContext"},
    "GenericEvent": {"Data": "str"},
    "OrchestratorStarted": {},
    "OrchestratorCompleted": {},
}
_BASE: Final = {"EventId": "int", "IsPlayed": "bool", "Timestamp": "date"}
_NESTED: Final[Mapping[str, Mapping[str, str]]] = {
    "OrchestrationInstance": {"InstanceId": "str", "ExecutionId": "str"},
    "ParentInstance": {
        "Name": "str",
        "OrchestrationInstance": "OrchestrationInstance",
        "TaskScheduleId": "int",
        "Version": "str",
    },
    "TraceContext": {
        "TraceParent": "str",
        "TraceState": "str",
        "Id": "str",
        "SpanId": "str",
        "ActivityStartTime": "str",
    },
    "FailureDetails": {
        "ErrorType": "str",
        "ErrorMessage": "str",
        "StackTrace": "str",
        "InnerFailure": "FailureDetails",
        "IsNonRetriable": "bool",
    },
}
_STRING: Final = "[System.String, System.Private.CoreLib]"
DICTIONARY: Final = f"System.Collections.Generic.Dictionary`2[{_STRING},{_STRING}]"
_TYPE_NAMES: Final = {"TraceContext": "DurableTask.Core.Tracing.DistributedTraceContext"}
_ESCAPED: Final = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
_LATE: Final = {"GenerateNewTrace"}  # older writers had no such member


@dataclass(slots=True)
class Event:
    """One history event: its class, and all members that the class has."""

    kind: str
    at: int
    event_id: int = -1
    own: dict[str, Any] = field(default_factory=dict)
    is_played: bool = False

    def __getitem__(self, member: str) -> Any:
        return self.own.get(member)


def read_row(row: Mapping[str, Any]) -> Event:
    """Read a history row whose large columns are back in place.

    Raises:
        UnreadableError: A column has another type than the class, or one that must be there is not.
    """
    kind = str(row.get("EventType"))
    if kind not in OWN:
        raise UnreadableError(f"EventType {kind!r}")
    columns = {**OWN[kind], "EventId": "int", "IsPlayed": "bool", "_Timestamp": "date"}
    values = {name: _column(row, name, wanted) for name, wanted in columns.items()}
    own = {name: values[name] for name in OWN[kind]}
    return Event(kind, values["_Timestamp"], values["EventId"], own, values["IsPlayed"])


def _column(row: Mapping[str, Any], name: str, wanted: str) -> Any:
    value, edm = row.get(name), row.get(f"{name}@odata.type")
    if value is None:
        if wanted in ("int", "bool", "date", "status") and name not in _LATE:
            raise UnreadableError(f"column {name} is missing in {row}")
        return None
    if wanted.startswith("date"):
        if edm != "Edm.DateTime":
            raise UnreadableError(f"{name} is {edm or type(value).__name__}, not DateTime")
        return ticks(value)
    if edm is not None:
        raise UnreadableError(f"{name} is {edm}")
    if wanted in ("int", "int?", "bool", "str"):
        return _plain(name, value, wanted)
    text = _plain(name, value, "str")
    if wanted == "status":
        if text not in STATUSES:
            raise UnreadableError(f"{name} {text!r}")
        return text
    return _nested(name, json.loads(text), wanted)


def _plain(name: str, value: Any, wanted: str) -> Any:
    python: type = {"int": int, "bool": bool, "str": str}[wanted.rstrip("?")]
    if type(value) is not python or (type(value) is int and not -(2**31) <= value < 2**31):
        raise UnreadableError(f"{name} is {value!r}, not {wanted}")
    return value


def _nested(name: str, value: Any, wanted: str) -> Any:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise UnreadableError(f"{name} is no object: {value!r}")
    if wanted == "dictionary":
        return {key: _plain(key, one, "str") for key, one in value.items() if key != "$type"}
    expected = _TYPE_NAMES.get(wanted, f"DurableTask.Core.{wanted}")
    if "$type" in value and (next(iter(value)) != "$type" or value["$type"] != expected):
        raise UnreadableError(f"{name}: $type {value['$type']!r} is not first or not {expected}")
    return {member: _member(value, member, kind) for member, kind in _NESTED[wanted].items()}


def _member(document: Mapping[str, Any], name: str, wanted: str) -> Any:
    value = document.get(name)
    if value is None:
        if wanted in ("int", "bool", "date", "status") and name not in _LATE:
            raise UnreadableError(f"member {name} is missing in {document}")
        return None
    if wanted.startswith("date"):
        return ticks(_plain(name, value, "str"))
    if wanted in ("int", "int?", "bool", "str"):
        return _plain(name, value, wanted)
    return _nested(name, value, wanted)


def read_message_event(document: Any) -> Event:
    """Read the `Event` of a task message; `$type` comes first and decides.

    Raises:
        UnreadableError: The class or a member of it cannot be read.
    """
    if not isinstance(document, dict) or next(iter(document), None) != "$type":
        raise UnreadableError(f"an event without leading $type: {document!r}")
    name = document["$type"].partition(",")[0].removeprefix("DurableTask.Core.History.")
    kind = name if name == "GenericEvent" else name.removesuffix("Event")
    if kind not in OWN or name == kind != "GenericEvent":
        raise UnreadableError(f"no event class {document['$type']!r}")
    if document.get("EventType", NUMBERS[kind]) != NUMBERS[kind]:
        raise UnreadableError(f"EventType {document['EventType']!r} of {kind}")
    values = {member: _member(document, member, wanted) for member, wanted in {**OWN[kind], **_BASE}.items()}
    own = {member: values[member] for member in OWN[kind]}
    return Event(kind, values["Timestamp"], values["EventId"], own, values["IsPlayed"])


def event_row(event: Event) -> dict[str, Any]:
    """Return the columns of an event, keys and execution id excepted."""
    row: dict[str, Any] = {}
    for name, wanted in {**OWN[event.kind], **_BASE}.items():
        value = _value_of(event, name)
        name = "_Timestamp" if name == "Timestamp" else name
        if wanted in _NESTED or wanted == "dictionary":
            row[name] = compact(value)
        elif value is not None and wanted.startswith("date"):
            row[name], row[f"{name}@odata.type"] = time_text(value), "Edm.DateTime"
        elif value is not None:
            row[name] = value
    return row | {"EventType": event.kind}


def message_event(event: Event) -> dict[str, Any]:
    """Return an event as a message has it."""
    name = event.kind if event.kind == "GenericEvent" else f"{event.kind}Event"
    before = {"GenericEvent": ("Data",), "ExecutionStarted": ("OrchestrationInstance",)}.get(event.kind, ())
    members = {one: OWN[event.kind][one] for one in before} | {"EventType": "int"} | {**OWN[event.kind], **_BASE}
    written = {one: _written(_value_of(event, one), wanted) for one, wanted in members.items()}
    return {"$type": f"DurableTask.Core.History.{name}", **written}


def _value_of(event: Event, name: str) -> Any:
    base = {
        "EventType": NUMBERS[event.kind],
        "EventId": event.event_id,
        "IsPlayed": event.is_played,
        "Timestamp": event.at,
    }
    return base[name] if name in base else False if name == "GenerateNewTrace" else event[name]


def _written(value: Any, wanted: str) -> Any:
    if value is None:
        return None
    if wanted.startswith("date"):
        return time_text(value)
    if wanted == "dictionary":
        return {"$type": DICTIONARY, **value}
    if wanted in _NESTED:
        name = _TYPE_NAMES.get(wanted, f"DurableTask.Core.{wanted}")
        return {"$type": name, **{one: _written(value[one], kind) for one, kind in _NESTED[wanted].items()}}
    return value


def compact(value: Any) -> str:
    """Return JSON as Newtonsoft writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPED)
