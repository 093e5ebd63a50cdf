"""The worker loop: take messages, play instances, commit, run activities (specs/azure-storage.md 8)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from support.provider_model.dotnet import SECOND, UnreadableError, partition_of
from support.provider_model.envelopes import Envelope, read_envelope, write_envelope
from support.provider_model.event_schema import Event, compact
from support.provider_model.executor import Executor, NonDeterminismError, Orchestrator
from support.provider_model.generation import Generation, Outgoing
from support.provider_model.instance_tables import History, InstanceTables
from support.provider_model.start_filter import Verdict, judge_start
from support.provider_model.storage import ConflictError, QueueMessage, Storage

VISIBILITY: Final = 300
_RESULTS: Final = {
    "TaskCompleted": "TaskScheduledId",
    "TaskFailed": "TaskScheduledId",
    "SubOrchestrationInstanceCompleted": "TaskScheduledId",
    "SubOrchestrationInstanceFailed": "TaskScheduledId",
    "TimerFired": "TimerId",
}


class Storeroom(Storage, Protocol):
    """A storage in which time may be passed instead of waited for."""

    def pass_time(self, until: int) -> bool: ...


@dataclass(slots=True)
class App:
    """What users wrote; `ran` notes every run of an activity, `executed` each stored operation: entity, request id."""

    orchestrators: Mapping[str, Orchestrator]
    activities: Mapping[str, Callable[[Any], Any]]
    entities: Mapping[str, Any] = field(default_factory=dict)
    ran: list[tuple[str, Any]] = field(default_factory=list)
    executed: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Received:
    """A message that this worker holds."""

    queue: str
    message: QueueMessage
    envelope: Envelope


@dataclass(slots=True)
class Batch:
    """Messages of one instance that are played together."""

    instance_id: str
    execution_id: str | None
    received: list[Received]


class ProviderWorker:
    """One worker that owns some partitions of a hub.

    Attributes:
        queues: The control queues that it takes messages from.
        complaints: What .NET could not have read or gone on with, in words.
        committed: How many work items of instances were stored.
    """

    def __init__(
        self,
        storage: Storeroom,
        hub: str,
        app: App,
        *,
        partition_count: int = 4,
        partitions: Sequence[int] | None = None,
        get_at_most: int = 32,
        visibility: int = VISIBILITY,
    ) -> None:
        self.storage, self.hub, self.app = storage, hub, app
        self.tables = InstanceTables(storage, hub)
        self.complaints: list[str] = []
        self.committed = 0
        self._count = partition_count
        owned = range(partition_count) if partitions is None else partitions
        self.queues = {f"{hub.lower()}-control-{index:02}" for index in owned}
        self._get_at_most, self._visibility = get_at_most, visibility
        self._sequence = 0

    def control_queue(self, instance_id: str) -> str:
        return f"{self.hub.lower()}-control-{partition_of(instance_id, self._count):02}"

    @property
    def work_items(self) -> str:
        return f"{self.hub.lower()}-workitems"

    def run(self, seconds: float) -> None:
        """Work until nothing is left to do, or so much of the storage's time has passed."""
        end = self.storage.now() + round(seconds * SECOND)
        while self.storage.now() < end:
            if not self.step() and not self.storage.pass_time(end):
                return

    def step(self) -> bool:
        """Look into each queue once; whether there was anything."""
        found = [self._take_control(queue) for queue in sorted(self.queues)]
        return any([*found, self._take_work_item()])

    def send(self, outgoing: Outgoing) -> None:
        """Put a message for an instance, or a work item."""
        self._sequence += 1
        outgoing.envelope.sequence = self._sequence
        text = write_envelope(outgoing.envelope, self.storage, self.tables.container)
        queue = self.work_items if outgoing.is_work_item else self.control_queue(outgoing.envelope.instance_id)
        delay = max(0, outgoing.due - self.storage.now()) // SECOND if outgoing.due else 0
        self.storage.put(queue, text, delay)

    def _take_control(self, queue: str) -> bool:
        taken = self.storage.get(queue, self._get_at_most, self._visibility)
        received = [one for one in (self._read(queue, message) for message in taken) if one is not None]
        received.sort(key=lambda one: (one.message.inserted // SECOND, one.envelope.sequence))
        batches: list[Batch] = []
        for one in received:
            if self._passes(one):
                _add_to_batch(one, batches)
        while batches:
            self._play(batches.pop(0), batches)
        return bool(taken)

    def _read(self, queue: str, message: QueueMessage) -> Received | None:
        try:
            envelope = read_envelope(message.text, self.storage, self.tables.container)
        except (UnreadableError, ValueError, KeyError, TypeError) as error:
            self.complaints.append(f"unreadable message in {queue}: {error!r}")
            self._abandon(queue, message)
            return None
        return Received(queue, message, envelope)

    def _abandon(self, queue: str, message: QueueMessage) -> None:
        self.storage.hide(queue, message, min(2**message.dequeued, 600) if message.dequeued <= 30 else 600)

    def _passes(self, one: Received) -> bool:
        event = one.envelope.event
        if event.kind != "ExecutionStarted" or event["ParentInstance"] is not None:
            return True
        row = self.tables.instance_row(one.envelope.instance_id)
        verdict = judge_start(event, one.envelope.execution_id, row, one.message, self._visibility)
        if verdict is Verdict.DUPLICATE:
            self.storage.delete(one.queue, one.message)
        elif verdict is Verdict.TOO_EARLY:
            self._abandon(one.queue, one.message)
        return verdict is Verdict.PROCESS

    def _play(self, batch: Batch, later: list[Batch]) -> None:
        try:
            history = self.tables.load(batch.instance_id, batch.execution_id)
        except (UnreadableError, ValueError, KeyError, TypeError) as error:
            self.complaints.append(f"unreadable history of {batch.instance_id}: {error!r}")
            for one in batch.received:
                self._abandon(one.queue, one.message)
            return
        in_order = [one for one in batch.received if not self._is_early(one, history)]
        for one in batch.received:
            if one not in in_order:
                self._abandon(one.queue, one.message)
        if not in_order or self._is_discarded(in_order, history, later):
            return
        generation = Generation(
            batch.instance_id, history, [one.envelope for one in in_order], self.storage, self.app.entities
        )
        try:
            generation.play(lambda: Executor(self.app.orchestrators))
        except NonDeterminismError as error:
            self.complaints.append(f"{batch.instance_id} diverges: {error}")
            for one in in_order:
                self._abandon(one.queue, one.message)
            return
        self._commit(generation, in_order)

    def _is_early(self, one: Received, history: History) -> bool:
        event, sender = one.envelope.event, one.envelope.sender[0]
        from_entity = event.kind == "EventRaised" and sender.startswith("@") and not one.envelope.instance_id.startswith("@")
        if event.kind not in _RESULTS and not from_entity:
            return False
        if not any(known.kind == "ExecutionStarted" for known in history.events) and one.message.dequeued > 5:
            return False
        if from_entity:
            sent = [known["Input"] for known in history.events if known.kind == "EventSent"]
            return not any(json.loads(text or "{}").get("id") == event["Name"] for text in sent)
        return not any(known.event_id == event[_RESULTS[event.kind]] for known in history.events)

    def _is_discarded(self, received: list[Received], history: History, later: list[Batch]) -> bool:
        kinds = [known.kind for known in history.events]
        starts = "ExecutionStarted" in kinds or any(one.envelope.event.kind == "ExecutionStarted" for one in received)
        first = received[0].envelope
        instance_id = first.instance_id
        if not starts:
            if instance_id.startswith("@") and first.event.kind == "EventRaised" and not first.execution_id:
                return False
            end = next((one.envelope.event for one in received if one.envelope.event.kind == "ExecutionTerminated"), None)
            if end is not None:
                self.tables.merge_instance(instance_id, self.tables.terminate_columns(end))
        elif "ExecutionCompleted" in kinds:
            self._repair(instance_id, history)
        else:
            return False
        mine = [one for one in received if one.envelope.execution_id and one.envelope.execution_id == history.execution_id]
        deferred = [one for one in received if mine and one not in mine]
        for one in mine or received:
            self.storage.delete(one.queue, one.message)
        if deferred:
            later.append(Batch(instance_id, deferred[0].envelope.execution_id, deferred))
        return True

    def _repair(self, instance_id: str, history: History) -> None:
        row = self.tables.instance_row(instance_id)
        ended = next(one for one in history.events if one.kind == "ExecutionCompleted")
        is_other = row is not None and row.get("ExecutionId") != history.execution_id
        if is_other or (row is not None and row.get("RuntimeStatus") == ended["OrchestrationStatus"]):
            return
        status = json.loads((row or {}).get("CustomStatus") or "null")
        columns = self.tables.repair_columns(history.events, history.execution_id or "", status, is_missing=row is None)
        self.tables.merge_instance(instance_id, columns)

    def _commit(self, generation: Generation, received: list[Received]) -> None:
        try:
            for outgoing in generation.outbox:
                self.send(outgoing)
            events, first_new = generation.events, generation.first_new
            self.tables.write_history(
                generation.instance_id, generation.execution_id, events, first_new, generation.history.etag
            )
            columns = self.tables.checkpoint_columns(
                events, events[first_new:], generation.custom_status, generation.execution_id
            )
            self.tables.merge_instance(generation.instance_id, columns)
        except ConflictError:
            for one in received:
                self._abandon(one.queue, one.message)
            return
        self.committed += 1
        self.app.executed += [(generation.instance_id, request["id"]) for request in generation.executed]
        for one in received:
            self.storage.delete(one.queue, one.message)

    def _take_work_item(self) -> bool:
        taken = self.storage.get(self.work_items, 1, self._visibility)
        for message in taken:
            one = self._read(self.work_items, message)
            if one is not None:
                self.send(self._run_activity(one.envelope))
                self.storage.delete(self.work_items, message)
        return bool(taken)

    def _run_activity(self, task: Envelope) -> Outgoing:
        name, scheduled = task.event["Name"], {"TaskScheduledId": task.event.event_id}
        (text,) = json.loads(task.event["Input"])
        value = _given(text)
        activity = next((call for known, call in self.app.activities.items() if known.lower() == name.lower()), None)
        self.app.ran.append((name, value))
        try:
            if activity is None:
                raise LookupError(f"Activity function '{name}' does not exist.")
            result = activity(value)
        except Exception as error:  # user code may raise anything
            reason = f"Activity function '{name}' failed: {error}"
            answer = Event("TaskFailed", self.storage.now(), own={**scheduled, "Reason": reason, "Details": str(error)})
        else:
            written = None if result is None else compact(result)
            answer = Event("TaskCompleted", self.storage.now(), own={**scheduled, "Result": written})
        episode = -1 if task.episode is None else task.episode
        sender = (task.instance_id, task.execution_id)
        return Outgoing(
            Envelope(
                event=answer, instance_id=task.instance_id, execution_id=task.execution_id, sender=sender, episode=episode
            )
        )


def _given(text: Any) -> Any:
    """The worker process decodes the one element if it is JSON text."""
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text


def _add_to_batch(one: Received, batches: list[Batch]) -> None:
    instance_id, execution_id = one.envelope.instance_id, one.envelope.execution_id
    if one.envelope.event.kind != "ExecutionStarted":
        for batch in reversed(batches):
            same = batch.instance_id == instance_id
            if same and (not execution_id or batch.execution_id in (None, execution_id)):
                batch.execution_id = batch.execution_id or execution_id
                batch.received.append(one)
                return
    batches.append(Batch(instance_id, execution_id, [one]))


def new_execution_id() -> str:
    """Return an id for a generation."""
    return uuid.uuid4().hex
