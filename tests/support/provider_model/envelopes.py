"""Queue messages: envelope, task message, blobs of large ones (specs/azure-storage.md 4)."""

from __future__ import annotations

import base64
import gzip
import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

from support.provider_model.dotnet import UnreadableError
from support.provider_model.event_schema import DICTIONARY, Event, compact, message_event, read_message_event
from support.provider_model.storage import Storage

LIMIT: Final = 45 * 1024
_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ENVELOPE: Final = "DurableTask.AzureStorage.MessageData"


@dataclass(slots=True, kw_only=True)
class Envelope:
    """A message for an instance; `execution_id` None = whatever generation is current."""

    event: Event
    instance_id: str
    execution_id: str | None
    sender: tuple[str, str | None] = ("", "")
    sequence: int = 0
    episode: int | None = None
    tags: dict[str, str] = field(default_factory=dict)


def read_envelope(text: str, storage: Storage, container: str) -> Envelope:
    """Read what a queue message says.

    Raises:
        UnreadableError: The provider could not deserialize it.
    """
    document = _document(text)
    blob = document.get("CompressedBlobName")
    if blob:
        content = storage.download(container, blob.replace("\\", "/"))
        if content is None:
            raise UnreadableError(f"blob {blob} is missing")
        document = _document(gzip.decompress(content).decode())
    if _GUID.fullmatch(document.get("ActivityId", "")) is None:
        raise UnreadableError(f"ActivityId {document.get('ActivityId')!r}")
    message, sender = document.get("TaskMessage"), document.get("Sender")
    if not isinstance(sender, dict) or not isinstance(message, dict):
        raise UnreadableError(f"TaskMessage {message!r}, Sender {sender!r}")
    _check_type(message, "DurableTask.Core.TaskMessage")
    target = message.get("OrchestrationInstance")
    if not isinstance(target, dict) or not target.get("InstanceId") or target.get("ExecutionId") == "":
        raise UnreadableError(f"target {target!r}")
    _check_type(target, "DurableTask.Core.OrchestrationInstance")
    return Envelope(
        event=read_message_event(message.get("Event")),
        instance_id=target["InstanceId"],
        execution_id=target.get("ExecutionId"),
        sender=(sender["InstanceId"], sender.get("ExecutionId")),
        sequence=_integer(document["SequenceNumber"]),
        episode=None if document.get("Episode") is None else _integer(document["Episode"]),
    )


def _document(text: str) -> dict[str, Any]:
    if not text.startswith("{"):
        text = base64.b64decode(text, validate=True).decode()
    document = json.loads(text)
    if not isinstance(document, dict):
        raise UnreadableError(f"no object: {text[:100]}")
    _check_type(document, _ENVELOPE)
    return document


def _check_type(document: dict[str, Any], expected: str) -> None:
    if "$type" in document and (next(iter(document)) != "$type" or document["$type"] != expected):
        raise UnreadableError(f"$type {document['$type']!r} is not first or not {expected}")


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise UnreadableError(f"{value!r} is no integer")
    return value


def write_envelope(envelope: Envelope, storage: Storage, container: str) -> str:
    """Return the text for the queue; what is too large for it goes to a blob first."""
    event, has_context = envelope.event, envelope.event.kind in ("TaskScheduled", "ExecutionStarted")
    has_context = has_context and envelope.episode is not None
    context = {
        "$type": "DurableTask.Core.OrchestrationExecutionContext",
        "OrchestrationTags": {"$type": DICTIONARY, **envelope.tags},
    }
    activity = uuid.uuid4()
    document = {
        "$type": _ENVELOPE,
        "ActivityId": str(activity),
        "TaskMessage": {
            "$type": "DurableTask.Core.TaskMessage",
            "Event": message_event(event),
            "SequenceNumber": 0,
            "OrchestrationInstance": {
                "$type": "DurableTask.Core.OrchestrationInstance",
                "InstanceId": envelope.instance_id,
                "ExecutionId": envelope.execution_id,
            },
            "OrchestrationExecutionContext": context if has_context else None,
        },
        "CompressedBlobName": None,
        "SequenceNumber": envelope.sequence,
        **({"Episode": envelope.episode} if envelope.episode is not None else {}),
        "Sender": {"InstanceId": envelope.sender[0], "ExecutionId": envelope.sender[1]},
        "SerializableTraceContext": None,
    }
    text = compact(document)
    if len(text.encode("utf-8", "surrogatepass")) <= LIMIT:
        return text
    name = f"{envelope.instance_id}/message-{activity.hex}-{event.kind}.json.gz"
    storage.upload(container, name.replace("\\", "/"), gzip.compress(text.encode()))
    wrapper = {"ActivityId": str(uuid.UUID(int=0)), "TaskMessage": None, "CompressedBlobName": name, "SequenceNumber": 0}
    return compact({"$type": _ENVELOPE, **wrapper, "Sender": None, "SerializableTraceContext": None})
