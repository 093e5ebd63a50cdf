"""What clients send: starts, events, terminate, suspend, resume, rewind, purge (specs/azure-storage.md 9)."""

from __future__ import annotations

import uuid
from typing import Any

from support.provider_model.dotnet import escaped_key, time_text
from support.provider_model.envelopes import Envelope
from support.provider_model.event_schema import Event, compact
from support.provider_model.outgoing import Outgoing
from support.provider_model.rewinding import purge, rewind
from support.provider_model.storage import Row, Write
from support.provider_model.worker import ProviderWorker


class ProviderClient:
    """A client of a hub; it sends through a worker's queues and tables."""

    def __init__(self, worker: ProviderWorker) -> None:
        self._worker = worker

    def _send(self, kind: str, instance_id: str, **own: Any) -> None:
        event = Event(kind, self._worker.storage.now(), own=own)
        self._worker.send(Outgoing(Envelope(event=event, instance_id=instance_id, execution_id=None)))

    def start(self, name: str, instance_id: str, value: Any) -> None:
        """Queue first, row second (6.6)."""
        storage = self._worker.storage
        text = None if value is None else compact(compact(value))
        instance = {"InstanceId": instance_id, "ExecutionId": uuid.uuid4().hex}
        before = self._worker.tables.instance_row(instance_id)
        generation = 0 if before is None else before.get("Generation", 0) + 1
        own = {"OrchestrationInstance": instance, "Name": name, "Version": "", "Input": text, "Generation": generation}
        event = Event("ExecutionStarted", storage.now(), own=own)
        self._worker.send(Outgoing(Envelope(event=event, instance_id=instance_id, execution_id=instance["ExecutionId"])))
        row: Row = {"PartitionKey": escaped_key(instance_id), "RowKey": "", "Name": name, "Version": "", "Tags": "null"}
        row |= {"RuntimeStatus": "Pending", "TaskHubName": self._worker.hub, "Generation": generation}
        row |= {"ExecutionId": instance["ExecutionId"]} | ({} if text is None else {"Input": text})
        for column in ("CreatedTime", "LastUpdatedTime"):
            row |= {column: time_text(event.at), f"{column}@odata.type": "Edm.DateTime"}
        storage.write("Instances", [Write("put" if before else "insert", row)])

    def raise_event(self, instance_id: str, name: str, value: Any) -> None:
        self._send("EventRaised", instance_id, Name=name, Input=compact(compact(value)))

    def terminate(self, instance_id: str, reason: str) -> None:
        self._send("ExecutionTerminated", instance_id, Input=reason)

    def resume(self, instance_id: str, reason: str | None) -> None:
        self._send("ExecutionResumed", instance_id, Reason=reason)

    def suspend(self, instance_id: str, reason: str) -> None:
        self._send("ExecutionSuspended", instance_id, Reason=reason)

    def rewind(self, instance_id: str, reason: str) -> None:
        """Rewrite the histories of a failed tree, then wake its leaves."""
        for leaf in rewind(self._worker.storage, instance_id):
            self._send("GenericEvent", leaf, Data=reason)

    def purge(self, instance_id: str) -> bool:
        return purge(self._worker.storage, self._worker.tables.container, instance_id)

    def signal(self, entity_id: str, operation: str, value: Any) -> None:
        """Signal an entity as a client does: without ordering stamps."""
        request = {"op": operation, "signal": True, "input": compact(value), "id": str(uuid.uuid4())}
        request |= {"Timestamp": "0001-01-01T00:00:00", "Predecessor": "0001-01-01T00:00:00"}
        self._send("EventRaised", entity_id, Name="op", Input=compact(request))
