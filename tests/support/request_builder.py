"""RequestBuilder: the host's request for an orchestrator, event by event."""

from __future__ import annotations

import json
from typing import Any


class RequestBuilder:
    """Starts with OrchestratorStarted and ExecutionStarted; times are one second apart."""

    def __init__(self, *, schema: int | None = 2, input: Any = None, instance_id: str = "abc123", **members: Any) -> None:
        self._second = 0
        self._began = "2025-03-01T08:00:00.1234567Z"
        self._members: dict[str, Any] = {"input": input, "instanceId": instance_id, "parentInstanceId": None, **members}
        if schema is not None:
            self._members |= {"upperSchemaVersion": min(schema, 1), "upperSchemaVersionNew": schema}
        self.history: list[dict[str, Any]] = []
        self.started()
        self.event(0, Name="Orchestrator", Version="", Input=None)

    def event(self, kind: int, event_id: int = -1, *, played: bool = False, **members: Any) -> RequestBuilder:
        self.history.append(
            {"EventType": kind, "EventId": event_id, "IsPlayed": played, "Timestamp": self._began, **members}
        )
        return self

    def started(self) -> RequestBuilder:
        self.event(12)
        self._second += 1
        self._began = f"2025-03-01T08:{self._second // 60:02d}:{self._second % 60:02d}.1234567Z"
        return self

    def episode(self) -> RequestBuilder:
        """End an episode and begin the next."""
        return self.event(13).started()

    def completed(self, task_id: int, result: Any = None) -> RequestBuilder:
        return self.event(5, TaskScheduledId=task_id, Result=None if result is None else json.dumps(result))

    def failed(self, task_id: int, reason: str = "reason", details: str = "details") -> RequestBuilder:
        return self.event(6, TaskScheduledId=task_id, Reason=reason, Details=details)

    def fired(self, task_id: int) -> RequestBuilder:
        return self.event(11, TimerId=task_id, FireAt=self._began)

    def raised(self, name: str, payload: Any) -> RequestBuilder:
        return self.event(15, Name=name, Input=json.dumps(payload))

    def text(self) -> str:
        is_replaying = sum(event["EventType"] == 12 for event in self.history) > 1
        return json.dumps({"history": self.history, "isReplaying": is_replaying, **self._members}, indent=2)
