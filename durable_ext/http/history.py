"""The `historyEvents` of a status response: typed events as the management API shows them (specs/http-api.md 9)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from durable_ext.core.events import (
    TASK_RESULTS,
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
)
from durable_ext.core.messages import TraceContext
from durable_ext.core.timestamps import Ticks, ticks_to_iso
from durable_ext.failure import FailureDetails
from durable_ext.http.payloads import quote, token

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryView:
    """What a request wants to see: inputs, and results as JSON."""

    show_input: bool = True
    show_output: bool = False


def history_json(events: Sequence[HistoryEvent], view: HistoryView) -> str:
    """Return the JSON array: episode marks dropped, scheduled rows joined with their completions."""
    scheduled: dict[int, TaskScheduled | SubOrchestrationInstanceCreated] = {
        event.event_id: event for event in events if isinstance(event, (TaskScheduled, SubOrchestrationInstanceCreated))
    }
    finished = {event.task_scheduled_id for event in events if isinstance(event, TASK_RESULTS)}
    return "[" + ",".join(_objects(events, view, scheduled, finished)) + "]"


def _objects(
    events: Sequence[HistoryEvent],
    view: HistoryView,
    scheduled: dict[int, TaskScheduled | SubOrchestrationInstanceCreated],
    finished: set[int],
) -> Iterator[str]:
    for event in events:
        if isinstance(event, (OrchestratorStarted, OrchestratorCompleted)):
            continue
        if isinstance(event, (TaskScheduled, SubOrchestrationInstanceCreated)) and event.event_id in finished:
            continue
        fields = _FIELDS.get(type(event), _no_fields)(event, view)
        if not view.show_input:
            fields = [pair for pair in fields if pair[0] != "Input"]
        kind = ("EventType", quote(getattr(event, "kind", None) or _name(event)))
        pairs = [*fields, kind] if isinstance(event, GenericEvent) else [kind, *fields]
        pairs.append(("Timestamp", _instant(event.timestamp)))
        if isinstance(event, ExecutionStarted):
            pairs.append(("FunctionName", quote(event.name)))
        if isinstance(event, TASK_RESULTS):
            pairs += _joined(scheduled.get(event.task_scheduled_id), view)
        yield "{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "}"


def _name(event: HistoryEvent) -> str:
    return type(event).__name__


def _joined(opening: TaskScheduled | SubOrchestrationInstanceCreated | None, view: HistoryView) -> Pairs:
    if opening is None:
        return []
    local = ticks_to_iso(opening.timestamp).removesuffix("Z") + "+00:00"
    pairs = [("ScheduledTime", quote(local)), ("FunctionName", quote(opening.name))]
    return [*pairs, ("Input", _text(opening.input))] if view.show_input else pairs


def _text(value: str | None) -> str:
    return "null" if value is None else quote(value)


def _instant(ticks: Ticks | None) -> str:
    return "null" if ticks is None else quote(ticks_to_iso(ticks))


def _map(values: Any) -> str:
    if values is None:
        return "null"
    return "{" + ",".join(f"{quote(key)}:{quote(value)}" for key, value in values.items()) + "}"


def _trace(context: TraceContext | None) -> str:
    if context is None:
        return "null"
    pairs = (
        ("TraceParent", context.trace_parent),
        ("TraceState", context.trace_state),
        ("Id", context.id),
        ("SpanId", context.span_id),
    )
    return "{" + ",".join(f'"{name}":{_text(value)}' for name, value in pairs) + "}"


def _failure(failure: FailureDetails | None) -> str:
    if failure is None:
        return "null"
    return (
        f'{{"ErrorType":{quote(failure.error_type)},"ErrorMessage":{quote(failure.error_message)},'
        f'"StackTrace":{_text(failure.stack_trace)},"InnerFailure":{_failure(failure.inner_failure)},'
        f'"IsNonRetriable":{"true" if failure.is_non_retriable else "false"},"Properties":{failure.properties or "null"}}}'
    )


def _result(result: str | None, view: HistoryView) -> Pairs:
    return [("Result", token(result))] if view.show_output else []


def _no_fields(event: Any, view: HistoryView) -> Pairs:
    return []


def _execution_started(event: ExecutionStarted, view: HistoryView) -> Pairs:
    return [
        ("Input", _text(event.input)),
        ("Correlation", _text(event.correlation)),
        ("ParentTraceContext", _trace(event.trace_context)),
        ("ScheduledStartTime", _instant(event.scheduled_start_time)),
        ("Generation", "null" if event.generation is None else str(event.generation)),
        ("GenerateNewTrace", "true" if event.generate_new_trace else "false"),
    ]


def _execution_completed(event: ExecutionCompleted, view: HistoryView) -> Pairs:
    status = ("OrchestrationStatus", quote(event.status.value))
    return [status, *_result(event.result, view), ("FailureDetails", _failure(event.failure))]


def _failed(event: TaskFailed | SubOrchestrationInstanceFailed, view: HistoryView) -> Pairs:
    return [
        ("Reason", _text(event.reason)),
        ("Details", _text(event.details)),
        ("FailureDetails", _failure(event.failure)),
    ]


def _task_scheduled(event: TaskScheduled, view: HistoryView) -> Pairs:
    return [
        ("Name", quote(event.name)),
        ("Input", _text(event.input)),
        ("ParentTraceContext", _trace(event.trace_context)),
        ("Tags", _map(event.tags)),
    ]


def _child_created(event: SubOrchestrationInstanceCreated, view: HistoryView) -> Pairs:
    return [
        ("Name", quote(event.name)),
        ("InstanceId", quote(event.instance_id)),
        ("Input", _text(event.input)),
        ("ClientSpanId", _text(event.client_span_id)),
        ("Tags", _map(event.tags)),
    ]


def _event_raised(event: EventRaised, view: HistoryView) -> Pairs:
    return [
        ("Name", quote(event.name)),
        ("Input", _text(event.input)),
        ("ParentTraceContext", _trace(event.trace_context)),
    ]


def _event_sent(event: EventSent, view: HistoryView) -> Pairs:
    return [("InstanceId", quote(event.instance_id)), ("Name", quote(event.name)), ("Input", _text(event.input))]


_FIELDS: Final[dict[type[HistoryEvent], Callable[[Any, HistoryView], Pairs]]] = {
    ExecutionStarted: _execution_started,
    ExecutionCompleted: _execution_completed,
    TaskScheduled: _task_scheduled,
    TaskCompleted: lambda event, view: _result(event.result, view),
    TaskFailed: _failed,
    SubOrchestrationInstanceCreated: _child_created,
    SubOrchestrationInstanceCompleted: lambda event, view: _result(event.result, view),
    SubOrchestrationInstanceFailed: _failed,
    TimerCreated: lambda event, view: [("FireAt", _instant(event.fire_at))],
    TimerFired: lambda event, view: [("FireAt", _instant(event.fire_at))],
    EventRaised: _event_raised,
    EventSent: _event_sent,
    ExecutionTerminated: lambda event, view: [("Input", _text(event.input))],
    ExecutionSuspended: lambda event, view: [("Reason", _text(event.reason))],
    ExecutionResumed: lambda event, view: [("Reason", _text(event.reason))],
    ExecutionRewound: lambda event, view: [("Reason", _text(event.reason))],
    GenericEvent: lambda event, view: [("Data", _text(event.data))],
    ContinueAsNew: lambda event, view: [("Result", _text(event.result))],
}
