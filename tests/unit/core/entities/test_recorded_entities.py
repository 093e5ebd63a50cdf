"""Entities that the extension left in the middle of something go on here (interop/fixtures/entity-*.json)."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from support.entity_bench import CODEC, EntityBench

from durable_ext.core.entities.context import EntityContext
from durable_ext.core.entities.definitions import EntityOptions
from durable_ext.core.events import EventRaised, ExecutionStarted, HistoryEvent, OrchestratorStarted
from durable_ext.core.messages import OrchestrationInstance
from durable_ext.core.timestamps import ticks_from_iso

FIXTURES = Path(__file__).parents[3] / "interop"


def recorded_counter(context: EntityContext) -> None:
    """The entity of the recordings: add, set, get, delete."""
    if context.operation_name == "add":
        context.set_state(context.get_state(lambda: 0) + context.get_input())
    elif context.operation_name == "set":
        context.set_state(context.get_input())
    elif context.operation_name == "get":
        context.set_result(context.get_state(lambda: 0))
    elif context.operation_name == "delete":
        context.destruct_on_exit()


class RecordedHub:
    """The entities of a recorded hub, with their queued messages."""

    def __init__(self, name: str, *, max_batch: int | None = None) -> None:
        document = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
        self.about = document["about"]
        self.options = EntityOptions(max_batch=max_batch)
        self.inputs = self._inputs(document)
        self.benches: dict[str, EntityBench] = {}
        self.waiting: deque[tuple[str, EventRaised]] = deque(self._queued(document))

    @staticmethod
    def _inputs(document: dict[str, Any]) -> dict[str, str]:
        rows = [row for table, rows in document["tables"].items() if table.endswith("History") for row in rows]
        return {row["PartitionKey"]: row["Input"] for row in rows if row["PartitionKey"][0] == "@" and "Input" in row}

    @staticmethod
    def _queued(document: dict[str, Any]) -> list[tuple[str, EventRaised]]:
        bodies = [json.loads(message["text"]) for messages in document["queues"].values() for message in messages]
        bodies.sort(key=lambda body: body["SequenceNumber"])
        found = []
        for body in bodies:
            event = body["TaskMessage"]["Event"]
            if "Name" in event:
                at = ticks_from_iso(event["Timestamp"])
                raised = EventRaised(timestamp=at, name=event["Name"], input=event["Input"])
                found.append((body["TaskMessage"]["OrchestrationInstance"]["InstanceId"], raised))
        return found

    def bench(self, instance_id: str) -> EntityBench:
        if instance_id not in self.benches:
            history: tuple[HistoryEvent, ...] = ()
            if instance_id in self.inputs:
                at = ticks_from_iso("2026-11-21T11:21:57Z")
                instance = OrchestrationInstance(instance_id=instance_id, execution_id="recorded")  # type: ignore[arg-type]
                started = ExecutionStarted(timestamp=at, instance=instance, name=instance_id, input=self.inputs[instance_id])
                history = (OrchestratorStarted(timestamp=at), started)
            self.benches[instance_id] = EntityBench(
                recorded_counter, instance_id=instance_id, history=history, options=self.options
            )
        return self.benches[instance_id]

    def settle(self) -> None:
        """Deliver messages to entities until none is left; what goes to orchestrations is dropped."""
        while self.waiting:
            target, event = self.waiting.popleft()
            if target.startswith("@"):
                for message in self.bench(target).run(event).messages:
                    assert isinstance(message.message.event, EventRaised)
                    self.waiting.append((message.message.target.instance_id, message.message.event))


@pytest.mark.parametrize(
    "name",
    ["entity-signal-queued", "entity-mid-batch", "entity-ordered-signals-queued", "entity-idle"],
)
def test_queued_messages_lead_to_the_state_that_the_extension_reached(name: str) -> None:
    hub = RecordedHub(name, max_batch=2)

    hub.settle()

    for entity in hub.about["entities"]:
        assert json.loads(hub.bench(entity["id"]).state or "") == json.loads(entity["expectedState"])


def test_a_queued_release_lets_the_signal_in_the_state_run() -> None:
    hub = RecordedHub("entity-release-queued")

    hub.settle()

    assert hub.bench("@counter@locked").state == "11"
    assert hub.bench("@counter@locked-2").state is None


def test_ordered_signals_that_come_in_reverse_are_put_in_order() -> None:
    hub = RecordedHub("entity-ordered-signals-queued")
    hub.waiting.reverse()

    hub.settle()

    assert hub.bench("@counter@ordered").state == "111"


def test_a_forwarded_lock_request_is_granted_by_the_last_entity() -> None:
    hub = RecordedHub("entity-lock-forwarded")
    hub.settle()

    second = hub.bench("@counter@locked-2")

    assert (second.state, second.stored.locked_by) == ("1", "lock-1")


def test_a_locked_entity_is_written_back_byte_for_byte_when_nothing_happens() -> None:
    hub = RecordedHub("entity-locked")

    assert CODEC.state_text(hub.bench("@counter@locked").stored) == hub.inputs["@counter@locked"]


def test_a_request_that_another_worker_took_before_it_died_counts_once() -> None:
    hub = RecordedHub("entity-call-queued")
    hub.waiting.extend(list(hub.waiting))

    hub.settle()

    assert hub.bench("@counter@called").state == "5"
