"""Which members each event class has in DTFx JSON and in a history row, in their order; knows neither form's texts.

Members and order: specs/azure-storage.md 4.4, 4.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from durable_ext.core import events as ev
from durable_ext.core.events import HistoryEvent


class Kind(Enum):
    """The .NET type of a member, as far as its two forms differ."""

    TEXT = "text"
    INT = "int"
    BOOL = "bool"
    DATE = "date"
    STATUS = "status"
    INSTANCE = "instance"
    PARENT = "parent"
    TRACE = "trace"
    TAGS = "tags"
    FAILURE = "failure"
    EVENT_TYPE = "event type"

    __hash__ = object.__hash__  # looked up for each column; an Enum's own hashes its name, in Python


NESTED_KINDS: Final = frozenset({Kind.INSTANCE, Kind.PARENT, Kind.TRACE, Kind.TAGS, Kind.FAILURE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One serialized member: its JSON (and column) name, our attribute, its kind."""

    name: str
    attribute: str
    kind: Kind


def _text(name: str, attribute: str) -> Member:
    return Member(name=name, attribute=attribute, kind=Kind.TEXT)


_EVENT_TYPE: Final = Member(name="EventType", attribute="event_type", kind=Kind.EVENT_TYPE)
_NAME: Final = _text("Name", "name")
_VERSION: Final = _text("Version", "version")
_INPUT: Final = _text("Input", "input")
_RESULT: Final = _text("Result", "result")
_REASON: Final = _text("Reason", "reason")
_DETAILS: Final = _text("Details", "details")
_TAGS: Final = Member(name="Tags", attribute="tags", kind=Kind.TAGS)
_TRACE: Final = Member(name="ParentTraceContext", attribute="trace_context", kind=Kind.TRACE)
_FAILURE: Final = Member(name="FailureDetails", attribute="failure", kind=Kind.FAILURE)
_TASK_ID: Final = Member(name="TaskScheduledId", attribute="task_scheduled_id", kind=Kind.INT)
_FIRE_AT: Final = Member(name="FireAt", attribute="fire_at", kind=Kind.DATE)
_BASE: Final = (
    Member(name="EventId", attribute="event_id", kind=Kind.INT),
    Member(name="IsPlayed", attribute="is_played", kind=Kind.BOOL),
    Member(name="Timestamp", attribute="timestamp", kind=Kind.DATE),
)
_COMPLETION: Final = (
    _EVENT_TYPE,
    Member(name="OrchestrationStatus", attribute="status", kind=Kind.STATUS),
    _RESULT,
    _FAILURE,
)

_OWN_MEMBERS: Final[dict[type[HistoryEvent], tuple[Member, ...]]] = {
    ev.ExecutionStarted: (
        Member(name="OrchestrationInstance", attribute="instance", kind=Kind.INSTANCE),
        _EVENT_TYPE,
        Member(name="ParentInstance", attribute="parent", kind=Kind.PARENT),
        _NAME,
        _VERSION,
        _INPUT,
        _TAGS,
        _text("Correlation", "correlation"),
        _TRACE,
        Member(name="ScheduledStartTime", attribute="scheduled_start_time", kind=Kind.DATE),
        Member(name="Generation", attribute="generation", kind=Kind.INT),
        Member(name="GenerateNewTrace", attribute="generate_new_trace", kind=Kind.BOOL),
    ),
    ev.ExecutionCompleted: _COMPLETION,
    ev.ContinueAsNew: _COMPLETION,
    ev.ExecutionTerminated: (_EVENT_TYPE, _INPUT),
    ev.ExecutionSuspended: (_EVENT_TYPE, _REASON),
    ev.ExecutionResumed: (_EVENT_TYPE, _REASON),
    ev.ExecutionRewound: (
        _EVENT_TYPE,
        _REASON,
        _text("ParentExecutionId", "parent_execution_id"),
        _text("InstanceId", "instance_id"),
        _TRACE,
    ),
    ev.TaskScheduled: (_EVENT_TYPE, _NAME, _VERSION, _INPUT, _TRACE, _TAGS),
    ev.TaskCompleted: (_EVENT_TYPE, _TASK_ID, _RESULT),
    ev.TaskFailed: (_EVENT_TYPE, _TASK_ID, _REASON, _DETAILS, _FAILURE),
    ev.SubOrchestrationInstanceCreated: (
        _EVENT_TYPE,
        _NAME,
        _VERSION,
        _text("InstanceId", "instance_id"),
        _INPUT,
        _text("ClientSpanId", "client_span_id"),
        _TAGS,
    ),
    ev.SubOrchestrationInstanceCompleted: (_EVENT_TYPE, _TASK_ID, _RESULT),
    ev.SubOrchestrationInstanceFailed: (_EVENT_TYPE, _TASK_ID, _REASON, _DETAILS, _FAILURE),
    ev.TimerCreated: (_EVENT_TYPE, _FIRE_AT),
    ev.TimerFired: (_EVENT_TYPE, Member(name="TimerId", attribute="timer_id", kind=Kind.INT), _FIRE_AT),
    ev.EventSent: (_EVENT_TYPE, _text("InstanceId", "instance_id"), _NAME, _INPUT),
    ev.EventRaised: (_EVENT_TYPE, _NAME, _INPUT, _TRACE),
    ev.GenericEvent: (_text("Data", "data"), _EVENT_TYPE),  # a .NET field, so it stands before the properties
    ev.OrchestratorStarted: (_EVENT_TYPE,),
    ev.OrchestratorCompleted: (_EVENT_TYPE,),
    ev.HistoryState: (_EVENT_TYPE, _text("State", "state")),
}
EVENT_MEMBERS: Final[dict[type[HistoryEvent], tuple[Member, ...]]] = {
    cls: members + _BASE for cls, members in _OWN_MEMBERS.items()
}

EVENT_CLASS_BY_NAME: Final[dict[str, type[HistoryEvent]]] = {cls.__name__: cls for cls in EVENT_MEMBERS}
"""Event classes by the name that the `EventType` column of a history row holds."""

EVENT_NAMES: Final[dict[type[HistoryEvent], str]] = {cls: name for name, cls in EVENT_CLASS_BY_NAME.items()}
