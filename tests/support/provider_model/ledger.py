"""What entities were asked, and how often an event may come: read from messages and frozen hubs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


class Ledger:
    """Requests to entities by id and stamp, however often each was sent: what has another of them is another request."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._asked: dict[str, dict[str, dict[str, Any]]] = {}
        for text in texts:
            self.note_message(text)

    def note_message(self, text: str) -> None:
        """Note what a queue message says; one whose envelope is in a blob is no request of a test."""
        message = json.loads(text).get("TaskMessage")
        if message is not None and message["Event"]["$type"] == "DurableTask.Core.History.EventRaisedEvent":
            self._note(message["OrchestrationInstance"]["InstanceId"], message["Event"]["Name"], message["Event"]["Input"])

    def _note(self, to: str, name: str, text: str | None) -> None:
        if to.startswith("@") and name.startswith("op"):
            request = json.loads(text or "{}")
            self._asked.setdefault(to, {})[f"{request['id']} {request['Timestamp']}"] = request

    def amounts(self, entity_id: str) -> list[int]:
        """Return the amount of each different request to add something."""
        asked = self._asked.get(entity_id, {}).values()
        return [int(json.loads(str(one["input"]))) for one in asked if one["op"] == "add"]


def deliveries(frozen: Mapping[str, Any], instance_id: str, name: str) -> int:
    """Return how often an event that a client has sent may be in the history at the end (8.10).

    Twice if the worker stopped between storing the episode that it woke and deleting its message, else once. A worker that
    stores more before it deletes the message has no excuse.
    """
    rows = [row for row in frozen["tables"][f"{frozen['hub']}History"] if row["PartitionKey"] == instance_id]
    rows.sort(key=lambda row: str(row["RowKey"]))
    came = [n for n, row in enumerate(rows) if row.get("EventType") == "EventRaised" and row.get("Name") == name]
    is_queued = any(_is_event(one["text"], instance_id, name) for queue in frozen["queues"].values() for one in queue)
    if not came or not is_queued:
        return 1
    later = {row.get("EventType") for row in rows[came[-1] + 1 :]}
    return 1 if "OrchestratorStarted" in later else 2


def _is_event(text: str, instance_id: str, name: str) -> bool:
    message = json.loads(text).get("TaskMessage") or {}
    is_raised = message and message["Event"]["$type"] == "DurableTask.Core.History.EventRaisedEvent"
    return bool(
        is_raised and message["Event"]["Name"] == name and message["OrchestrationInstance"]["InstanceId"] == instance_id
    )
