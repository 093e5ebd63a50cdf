"""What entities were asked by whom: every request in the messages that workers and clients have put."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from support.provider_model.event_schema import Event


class Ledger:
    """Requests to entities by id, however often each was sent."""

    def __init__(self) -> None:
        self._asked: dict[str, dict[str, dict[str, Any]]] = {}

    def note_message(self, text: str) -> None:
        """Note what a queue message says; one whose envelope is in a blob is no request of a test."""
        message = json.loads(text).get("TaskMessage")
        if message is not None and message["Event"]["$type"] == "DurableTask.Core.History.EventRaisedEvent":
            self._note(message["OrchestrationInstance"]["InstanceId"], message["Event"]["Name"], message["Event"]["Input"])

    def note_history(self, events: Iterable[Event]) -> None:
        """Note what an orchestration has sent."""
        for event in events:
            if event.kind == "EventSent":
                self._note(event["InstanceId"], event["Name"], event["Input"])

    def _note(self, to: str, name: str, text: str | None) -> None:
        if to.startswith("@") and name.startswith("op"):
            request = json.loads(text or "{}")
            self._asked.setdefault(to, {})[request["id"]] = request

    def amounts(self, entity_id: str) -> list[int]:
        """Return the amount of each different request to add something."""
        asked = self._asked.get(entity_id, {}).values()
        return [int(json.loads(str(one["input"]))) for one in asked if one["op"] == "add"]
