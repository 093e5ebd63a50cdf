"""Events and task messages as short JSON arrays, the text of the embedded store; not DurableTask's wire format.

An event is `[code, timestamp, event id, fields...]` with the fields in the order of their class; `code` is DurableTask's
event number, plus 100 if the event was played, 99 for `UnknownEvent`. Names are left out because ten thousand events must
be read in a few milliseconds (bench/performance.md 7, G7).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import orjson

from durable_ext.core import events as ev
from durable_ext.core.events import EventType, HistoryEvent, OrchestrationStatus
from durable_ext.core.messages import (
    InstanceId,
    OrchestrationInstance,
    ParentInstance,
    TaskMessage,
    TraceContext,
)
from durable_ext.core.timestamps import Ticks
from durable_ext.failure import FailureDetails

_Decoder = Callable[[list[Any]], HistoryEvent]
_UNKNOWN: Final = 99
_PLAYED: Final = 100
_CODES: Final = {cls: kind.value for kind, cls in ev.EVENT_CLASSES.items()} | {ev.UnknownEvent: _UNKNOWN}


def events_to_text(events: Iterable[HistoryEvent]) -> str:
    """Return the JSON array of the events."""
    return _dump([_ENCODERS[type(event)](event) for event in events])


def events_from_texts(texts: Sequence[str]) -> list[HistoryEvent]:
    """Return the events of several stored arrays, in order; `ValueError` if one is damaged."""
    found: list[HistoryEvent] = []
    for text in texts:
        for row in _load(text):
            decoder = _DECODERS.get(row[0])
            found.append(decoder(row) if decoder is not None else _rare_event(row))
    return found


def message_to_text(message: TaskMessage) -> str:
    """Return `[event, instance id, execution id, tags]`."""
    event, target = message.event, message.target
    return _dump([_ENCODERS[type(event)](event), target.instance_id, target.execution_id, _plain(message.tags)])


def message_from_text(text: str) -> TaskMessage:
    """Undo `message_to_text`."""
    row, instance_id, execution_id, tags = _load(text)
    decoder = _DECODERS.get(row[0])
    return TaskMessage(
        event=decoder(row) if decoder is not None else _rare_event(row),
        target=OrchestrationInstance(instance_id=instance_id, execution_id=execution_id),
        tags=tags,
    )


def tags_to_text(tags: Any) -> str | None:
    """Return a tag mapping as JSON text, `None` for none."""
    return None if tags is None else _dump(dict(tags))


def tags_from_text(text: str | None) -> dict[str, str] | None:
    """Undo `tags_to_text`."""
    return None if text is None else _load(text)


def _dump(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # lone surrogates, integers beyond 64 bits: the standard library has an ASCII form for them
        return json.dumps(value, separators=(",", ":"))


def _load(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def _plain(tags: Any) -> dict[str, str] | None:
    return None if tags is None else dict(tags)


def _code(event: HistoryEvent) -> int:
    code = _CODES[type(event)]
    return code + _PLAYED if event.is_played else code


# ---- values inside events ----


def _instance_row(instance: OrchestrationInstance) -> list[Any]:
    return [instance.instance_id, instance.execution_id]


def _instance(row: list[Any]) -> OrchestrationInstance:
    return OrchestrationInstance(instance_id=InstanceId(row[0]), execution_id=row[1])


def _parent_row(parent: ParentInstance | None) -> list[Any] | None:
    if parent is None:
        return None
    return [parent.name, _instance_row(parent.instance), parent.task_schedule_id, parent.version]


def _parent(row: list[Any] | None) -> ParentInstance | None:
    if row is None:
        return None
    return ParentInstance(name=row[0], instance=_instance(row[1]), task_schedule_id=row[2], version=row[3])


def _trace_row(trace: TraceContext | None) -> list[Any] | None:
    if trace is None:
        return None
    return [trace.trace_parent, trace.trace_state, trace.id, trace.span_id, trace.activity_start_time]


def _trace(row: list[Any] | None) -> TraceContext | None:
    if row is None:
        return None
    return TraceContext(trace_parent=row[0], trace_state=row[1], id=row[2], span_id=row[3], activity_start_time=row[4])


def _failure_row(failure: FailureDetails | None) -> list[Any] | None:
    if failure is None:
        return None
    return [
        failure.error_type,
        failure.error_message,
        failure.stack_trace,
        _failure_row(failure.inner_failure),
        failure.is_non_retriable,
        failure.properties,
    ]


def _failure(row: list[Any] | None) -> FailureDetails | None:
    if row is None:
        return None
    return FailureDetails(
        error_type=row[0],
        error_message=row[1],
        stack_trace=row[2],
        inner_failure=_failure(row[3]),
        is_non_retriable=row[4],
        properties=row[5],
    )


# ---- one encoder per class ----


def _started_row(event: ev.ExecutionStarted) -> list[Any]:
    return [
        _code(event),
        event.timestamp,
        event.event_id,
        _instance_row(event.instance),
        event.name,
        event.version,
        event.input,
        _parent_row(event.parent),
        _plain(event.tags),
        event.correlation,
        _trace_row(event.trace_context),
        event.scheduled_start_time,
        event.generation,
        event.generate_new_trace,
    ]


def _ended_row(event: ev.ExecutionCompleted | ev.ContinueAsNew) -> list[Any]:
    return [
        _code(event),
        event.timestamp,
        event.event_id,
        event.status.value,
        event.result,
        _failure_row(event.failure),
    ]


def _scheduled_row(event: ev.TaskScheduled) -> list[Any]:
    row = [_code(event), event.timestamp, event.event_id, event.name, event.version, event.input]
    if event.trace_context is not None or event.tags is not None:
        row += (_trace_row(event.trace_context), _plain(event.tags))
    return row


def _task_completed_row(event: ev.TaskCompleted) -> list[Any]:
    return [_code(event), event.timestamp, event.event_id, event.task_scheduled_id, event.result]


def _task_failed_row(event: ev.TaskFailed | ev.SubOrchestrationInstanceFailed) -> list[Any]:
    return [
        _code(event),
        event.timestamp,
        event.event_id,
        event.task_scheduled_id,
        event.reason,
        event.details,
        _failure_row(event.failure),
    ]


def _child_created_row(event: ev.SubOrchestrationInstanceCreated) -> list[Any]:
    return [
        _code(event),
        event.timestamp,
        event.event_id,
        event.instance_id,
        event.name,
        event.version,
        event.input,
        event.client_span_id,
        _plain(event.tags),
    ]


def _rewound_row(event: ev.ExecutionRewound) -> list[Any]:
    trace = _trace_row(event.trace_context)
    return [_code(event), event.timestamp, event.event_id, event.reason, event.parent_execution_id, event.instance_id, trace]


def _raised_row(event: ev.EventRaised) -> list[Any]:
    return [_code(event), event.timestamp, event.event_id, event.name, event.input, _trace_row(event.trace_context)]


def _marker_row(event: HistoryEvent) -> list[Any]:
    return [_code(event), event.timestamp, event.event_id]


def _fields_row(*names: str) -> Callable[[Any], list[Any]]:
    """An encoder for classes whose fields are all plain values."""

    def encode(event: Any) -> list[Any]:
        return [_code(event), event.timestamp, event.event_id, *[getattr(event, name) for name in names]]

    return encode


_ENCODERS: Final[dict[type[HistoryEvent], Callable[[Any], list[Any]]]] = {
    ev.ExecutionStarted: _started_row,
    ev.ExecutionCompleted: _ended_row,
    ev.ContinueAsNew: _ended_row,
    ev.ExecutionTerminated: _fields_row("input"),
    ev.ExecutionSuspended: _fields_row("reason"),
    ev.ExecutionResumed: _fields_row("reason"),
    ev.ExecutionRewound: _rewound_row,
    ev.TaskScheduled: _scheduled_row,
    ev.TaskCompleted: _task_completed_row,
    ev.TaskFailed: _task_failed_row,
    ev.SubOrchestrationInstanceCreated: _child_created_row,
    ev.SubOrchestrationInstanceCompleted: _task_completed_row,
    ev.SubOrchestrationInstanceFailed: _task_failed_row,
    ev.TimerCreated: _fields_row("fire_at"),
    ev.TimerFired: _fields_row("timer_id", "fire_at"),
    ev.OrchestratorStarted: _marker_row,
    ev.OrchestratorCompleted: _marker_row,
    ev.EventSent: _fields_row("instance_id", "name", "input"),
    ev.EventRaised: _raised_row,
    ev.GenericEvent: _fields_row("data"),
    ev.HistoryState: _fields_row("state"),
    ev.UnknownEvent: _fields_row("kind", "raw"),
}


# ---- and one decoder ----


def _started(row: list[Any]) -> HistoryEvent:
    return ev.ExecutionStarted(
        timestamp=row[1],
        event_id=row[2],
        instance=_instance(row[3]),
        name=row[4],
        version=row[5],
        input=row[6],
        parent=_parent(row[7]),
        tags=row[8],
        correlation=row[9],
        trace_context=_trace(row[10]),
        scheduled_start_time=row[11],
        generation=row[12],
        generate_new_trace=row[13],
    )


def _completed(row: list[Any]) -> HistoryEvent:
    status, failure = OrchestrationStatus(row[3]), _failure(row[5])
    return ev.ExecutionCompleted(timestamp=row[1], event_id=row[2], status=status, result=row[4], failure=failure)


def _continued(row: list[Any]) -> HistoryEvent:
    status, failure = OrchestrationStatus(row[3]), _failure(row[5])
    return ev.ContinueAsNew(timestamp=row[1], event_id=row[2], status=status, result=row[4], failure=failure)


def _scheduled(row: list[Any]) -> HistoryEvent:
    if len(row) == 6:
        return ev.TaskScheduled(timestamp=row[1], event_id=row[2], name=row[3], version=row[4], input=row[5])
    return ev.TaskScheduled(
        timestamp=row[1],
        event_id=row[2],
        name=row[3],
        version=row[4],
        input=row[5],
        trace_context=_trace(row[6]),
        tags=row[7],
    )


def _success(kind: type[ev.TaskCompleted] | type[ev.SubOrchestrationInstanceCompleted]) -> _Decoder:
    return lambda row: kind(timestamp=row[1], event_id=row[2], task_scheduled_id=row[3], result=row[4])


def _task_failure(kind: type[ev.TaskFailed] | type[ev.SubOrchestrationInstanceFailed]) -> _Decoder:
    return lambda row: kind(
        timestamp=row[1], event_id=row[2], task_scheduled_id=row[3], reason=row[4], details=row[5], failure=_failure(row[6])
    )


def _child_created(row: list[Any]) -> HistoryEvent:
    return ev.SubOrchestrationInstanceCreated(
        timestamp=row[1],
        event_id=row[2],
        instance_id=row[3],
        name=row[4],
        version=row[5],
        input=row[6],
        client_span_id=row[7],
        tags=row[8],
    )


def _rewound(row: list[Any]) -> HistoryEvent:
    return ev.ExecutionRewound(
        timestamp=row[1],
        event_id=row[2],
        reason=row[3],
        parent_execution_id=row[4],
        instance_id=row[5],
        trace_context=_trace(row[6]),
    )


def _raised(row: list[Any]) -> HistoryEvent:
    return ev.EventRaised(timestamp=row[1], event_id=row[2], name=row[3], input=row[4], trace_context=_trace(row[5]))


_DECODERS: Final[dict[int, _Decoder]] = {
    EventType.EXECUTION_STARTED.value: _started,
    EventType.EXECUTION_COMPLETED.value: _completed,
    EventType.CONTINUE_AS_NEW.value: _continued,
    EventType.EXECUTION_TERMINATED.value: lambda r: ev.ExecutionTerminated(timestamp=r[1], event_id=r[2], input=r[3]),
    EventType.EXECUTION_SUSPENDED.value: lambda r: ev.ExecutionSuspended(timestamp=r[1], event_id=r[2], reason=r[3]),
    EventType.EXECUTION_RESUMED.value: lambda r: ev.ExecutionResumed(timestamp=r[1], event_id=r[2], reason=r[3]),
    EventType.EXECUTION_REWOUND.value: _rewound,
    EventType.TASK_SCHEDULED.value: _scheduled,
    EventType.TASK_COMPLETED.value: _success(ev.TaskCompleted),
    EventType.TASK_FAILED.value: _task_failure(ev.TaskFailed),
    EventType.SUB_ORCHESTRATION_INSTANCE_CREATED.value: _child_created,
    EventType.SUB_ORCHESTRATION_INSTANCE_COMPLETED.value: _success(ev.SubOrchestrationInstanceCompleted),
    EventType.SUB_ORCHESTRATION_INSTANCE_FAILED.value: _task_failure(ev.SubOrchestrationInstanceFailed),
    EventType.TIMER_CREATED.value: lambda r: ev.TimerCreated(timestamp=r[1], event_id=r[2], fire_at=r[3]),
    EventType.TIMER_FIRED.value: lambda r: ev.TimerFired(timestamp=r[1], event_id=r[2], timer_id=r[3], fire_at=r[4]),
    EventType.ORCHESTRATOR_STARTED.value: lambda r: ev.OrchestratorStarted(timestamp=r[1], event_id=r[2]),
    EventType.ORCHESTRATOR_COMPLETED.value: lambda r: ev.OrchestratorCompleted(timestamp=r[1], event_id=r[2]),
    EventType.EVENT_SENT.value: lambda r: ev.EventSent(
        timestamp=r[1], event_id=r[2], instance_id=r[3], name=r[4], input=r[5]
    ),
    EventType.EVENT_RAISED.value: _raised,
    EventType.GENERIC_EVENT.value: lambda r: ev.GenericEvent(timestamp=r[1], event_id=r[2], data=r[3]),
    EventType.HISTORY_STATE.value: lambda r: ev.HistoryState(timestamp=r[1], event_id=r[2], state=r[3]),
    _UNKNOWN: lambda r: ev.UnknownEvent(timestamp=r[1], event_id=r[2], kind=r[3], raw=r[4]),
}


def _rare_event(row: list[Any]) -> HistoryEvent:
    """A played event, or one of a newer version, which is kept as it is."""
    code = row[0]
    if code >= _PLAYED and (decoder := _DECODERS.get(code - _PLAYED)) is not None:
        event = decoder(row)
        object.__setattr__(event, "is_played", True)  # a fresh value nobody else has seen yet
        return event
    return ev.UnknownEvent(timestamp=Ticks(row[1]), event_id=row[2], kind=str(code), raw=_dump(row))
