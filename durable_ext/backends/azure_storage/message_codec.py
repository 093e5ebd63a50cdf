"""The queue envelope `MessageData` ↔ values; knows no queue.

Source: specs/azure-storage.md 4.1, 4.3, 4.6.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeVar

from durable_ext.codec.wire import WireFormatError, dump_json, load_json, message_from_wire, message_to_wire
from durable_ext.core.events import (
    TASK_RESULTS,
    EventRaised,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    GenericEvent,
    HistoryEvent,
    TaskScheduled,
    TimerFired,
)
from durable_ext.core.messages import TaskMessage

_T = TypeVar("_T", str, int)
_ENVELOPE: Final = "DurableTask.AzureStorage.MessageData"
NO_ACTIVITY_ID: Final = "00000000-0000-0000-0000-000000000000"
MAX_INLINE_BYTES: Final = 45 * 1024  # longer envelopes travel in a blob
# What travels in a control queue (specs/azure-storage.md 4.5), and is consumed by the episode that it causes.
CONTROL_EVENTS: Final[frozenset[type[HistoryEvent]]] = frozenset(
    {
        *(ExecutionStarted, ExecutionTerminated, ExecutionSuspended, ExecutionResumed, ExecutionRewound, EventRaised),
        *(*TASK_RESULTS, TimerFired, GenericEvent),
    }
)
WORK_ITEM_EVENTS: Final[frozenset[type[HistoryEvent]]] = frozenset({TaskScheduled})
_MARKS: Final = re.compile(r'(?:,"Begun":([0-9]{1,10}))?(?:,"Returned":([0-9]{1,10}))?\}(?=[ \t\r\n]*\Z)')
_LONGEST_MARKS: Final = len(',"Begun":4294967295,"Returned":4294967295}')  # the service counts deliveries in 32 bits
_LAST_CHARACTERS: Final = 128
_SPACE: Final = " \t\r\n"
_ROOM_FOR_MARKS: Final = 60 * 1024  # of the 64 KB of a queue message


class MessageEncoding(str, Enum):
    """How a message text is written (`queueClientMessageEncoding`); both are always read."""

    UTF8 = "UTF8"
    BASE64 = "Base64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sent a message: a client has two empty ids; `execution_id` None = the sender had none yet."""

    instance_id: str = ""
    execution_id: str | None = ""


CLIENT: Final = Sender()


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One queue message.

    Attributes:
        activity_id: GUID "D" of this message; part of the blob name of an offloaded one.
        message: `None` in the wrapper of an offloaded message.
        sequence_number: Orders the messages of one sending process; only a tie-breaker.
        episode: The sender's episode, `None` if the sender is a client.
        sender: `None` only in wrappers and in what foreign writers send.
        blob_name: Name of the blob that holds the envelope, in wrappers.
        trace: `SerializableTraceContext` as it was read.
    """

    activity_id: str
    message: TaskMessage | None
    sequence_number: int
    episode: int | None = None
    sender: Sender | None = CLIENT
    blob_name: str | None = None
    trace: str | None = None


def encode_envelope(envelope: Envelope) -> str:
    """Return the JSON text of an envelope."""
    out: dict[str, Any] = {
        "$type": _ENVELOPE,
        "ActivityId": envelope.activity_id,
        "TaskMessage": None if envelope.message is None else message_to_wire(envelope.message),
        "CompressedBlobName": envelope.blob_name,
        "SequenceNumber": envelope.sequence_number,
    }
    if envelope.episode is not None:
        out["Episode"] = envelope.episode
    sender = envelope.sender
    out["Sender"] = None if sender is None else {"InstanceId": sender.instance_id, "ExecutionId": sender.execution_id}
    out["SerializableTraceContext"] = envelope.trace
    return dump_json(out)


def decode_envelope(text: str | bytes) -> Envelope:
    """Return the envelope of a JSON text.

    Raises:
        WireFormatError: The text is no envelope, or its event is of an unknown class.
    """
    value = load_json(text)
    if not isinstance(value, Mapping):
        raise WireFormatError("A queue message must be a JSON object.")
    blob_name = _member(value, "CompressedBlobName", str) or None
    message = value.get("TaskMessage")
    if message is None and blob_name is None:
        raise WireFormatError("A queue message has neither a TaskMessage nor a CompressedBlobName.")
    sender = value.get("Sender")
    return Envelope(
        activity_id=_member(value, "ActivityId", str) or NO_ACTIVITY_ID,
        message=None if message is None else message_from_wire(message),
        sequence_number=_member(value, "SequenceNumber", int) or 0,
        episode=_member(value, "Episode", int),
        sender=_sender(sender) if isinstance(sender, Mapping) else None,
        blob_name=blob_name,
        trace=_member(value, "SerializableTraceContext", str),
    )


def _sender(value: Mapping[str, Any]) -> Sender:
    return Sender(instance_id=_member(value, "InstanceId", str) or "", execution_id=_member(value, "ExecutionId", str))


def _member(value: Mapping[str, Any], name: str, kind: type[_T]) -> _T | None:
    found = value.get(name)
    if found is not None and type(found) is not kind:
        raise WireFormatError(f"Member '{name}' of a queue message is no {kind.__name__}: {found!r}")
    return found


def wrapper_of(blob_name: str) -> Envelope:
    """Return the wrapper that the queue gets when the envelope itself is in a blob."""
    return Envelope(activity_id=NO_ACTIVITY_ID, message=None, sequence_number=0, sender=None, blob_name=blob_name)


def to_message_text(json_text: str, encoding: MessageEncoding) -> str:
    """Return what stands in the queue for an envelope's JSON."""
    if encoding is MessageEncoding.BASE64:
        return base64.b64encode(json_text.encode()).decode()
    return json_text


def from_message_text(text: str) -> str | bytes:
    """Return the JSON of a message text in either form.

    Raises:
        WireFormatError: The text is neither JSON nor Base64.
    """
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        return text.lstrip("\ufeff")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise WireFormatError(f"A queue message is neither JSON nor Base64: {exc}") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryMarks:
    """What our workers note in a message about its deliveries, of which the service keeps no more than a count.

    Attributes:
        begun: Runs that have begun and did not end, as far as that was written down: their workers died or froze.
        returned: Deliveries after which it was given back as if there had been none.
    """

    begun: int = 0
    returned: int = 0


def marks_of(text: str) -> DeliveryMarks:
    """Return what is noted in a message text."""
    found = _MARKS.search(_split(text).end)
    if found is None:
        return DeliveryMarks()
    return DeliveryMarks(begun=int(found[1] or 0), returned=int(found[2] or 0))


def with_marks(text: str, marks: DeliveryMarks) -> str | None:
    """Return a message text that says so, `None` if it has no room for that.

    They are the last members of the envelope, which other workers ignore; everything else stays as it is, byte by byte.
    """
    marked = _with_marks(text, marks)
    return marked if len(marked.encode("utf-8", "surrogatepass")) < _ROOM_FOR_MARKS else None


def without_marks(text: str) -> str:
    """Return a message text as its sender wrote it."""
    return text if marks_of(text) == DeliveryMarks() else _with_marks(text, DeliveryMarks())


def _with_marks(text: str, marks: DeliveryMarks) -> str:
    parts = _split(text)
    members = [("Begun", marks.begun), ("Returned", marks.returned)]
    end = _MARKS.sub("".join(f',"{name}":{count}' for name, count in members if count) + "}", parts.end, count=1)
    return parts.start + (base64.b64encode(end.encode("latin-1")).decode() if parts.is_base64 else end)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SplitText:
    """A message text in two: as it stands in the queue, and its JSON from there on, one character a byte if Base64."""

    start: str
    end: str
    is_base64: bool


def _split(text: str) -> _SplitText:
    """Split so that the marks, if there are any, are in the end: what goes before may be long and is not looked at."""
    is_base64 = not text.lstrip("\ufeff \t\r\n").startswith("{")
    length = _LAST_CHARACTERS
    while True:
        start, end = text[:-length], text[-length:]
        if is_base64:
            end = "".join(end.split())
            odd = len(end) % 4  # groups of four end where the text does
            start, end = start + end[:odd], base64.b64decode(end[odd:]).decode("latin-1")
        if not start or len(end.rstrip(_SPACE)) >= _LONGEST_MARKS:
            return _SplitText(start=start, end=end, is_base64=is_base64)
        length *= 4
