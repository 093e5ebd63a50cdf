"""Plays the messages of one batch on one instance: new events and outgoing messages (specs/azure-storage.md 8.5)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from support.provider_model.entities import FIRE_AND_FORGET, EntityBatch
from support.provider_model.envelopes import Envelope
from support.provider_model.event_schema import Event
from support.provider_model.executor import Action, Ending, Executor
from support.provider_model.instance_tables import History
from support.provider_model.outgoing import Outgoing, due_of_signal
from support.provider_model.storage import Storage

__all__ = ["Generation", "Outgoing"]


class Generation:
    """One work item; after `play` its results are what has to be committed.

    Attributes:
        events: The whole history of the generation that is current at the end, of which those from `first_new` are new.
    """

    def __init__(
        self,
        instance_id: str,
        history: History,
        messages: Sequence[Envelope],
        storage: Storage,
        entities: Mapping[str, Any],
    ) -> None:
        self.instance_id, self.history, self._storage, self._entities = instance_id, history, storage, entities
        self.events = list(history.events)
        self.first_new = len(self.events)
        self.outbox: list[Outgoing] = []
        self.custom_status: Any = None
        self.execution_id = history.execution_id or ""
        self.executed: Sequence[Mapping[str, Any]] = ()
        self._messages = _starts_first(messages)
        self._loaded_id = history.execution_id

    def play(self, new_executor: Callable[[], Executor]) -> None:
        """Append the messages and run the code, again after each continue-as-new."""
        self._append(Event("OrchestratorStarted", self._storage.now()))
        self._append_messages()
        if self.instance_id.startswith("@"):
            self._play_entity()
            return
        while True:
            executor = new_executor()
            executor.play(self.events)
            self.custom_status = executor.context.status if executor.context is not None else None
            self._decide(executor)
            ending = executor.ending
            if ending is None or ending.status != "ContinuedAsNew":
                self._append(Event("OrchestratorCompleted", self._storage.now()))
                return
            self._begin_anew(ending.result)

    def _append(self, event: Event) -> None:
        self.events.append(event)

    def _append_messages(self) -> None:
        started = next((event for event in self.events if event.kind == "ExecutionStarted"), None)
        if started is None and self.instance_id.startswith("@"):
            started = self._auto_start()
            self._append(started)
        for message in self._messages:
            event = message.event
            if event.kind == "ExecutionStarted":
                if started is not None:
                    continue
                started, self.execution_id = event, message.execution_id or ""
            elif message.execution_id and message.execution_id != self.execution_id:
                continue
            self._append(replace(event, is_played=True))

    def _auto_start(self) -> Event:
        self.execution_id = uuid.uuid4().hex
        instance = {"InstanceId": self.instance_id, "ExecutionId": self.execution_id}
        own = {"OrchestrationInstance": instance, "Name": self.instance_id, "Version": ""}
        return Event("ExecutionStarted", self._storage.now(), own=own, is_played=True)

    def _begin_anew(self, text: str | None) -> None:
        started = next(event for event in self.events if event.kind == "ExecutionStarted")
        self.execution_id = uuid.uuid4().hex
        instance = {"InstanceId": self.instance_id, "ExecutionId": self.execution_id}
        own = {**started.own, "OrchestrationInstance": instance, "Input": text, "Generation": None}
        again = Event("ExecutionStarted", self._storage.now(), own=own, is_played=True)
        first = Event("OrchestratorStarted", self._storage.now())
        self.events = [first, again, Event("OrchestratorCompleted", self._storage.now(), is_played=True)]
        self.first_new = 0

    @property
    def _episode(self) -> int:
        return sum(event.kind == "OrchestratorStarted" for event in self.events)

    def _post(
        self,
        event: Event,
        to: str,
        execution_id: str | None,
        *,
        due: int = 0,
        is_work_item: bool = False,
        sender: tuple[str, str | None] | None = None,
    ) -> None:
        sender = sender or (self.instance_id, self._loaded_id or self.execution_id)
        envelope = Envelope(event=event, instance_id=to, execution_id=execution_id, sender=sender, episode=self._episode)
        self.outbox.append(Outgoing(envelope, due=due, is_work_item=is_work_item))

    def _decide(self, executor: Executor) -> None:
        for action in sorted(executor.actions.values(), key=lambda one: one.action_id):
            getattr(self, f"_do_{action.kind}")(action)
        if executor.ending is not None and executor.ending.status != "ContinuedAsNew":
            self._complete(executor.ending)

    def _do_TaskScheduled(self, action: Action) -> None:
        now, own = self._storage.now(), {"Name": action.name, "Version": ""}
        self._append(Event("TaskScheduled", now, action.action_id, own))
        event = Event("TaskScheduled", now, action.action_id, own | {"Input": action.input})
        self._post(event, self.instance_id, self.execution_id, is_work_item=True)

    def _do_TimerCreated(self, action: Action) -> None:
        self._append(Event("TimerCreated", self._storage.now(), action.action_id, {"FireAt": action.fire_at}))
        own = {"TimerId": action.action_id, "FireAt": action.fire_at}
        self._post(
            Event("TimerFired", self._storage.now(), own=own), self.instance_id, self.execution_id, due=action.fire_at
        )

    def _do_SubOrchestrationInstanceCreated(self, action: Action) -> None:
        child_id, now = action.instance_id or "", self._storage.now()
        created = {"Name": action.name, "Version": "", "InstanceId": child_id}
        self._append(Event("SubOrchestrationInstanceCreated", now, action.action_id, created))
        started = next(event for event in self.events if event.kind == "ExecutionStarted")
        me = {"InstanceId": self.instance_id, "ExecutionId": self.execution_id}
        child = {"InstanceId": child_id, "ExecutionId": uuid.uuid4().hex}
        parent = {
            "Name": started["Name"],
            "OrchestrationInstance": me,
            "TaskScheduleId": action.action_id,
            "Version": "",
        }
        tags = {name: text for name, text in (started["Tags"] or {}).items() if name != FIRE_AND_FORGET}
        own: dict[str, Any] = {"OrchestrationInstance": child, "ParentInstance": parent, "Name": action.name, "Version": ""}
        own["Tags"] = tags or None
        self._post(Event("ExecutionStarted", now, own=own | {"Input": action.input}), child_id, child["ExecutionId"])

    def _do_EventSent(self, action: Action) -> None:
        own = {"InstanceId": action.instance_id, "Name": action.name, "Input": action.input}
        self._append(Event("EventSent", self._storage.now(), action.action_id, own))
        raised = Event("EventRaised", self._storage.now(), own={"Name": action.name, "Input": action.input})
        self._post(raised, action.instance_id or "", None, due=due_of_signal(action.name))

    def _complete(self, ending: Ending) -> None:
        own = {"OrchestrationStatus": ending.status, "Result": ending.result}
        self._append(Event("ExecutionCompleted", self._storage.now(), ending.action_id, own))
        started = next(event for event in self.events if event.kind == "ExecutionStarted")
        parent = started["ParentInstance"]
        if parent is None or FIRE_AND_FORGET in (started["Tags"] or {}):
            return
        told: dict[str, Any] = {"TaskScheduledId": parent["TaskScheduleId"]}
        if ending.status == "Completed":
            event = Event("SubOrchestrationInstanceCompleted", self._storage.now(), own=told | {"Result": ending.result})
        else:
            told |= {"Reason": ending.result, "Details": ending.details}
            event = Event("SubOrchestrationInstanceFailed", self._storage.now(), own=told)
        target = parent["OrchestrationInstance"]
        self._post(event, target["InstanceId"], target["ExecutionId"])

    def _play_entity(self) -> None:
        started = next(event for event in self.events if event.kind == "ExecutionStarted")
        new = self.events[self.first_new :]
        batch = EntityBatch(self.instance_id, started["Input"], self._entities, self._storage)
        batch.play([event for event in new if event.kind == "EventRaised"])
        self.executed = batch.executed
        for message in batch.outbox:
            sender = (self.instance_id, self._loaded_id)
            self._post(message.event, message.to, message.execution_id, due=message.due, sender=sender)
        self._begin_anew(batch.state_text())
        self.custom_status = batch.status()


def _starts_first(messages: Sequence[Envelope]) -> list[Envelope]:
    """Put the first start that no parent sent before the other messages of its execution (8.6)."""
    for start in messages:
        if start.event.kind == "ExecutionStarted" and start.event["ParentInstance"] is None:
            return [start, *(one for one in messages if one is not start)]
    return list(messages)
