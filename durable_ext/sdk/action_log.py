"""ActionLog: what an orchestrator decided, as the action JSON of the out-of-process protocol (specs/sdk.md 5.4).

Listens to a replay. Shapes are taken when a compound is made, as 1.x does; texts when the state is written, because a
timer may be cancelled after it was yielded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Union

from durable_ext.codec.json_text import sdk_string
from durable_ext.core.entity_calls import EntityCallTask
from durable_ext.core.orchestrators import HTTP_ACTIVITY_NAME
from durable_ext.core.payloads import PayloadConverter
from durable_ext.core.task_chains import HttpPollTask, LongTimer, RetryableTask
from durable_ext.core.tasks import (
    ActivityTask,
    EventTask,
    SubOrchestrationTask,
    Task,
    TimerTask,
    WhenAll,
    WhenAny,
)
from durable_ext.core.timestamps import Ticks, ticks_to_round_trip_iso

SCHEMA_V1: Final = 0
SCHEMA_V2: Final = 1
SCHEMA_V3: Final = 2

_WHEN_ANY: Final = 11
_WHEN_ALL: Final = 12


@dataclass(frozen=True, slots=True)
class _Compound:
    action_type: int
    children: tuple[_Node, ...]


_Node = Union[Task[Any], _Compound, str]
"""A task to be written later, a compound of such, or an action that is written already."""


class ActionLog:
    """The actions of one replay, in order; a `DecisionObserver` of `core`. Used from one thread."""

    __slots__ = ("_compounds", "_converter", "_is_nested", "_nodes", "_on_yield")

    def __init__(self, schema: int, converter: PayloadConverter, on_yield: Callable[[Task[Any]], None]) -> None:
        """`on_yield` hears of each task that is yielded."""
        self._is_nested = schema >= SCHEMA_V2
        self._converter = converter
        self._on_yield = on_yield
        self._nodes: list[tuple[_Node, ...]] = []
        # by identity; the task is kept so that its identity stays taken
        self._compounds: dict[int, tuple[Task[Any], tuple[_Node, ...]]] = {}

    # What the replay tells.

    def compound(self, task: Task[Any], children: Sequence[Task[Any]]) -> None:
        """A compound was made of these children."""
        found: list[_Node] = []
        for child in children:
            if not self._is_nested or not _is_scheduled(child):
                found.extend(self._shape(child))
        shape: tuple[_Node, ...] = tuple(found)
        if self._is_nested:
            shape = (_Compound(_WHEN_ANY if isinstance(task, WhenAny) else _WHEN_ALL, shape),)
        self._compounds[id(task)] = (task, shape)

    def yielded(self, task: Task[Any]) -> None:
        """A task was yielded: an action, unless all of it is scheduled."""
        self._on_yield(task)
        if not _is_scheduled(task):
            self._nodes.append(self._shape(task))

    def hopped(self, timer: TimerTask) -> None:
        """A long timer hopped: a further timer at top level."""
        self._nodes.append((timer,))

    def signalled(self, target: str, operation: str, text: str, due: Ticks | None) -> None:
        """An entity was signalled; at a later time is an action that 1.x never sends but the host takes."""
        later = "" if due is None else f', "fireAt": "{fire_at_text(due)}"'
        self._nodes.append((_entity_action(9 if due is None else 10, target, operation, text, later),))

    def added(self, actions: Sequence[str]) -> None:
        """Actions were added from outside, as JSON texts: one yield's."""
        self._nodes.append(tuple(actions))

    def continued(self, text: str) -> None:
        """The orchestration continues as new."""
        self._nodes.append((f'{{"actionType": 4, "input": {sdk_string(text)}}}',))

    # What the host is told.

    def text(self) -> str:
        """Return the JSON of `actions`: an array of arrays, with exactly one inner array from schema V2 on."""
        write = self._text
        groups = [", ".join([write(node) for node in nodes]) for nodes in self._nodes]
        if self._is_nested:
            return f"[[{', '.join(groups)}]]"
        return f"[{', '.join([f'[{group}]' for group in groups])}]"

    def texts_of(self, task: Task[Any]) -> list[str]:
        """Return the JSON of what a task stands for, yielded or not; more than one only in schema V1."""
        return [self._text(node) for node in self._shape(task)]

    def _shape(self, task: Task[Any]) -> tuple[_Node, ...]:
        """Return what a task becomes; more than one node only in schema V1, which flattens compounds."""
        known = self._compounds.get(id(task))
        if known is not None:
            return known[1]
        node: _Node = task
        if isinstance(task, LongTimer):
            node = task.first_hop
        elif isinstance(task, HttpPollTask):
            node = f'{{"actionType": 8, "httpRequest": {self._converter.to_text(task.request.to_json())}}}'
        if self._is_nested and isinstance(task, (RetryableTask, LongTimer)):
            node = _Compound(_WHEN_ALL, (node if isinstance(task, LongTimer) else _retry_node(task, self._converter),))
        elif isinstance(task, RetryableTask):
            node = _retry_node(task, self._converter)
        return (node,)

    def _text(self, node: _Node) -> str:
        if isinstance(node, str):
            return node
        if isinstance(node, _Compound):
            children = ", ".join([self._text(child) for child in node.children])
            return f'{{"actionType": {node.action_type}, "compoundActions": [{children}]}}'
        kind = node.__class__
        writer = _WRITERS.get(kind) or _writer_of_base(kind)
        return writer(node, self._converter)


def _is_scheduled(task: Task[Any]) -> bool:
    """Whether all of it was opened; true for a compound of nothing, as in 1.x."""
    if isinstance(task, (WhenAll, WhenAny)):
        return all(_is_scheduled(child) for child in task.children)
    return task.is_scheduled


def fire_at_text(fire_at: Ticks) -> str:
    """Return a time as `%Y-%m-%dT%H:%M:%S.%fZ`: six digits, the seventh cut off."""
    return f"{ticks_to_round_trip_iso(fire_at)[:-2]}Z"


def _input_of(task: ActivityTask[Any] | SubOrchestrationTask[Any], converter: PayloadConverter) -> str:
    return sdk_string(task.text if task.text is not None else converter.to_text(task.argument))


def _activity(task: ActivityTask[Any], converter: PayloadConverter) -> str:
    if task.name == HTTP_ACTIVITY_NAME:
        return f'{{"actionType": 8, "httpRequest": {task.text}}}'
    return f'{{"actionType": 0, "functionName": {sdk_string(task.name)}, "input": {_input_of(task, converter)}}}'


def _sub_orchestration(task: SubOrchestrationTask[Any], converter: PayloadConverter) -> str:
    return (
        f'{{"actionType": 2, "functionName": {sdk_string(task.name)}, "input": {_input_of(task, converter)}, '
        f"{_child(task)}}}"
    )


def _child(task: SubOrchestrationTask[Any]) -> str:
    return f'"instanceId": {_string_or_null(task.instance_id)}, "version": {_string_or_null(task.version)}'


def _retry_node(task: RetryableTask[Any], converter: PayloadConverter) -> str:
    attempt = task.attempt
    action_type, child = (1, "") if isinstance(attempt, ActivityTask) else (3, f", {_child(attempt)}")
    text = _input_of(attempt, converter)
    return (
        f'{{"actionType": {action_type}, "functionName": {sdk_string(attempt.name)}, "input": {text}, '
        f'"retryOptions": {converter.to_text(task.retry_options.to_json())}{child}}}'
    )


def _timer(task: TimerTask, converter: PayloadConverter) -> str:
    is_canceled = "true" if task.is_cancelled else "false"
    return f'{{"actionType": 5, "fireAt": "{fire_at_text(task.fire_at)}", "isCanceled": {is_canceled}}}'


def _event(task: EventTask[Any], converter: PayloadConverter) -> str:
    return f'{{"actionType": 6, "externalEventName": {sdk_string(task.name)}, "reason": "ExternalEvent"}}'


def _entity_call(task: EntityCallTask[Any], converter: PayloadConverter) -> str:
    return _entity_action(7, task.entity.instance_id, task.operation, task.text)


def _entity_action(action_type: int, target: str, operation: str, text: str, more: str = "") -> str:
    return (
        f'{{"actionType": {action_type}, "instanceId": {sdk_string(target)}, "operation": {sdk_string(operation)}, '
        f'"input": {sdk_string(text)}{more}}}'
    )


def _string_or_null(text: str | None) -> str:
    return "null" if text is None else sdk_string(text)


_WRITERS: Final[dict[type[Any], Callable[[Any, PayloadConverter], str]]] = {
    ActivityTask: _activity,
    SubOrchestrationTask: _sub_orchestration,
    TimerTask: _timer,
    EventTask: _event,
    EntityCallTask: _entity_call,
}


def _writer_of_base(kind: type[Any]) -> Callable[[Any, PayloadConverter], str]:
    """Return the writer of the task class that `kind` is a form of (the old import names have some)."""
    writer = next(_WRITERS[base] for base in kind.__mro__ if base in _WRITERS)
    _WRITERS[kind] = writer
    return writer
