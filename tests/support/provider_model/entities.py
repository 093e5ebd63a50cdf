"""One batch of an entity: the scheduler of the Functions extension (specs/azure-storage.md 10)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from support.provider_model.dotnet import SECOND, UnreadableError, seven_digits, ticks
from support.provider_model.entity_sorter import Request, Sorter, stamp_of
from support.provider_model.event_schema import Event, compact
from support.provider_model.executor import payload
from support.provider_model.storage import Storage

EARLY: Final = SECOND // 10
LONGEST: Final = 6 * 86_400 * SECOND
_BEFORE_ID: Final = {"$type", "op", "signal", "input", "id"}


FIRE_AND_FORGET: Final = "FireAndForget"


@dataclass(frozen=True, slots=True)
class Signal:
    """What an operation sends to an entity."""

    to: str
    operation: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class Start:
    """An orchestration that an operation starts; nobody waits for it."""

    name: str
    instance_id: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an operation leaves: the state, whether the entity exists then, the result, and what goes out."""

    state: Any
    result: Any = None
    exists: bool = True
    sent: tuple[Signal | Start, ...] = ()


Entity = Callable[[str, Any, Any], Outcome]


@dataclass(frozen=True, slots=True)
class EntityMessage:
    """What an entity sends."""

    event: Event
    to: str
    execution_id: str | None = None
    due: int = 0


def read_request(text: str | None) -> Request:
    """Read a request; its id stands where the positional reader looks (8.4).

    Raises:
        UnreadableError: A member is missing, misplaced or of another type.
    """
    request: Request = json.loads(text or "null")
    names = list(request)
    if "op" not in request or "id" not in names or not set(names[: names.index("id")]) < _BEFORE_ID:
        raise UnreadableError(f"request {text}")
    if str(uuid.UUID(request["id"])) != request["id"] or not isinstance(request.get("input", ""), str):
        raise UnreadableError(f"request {text}")
    for member in ("Timestamp", "Predecessor"):
        stamp_of(request, member)
    return request


class EntityBatch:
    """The scheduler state of one entity while it plays a batch."""

    def __init__(self, instance_id: str, state_text: str | None, entities: Mapping[str, Entity], storage: Storage) -> None:
        self._id, self._storage, self._entities = instance_id, storage, entities
        document = json.loads(state_text) if state_text else {}
        self._exists, self._state = bool(document.get("exists")), document.get("state")
        if self._state is not None and (not self._exists or not isinstance(self._state, str)):
            raise UnreadableError(f"state {state_text!r}: not a string, or of an entity that does not exist")
        self._queue: list[Request] = document.get("queue", [])
        self._locked_by: str | None = document.get("lockedBy")
        self._sorter = Sorter(document.get("sorter"))
        self.outbox: list[EntityMessage] = []
        self.executed: list[Request] = []

    def play(self, events: Sequence[Event]) -> None:
        """Sort in what came, then run what may run."""
        of_holder: list[Request] = []
        for event in events:
            if event["Name"].startswith("op"):
                self._receive(event, of_holder)
            elif event["Name"] == "release" and json.loads(event["Input"])["parent"] == self._locked_by:
                self._locked_by = None
        self._queue[:0] = of_holder
        while self._queue and self._locked_by in (None, self._queue[0].get("parent")):
            self._run(self._queue.pop(0))

    def _receive(self, event: Event, of_holder: list[Request]) -> None:
        request = read_request(event["Input"])
        due = ticks(request["due"]) if request.get("due") else 0
        if due > self._storage.now() + EARLY:
            self._send(f"op@{seven_digits(min(due, self._storage.now() + LONGEST))}", self._id, compact(request), due=due)
            return
        for delivered in self._sorter.receive(request):
            is_holder = self._locked_by is not None and delivered.get("parent") == self._locked_by
            (of_holder if is_holder else self._queue).append(delivered)

    def _run(self, request: Request) -> None:
        if request.get("lockset"):
            self._lock(request)
            return
        name = self._id[1:].partition("@")[0]
        function = next(call for known, call in self._entities.items() if known.lower() == name)
        value = payload(request.get("input"))
        state = json.loads(self._state) if self._exists and self._state is not None else None
        outcome: Outcome = function(request["op"], value, state)
        self.executed.append(request)
        self._exists = outcome.exists
        self._state = compact(outcome.state) if self._exists else None
        if not request.get("signal"):
            self._answer(request, {"result": compact(outcome.result)})
        for one in outcome.sent:
            self._start(one) if isinstance(one, Start) else self._signal(one)

    def _signal(self, signal: Signal) -> None:
        request: Request = {"op": signal.operation, "signal": True}
        request |= {} if signal.value is None else {"input": compact(signal.value)}
        request |= {"id": str(uuid.uuid4()), "parent": self._id}
        self._sorter.label(request, signal.to, self._storage.now())
        self._send("op", signal.to, compact(request))

    def _start(self, start: Start) -> None:
        child = {"InstanceId": start.instance_id, "ExecutionId": uuid.uuid4().hex}
        me = {"InstanceId": self._id, "ExecutionId": None}
        parent = {"Name": self._id, "OrchestrationInstance": me, "TaskScheduleId": 0, "Version": ""}
        text = None if start.value is None else compact(compact(start.value))
        own: dict[str, Any] = {"OrchestrationInstance": child, "ParentInstance": parent, "Name": start.name, "Version": ""}
        event = Event("ExecutionStarted", self._storage.now(), own=own | {"Input": text, "Tags": {FIRE_AND_FORGET: ""}})
        self.outbox.append(EntityMessage(event, start.instance_id, child["ExecutionId"]))

    def _answer(self, request: Request, response: dict[str, Any]) -> None:
        self._send(request["id"], request["parent"], compact(response), request.get("parentExecution"))

    def _lock(self, request: Request) -> None:
        self._locked_by = request["parent"]
        position = request.get("pos", 0) + 1
        if position == len(request["lockset"]):
            self._answer(request, {"result": "Lock Acquisition Completed"})
            return
        following = request["lockset"][position]
        self._send("op", f"@{following['name']}@{following['key']}", compact({**request, "pos": position}))

    def _send(self, name: str, to: str, text: str, execution_id: str | None = None, due: int = 0) -> None:
        event = Event("EventRaised", self._storage.now(), own={"Name": name, "Input": text})
        self.outbox.append(EntityMessage(event, to, execution_id, due))

    def state_text(self) -> str:
        """Return the input of the next generation."""
        document: dict[str, Any] = {"exists": True, "state": self._state} if self._exists else {}
        if self._queue:
            document["queue"] = self._queue
        if self._locked_by:
            document["lockedBy"] = self._locked_by
        return compact({**document, "sorter": self._sorter.document()})

    def status(self) -> dict[str, Any]:
        """Return the custom status."""
        written = {"entityExists": self._exists, "queueSize": len(self._queue), "lockedBy": self._locked_by}
        return {name: value for name, value in written.items() if value}
