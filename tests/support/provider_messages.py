"""Queue messages as the .NET provider writes them, made without our codec: also such as no worker sends."""

from __future__ import annotations

import json
import uuid
from typing import Any

_HISTORY = "DurableTask.Core.History."


def provider_message(
    kind: str, target: str, execution_id: str | None = None, sender: tuple[str, str] = ("", ""), **own: Any
) -> str:
    """Return the text of a message for an instance; `kind` = class of its event without `Event`, `own` = its members."""
    event = {
        "$type": f"{_HISTORY}{kind}Event",
        "EventId": -1,
        "IsPlayed": False,
        "Timestamp": "2026-11-21T10:50:10.2190146Z",
        **own,
    }
    task_message = {
        "$type": "DurableTask.Core.TaskMessage",
        "Event": event,
        "SequenceNumber": 0,
        "OrchestrationInstance": {"InstanceId": target, "ExecutionId": execution_id},
    }
    return json.dumps(
        {
            "$type": "DurableTask.AzureStorage.MessageData",
            "ActivityId": str(uuid.uuid4()),
            "TaskMessage": task_message,
            "CompressedBlobName": None,
            "SequenceNumber": 1,
            "Sender": {"InstanceId": sender[0], "ExecutionId": sender[1]},
        }
    )
