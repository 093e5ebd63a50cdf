"""Replays one generation: history and new events in, actions out (specs/azure-storage.md Annex A, execution-semantics 2)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from support.provider_model.dotnet import SECOND, seven_digits
from support.provider_model.entity_sorter import Sorter
from support.provider_model.event_schema import Event, compact

_REQUESTS: Final = uuid.UUID("9e952959-5e33-4daf-827f-2fa12937b875")
Orchestrator = Callable[["Context"], Generator[Any, Any, Any]]
_ANSWERS: Final = {
    "TaskCompleted": "TaskScheduledId",
    "TaskFailed": "TaskScheduledId",
    "SubOrchestrationInstanceCompleted": "TaskScheduledId",
    "SubOrchestrationInstanceFailed": "TaskScheduledId",
    "TimerFired": "TimerId",
}
_GRANTED: Final = "Lock Acquisition Completed"
_DECISIONS: Final = ("TaskScheduled", "TimerCreated", "SubOrchestrationInstanceCreated", "EventSent")


class TaskError(Exception):
    """What a failed task raises inside an orchestrator."""


class NonDeterminismError(Exception):
    """History has a decision that the code does not take."""


@dataclass(slots=True, eq=False)
class Task:
    """Something an orchestrator waits for; `first` tasks are done with their first child, groups with all."""

    children: tuple[Task, ...] = ()
    first: bool = False
    is_done: bool = False
    value: Any = None
    error: str | None = None

    def settle(self) -> bool:
        """Look whether it is done; a group takes its result from its children."""
        if self.is_done or not self.children:
            return self.is_done
        done = [child for child in self.children if child.settle()]
        if self.first and done:
            self.is_done, self.value = True, min(done, key=lambda child: child.order)
        elif not self.first and (len(done) == len(self.children) or any(child.error for child in done)):
            self.is_done, self.value = True, [child.value for child in self.children]
            self.error = next((child.error for child in done if child.error), None)
        return self.is_done

    order: int = 0


@dataclass(frozen=True, slots=True)
class Action:
    """A decision with its id; `kind` is the event that records it."""

    action_id: int
    kind: str
    name: str = ""
    input: str | None = None
    instance_id: str | None = None
    fire_at: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a generation ends; `status` ContinuedAsNew has the next input as result."""

    action_id: int
    status: str
    result: str | None
    details: str | None = None


@dataclass(slots=True)
class Context:
    """What an orchestrator sees; its methods take the next id and return a task."""

    instance_id: str
    execution_id: str
    input: Any
    executor: Executor
    status: Any = None
    now: int = 0
    locks: list[str] = field(default_factory=list)
    sorter: Sorter = field(default_factory=Sorter)
    _guids: int = 0
    _last_lock: str = ""

    def activity(self, name: str, value: Any) -> Task:
        return self.executor.decide("TaskScheduled", name, compact([compact(value)]))

    def child(self, name: str, value: Any, instance_id: str | None = None) -> Task:
        return self.executor.decide(
            "SubOrchestrationInstanceCreated", name, compact(compact(value)), instance_id or f"{self.execution_id}:#"
        )

    def timer(self, seconds: float) -> Task:
        return self.executor.decide("TimerCreated", fire_at=self.now + round(seconds * SECOND))

    def cancel(self, timer: Task) -> None:
        self.executor.forget(timer)

    def event(self, name: str) -> Task:
        return self.executor.wait_for(name)

    def send(self, instance_id: str, name: str, payload: str | None) -> None:
        self.executor.decide("EventSent", name, payload, instance_id)

    def call_entity(self, entity_id: str, operation: str, value: Any = None) -> Task:
        return self._request(entity_id, {"op": operation} | ({} if value is None else {"input": compact(value)}))

    def signal_entity(self, entity_id: str, operation: str, value: Any = None) -> None:
        self._request(entity_id, {"op": operation, "signal": True} | ({} if value is None else {"input": compact(value)}))

    def lock(self, *entity_ids: str) -> Task:
        self.locks = sorted(entity_ids)
        lock_set = [dict(zip(("name", "key"), one[1:].split("@", 1), strict=True)) for one in self.locks]
        task = self._request(self.locks[0], {"op": None}, {"lockset": lock_set})
        return task

    def unlock(self) -> None:
        for entity_id in self.locks:
            self.send(entity_id, "release", compact({"parent": self.instance_id, "id": self._last_lock}))
        self.locks = []

    def _request(self, entity_id: str, own: dict[str, Any], more: dict[str, Any] | None = None) -> Task:
        name = f"{self.instance_id}_{seven_digits(self.now)}_{self._guids}"
        self._guids += 1
        request_id = str(uuid.uuid5(_REQUESTS, name))
        request = own | {"id": request_id, "parent": self.instance_id, "parentExecution": self.execution_id}
        self.sorter.label(request, entity_id, self.now)
        self._last_lock = request_id if more else self._last_lock
        self.send(entity_id, "op", compact(request | (more or {})))
        return self.executor.wait_for(request_id, is_answer=True)

    def continue_as_new(self, value: Any) -> None:
        self.executor.next_input = compact(compact(value))


def all_of(tasks: Iterable[Task]) -> Task:
    return Task(tuple(tasks))


def any_of(tasks: Iterable[Task]) -> Task:
    return Task(tuple(tasks), first=True)


def payload(text: str | None) -> Any:
    """Return the value of an input or event: JSON, and once more if it is a string of JSON."""
    value = json.loads(text) if text else None
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


class Executor:
    """One generation while it is replayed."""

    def __init__(self, orchestrators: Mapping[str, Orchestrator]) -> None:
        self._orchestrators = orchestrators
        self.context: Context | None = None
        self.next_input: str | None = None
        self.ending: Ending | None = None
        self.actions: dict[int, Action] = {}
        self._next_id = 0
        self._open: dict[int, Task] = {}
        self._waiting: list[tuple[str, Task]] = []
        self._early: list[Event] = []
        self._asked: set[str] = set()
        self._while_suspended: list[Event] | None = None
        self._withheld: dict[int, Action] = {}
        self._code: Generator[Any, Any, Any] | None = None
        self._awaited: Task | None = None
        self._result: tuple[str, str | None, str | None] | None = None
        self._name = ""
        self._now = 0
        self._settled = 0

    def play(self, events: Iterable[Event]) -> None:
        """Feed events; what is still to do stands in `actions` then, and the end in `ending`.

        Raises:
            NonDeterminismError: As the name says.
        """
        for event in events:
            self._feed(event)
        if self._result is not None and self.ending is None and not self._open:
            status, result, details = self._result
            self._end(status, result, details)

    def _feed(self, event: Event) -> None:
        if self._while_suspended is not None and event.kind not in ("ExecutionResumed", "ExecutionTerminated"):
            self._while_suspended.append(event)
            return
        if event.kind == "OrchestratorStarted":
            self._now = event.at
            if self.context is not None:
                self.context.now = event.at
        elif event.kind == "ExecutionStarted":
            self._start(event)
        elif event.kind in _DECISIONS:
            self._match(event)
        elif event.kind in _ANSWERS:
            self._answer(event)
        elif event.kind == "EventRaised":
            self._raise(event)
        elif event.kind == "ExecutionSuspended":
            self._while_suspended, self._withheld = [], self.actions
            self.actions = {}  # what was not recorded before waits for the resume (seen in s09c)
        elif event.kind == "ExecutionResumed":
            held, self._while_suspended = self._while_suspended or [], None
            self.actions, self._withheld = self._withheld | self.actions, {}
            for one in held:
                self._feed(one)
        elif event.kind == "ExecutionTerminated" and self.ending is None:
            self._end("Terminated", event["Input"], None)

    def _end(self, status: str, result: str | None, details: str | None) -> None:
        self.ending = Ending(self._next_id, status, result, details)
        self._next_id += 1

    def _start(self, event: Event) -> None:
        self._name = event["Name"]
        instance = event["OrchestrationInstance"]
        self.context = Context(instance["InstanceId"], instance["ExecutionId"], payload(event["Input"]), self, now=self._now)
        function = self._orchestrators.get(self._name)
        if function is None:
            self._fail(f"The function '{self._name}' doesn't exist, is disabled, or is not an orchestrator function.")
            return
        self._code = function(self.context)
        self._go_on(None, None)

    def _fail(self, text: str) -> None:
        message = f"Orchestrator function '{self._name}' failed: {text}"
        self._result = ("Failed", message, text)

    def _go_on(self, value: Any, error: str | None) -> None:
        assert self._code is not None
        self._awaited = None  # while the code runs, nothing that happens wakes it
        try:
            while True:
                awaited = self._code.throw(TaskError(error)) if error is not None else self._code.send(value)
                if not awaited.settle():
                    self._awaited = awaited
                    return
                value, error = awaited.value, awaited.error
        except StopIteration as stop:
            done = self.next_input is None
            self._result = ("Completed", compact(stop.value), None) if done else ("ContinuedAsNew", self.next_input, None)
        except Exception as failure:  # user code may raise anything
            self._fail(str(failure))

    def _settle(self, task: Task, value: Any, error: str | None) -> None:
        self._settled += 1
        task.is_done, task.value, task.error, task.order = True, value, error, self._settled
        awaited = self._awaited
        if awaited is not None and self.ending is None and awaited.settle():
            self._go_on(awaited.value, awaited.error)

    def decide(
        self, kind: str, name: str = "", text: str | None = None, instance_id: str | None = None, fire_at: int = 0
    ) -> Task:
        """Take a decision under the next id."""
        action_id, task = self._next_id, Task()
        self._next_id += 1
        if instance_id is not None and instance_id.endswith(":#"):
            instance_id = f"{instance_id[:-1]}{action_id}"
        self.actions[action_id] = Action(action_id, kind, name, text, instance_id, fire_at)
        if kind != "EventSent":
            self._open[action_id] = task
        return task

    def forget(self, timer: Task) -> None:
        """A cancelled timer is no longer waited for."""
        self._open = {number: task for number, task in self._open.items() if task is not timer}

    def wait_for(self, name: str, *, is_answer: bool = False) -> Task:
        """Wait for an event; one that came early is taken at once. The answer of an entity is a result in an envelope."""
        task = Task()
        if is_answer:
            self._asked.add(name)
        for event in self._early:
            if event["Name"].lower() == name.lower():
                self._early.remove(event)
                self._settle(task, self._said(event), None)
                return task
        self._waiting.append((name.lower(), task))
        return task

    def _match(self, event: Event) -> None:
        action = self.actions.pop(event.event_id, None)
        name = (event["Name"] or "").lower()
        if action is None or action.kind != event.kind or (event.kind != "TimerCreated" and action.name.lower() != name):
            raise NonDeterminismError(f"history has {event.kind} {event.event_id} {name!r}, the code decides {action}")

    def _answer(self, event: Event) -> None:
        task = self._open.pop(event[_ANSWERS[event.kind]], None)
        if task is None:
            return  # a duplicate
        error = f"{event['Reason']} \n {event['Details']}" if event.kind.endswith("Failed") else None
        self._settle(task, json.loads(event["Result"]) if event["Result"] else None, error)

    def _raise(self, event: Event) -> None:
        for index in range(len(self._waiting) - 1, -1, -1):
            name, task = self._waiting[index]
            if name == event["Name"].lower():
                del self._waiting[index]
                self._settle(task, self._said(event), None)
                return
        self._early.append(event)

    def _said(self, event: Event) -> Any:
        if event["Name"] not in self._asked:
            return payload(event["Input"])
        response = json.loads(event["Input"])
        result = response["result"]
        return result if result is None or result == _GRANTED else json.loads(result)
