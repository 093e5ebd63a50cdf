"""JsonEntityCodec: entity messages, scheduler state and status as the Durable extension writes them, byte for byte.

Texts are put together by hand: member order, omitted defaults and `$type` are part of the format
(specs/azure-storage.md 10.5, 10.6; specs/execution-semantics.md 12.1).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from durable_ext.codec.json_text import host_document, host_string, loads
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import (
    EMPTY_SORTER,
    EMPTY_STATE,
    NO_STAMP,
    EntityRelease,
    EntityRequest,
    EntityResponse,
    EntityStatus,
    RecentBatch,
    SchedulerState,
    SenderRecord,
    SorterState,
    Stamp,
)
from durable_ext.core.timestamps import Ticks, ticks_from_iso, ticks_to_iso
from durable_ext.failure import FailureDetails

_EXTENSION: Final = "Microsoft.Azure.WebJobs.Extensions.DurableTask"
_REQUEST_TYPE: Final = f'"$type":"{_EXTENSION}.RequestMessage, {_EXTENSION}",'
_RESPONSE_TYPE: Final = f'"$type":"{_EXTENSION}.ResponseMessage, {_EXTENSION}",'
_RELEASE_TYPE: Final = f'"$type":"{_EXTENSION}.ReleaseMessage, {_EXTENSION}",'
_ENTITY_TYPE: Final = f'"$type":"{_EXTENSION}.EntityId, {_EXTENSION}",'
_NO_STAMP_TEXT: Final = "0001-01-01T00:00:00"
_REQUEST_MEMBERS: Final = frozenset(
    {
        *("$type", "op", "signal", "input", "id", "parent", "parentExecution", "due", "Timestamp", "Predecessor"),
        *("lockset", "pos"),
    }
)
_STATE_MEMBERS: Final = frozenset(
    {"$type", "exists", "state", "queue", "lockedBy", "suspended", "sorter", "lockRequest", "recent"}
)


class JsonEntityCodec:
    """Implements `core.entities.codec_port.EntityCodec`. Stateless, safe in any thread."""

    __slots__ = ()

    def request_text(self, request: EntityRequest, *, typed: bool) -> str:
        """Return the JSON of a request."""
        text = "{" + (_REQUEST_TYPE if typed else "") + f'"op":{_string_or_null(request.operation)}'
        if request.is_signal:
            text += ',"signal":true'
        if request.input is not None:
            text += f',"input":{host_string(request.input)}'
        text += f',"id":{host_string(request.request_id)}'
        if request.parent is not None:
            text += f',"parent":{host_string(request.parent)}'
        if request.parent_execution is not None:
            text += f',"parentExecution":{host_string(request.parent_execution)}'
        if request.due is not None:
            text += f',"due":"{ticks_to_iso(request.due)}"'
        text += f',"Timestamp":"{_stamp_text(request.timestamp)}","Predecessor":"{_stamp_text(request.predecessor)}"'
        if request.lock_set is not None:
            entities = ",".join(_entity_text(entity, typed=typed) for entity in request.lock_set)
            text += f',"lockset":[{entities}]'
        if request.position:
            text += f',"pos":{request.position}'
        for name, document in request.foreign:
            text += f",{host_string(name)}:{document}"
        return text + "}"

    def read_request(self, text: str) -> EntityRequest:
        """Read a request of any writer.

        Raises:
            ValueError: Not an object, or it has no id.
        """
        with _refusing("entity request", text):
            return _request_of(_object(text, "entity request"), text)

    def response_text(self, response: EntityResponse, *, typed: bool = True) -> str:
        """Return the JSON of a response; `result` is written even if it is null."""
        text = "{" + (_RESPONSE_TYPE if typed else "") + f'"result":{_string_or_null(response.result)}'
        if response.exception_type is not None:
            text += f',"exceptionType":{host_string(response.exception_type)}'
        return text + "}"

    def read_response(self, text: str) -> EntityResponse:
        """Read a response; `ValueError` if it is none."""
        members = _object(text, "entity response")
        return EntityResponse(
            result=_text_member(members, "result"),
            exception_type=_text_member(members, "exceptionType"),
            failure=_failure_of(members.get("failureDetails")),
        )

    def release_text(self, release: EntityRelease, *, typed: bool) -> str:
        """Return the JSON of a release."""
        kind = _RELEASE_TYPE if typed else ""
        return f'{{{kind}"parent":{host_string(release.parent)},"id":{host_string(release.lock_request_id)}}}'

    def read_release(self, text: str) -> EntityRelease:
        """Read a release; `ValueError` if it is none."""
        members = _object(text, "entity release")
        return EntityRelease(parent=_text_member(members, "parent") or "", lock_request_id=_text_member(members, "id") or "")

    def state_text(self, state: SchedulerState) -> str:
        """Return the JSON of a scheduler state; members with default values are left out, `sorter` never is.

        A `lock_request` without `locked_by` is left out, too. The text of its member tells when it holds no longer.
        """
        parts: list[str] = []
        if state.exists:
            parts.append('"exists":true')
        if state.state is not None:
            parts.append(f'"state":{host_string(state.state)}')
        if state.queue:
            parts.append(f'"queue":[{",".join(self.request_text(request, typed=False) for request in state.queue)}]')
        if state.locked_by is not None:
            parts.append(f'"lockedBy":{host_string(state.locked_by)}')
        if state.suspended:
            parts.append('"suspended":true')
        sorter_text, recent_text = self._sorter_text(state.sorter), _recents_text(state.recent)
        parts.append(f'"sorter":{sorter_text}')
        parts += [f"{host_string(name)}:{document}" for name, document in state.foreign]
        if state.lock_request is not None and state.locked_by is not None:
            seen = _checksum(sorter_text, recent_text)
            parts.append(
                f'"lockRequest":{{"by":{host_string(state.locked_by)},"id":{host_string(state.lock_request)},"seen":"{seen}"}}'
            )
        if state.recent:
            parts.append(f'"recent":{recent_text}')
        return "{" + ",".join(parts) + "}"

    def read_state(self, text: str | None) -> SchedulerState:
        """Read a scheduler state of the extension or of the core dispatcher, which writes no `exists`.

        A `lockRequest` that another writer has carried along while it granted or released locks is ignored.

        Raises:
            ValueError: The text is no JSON object.
        """
        if text is None or text == "null":
            return EMPTY_STATE
        members = _object(text, "entity scheduler state")
        state = _text_member(members, "state")
        # The core dispatcher writes no `exists`, the extension leaves a false one out: only Python's deleted
        # entity has `exists` false with a state, and that state is the text null.
        exists = members.get("exists")
        with _refusing("entity scheduler state", text):
            read = SchedulerState(
                exists=bool(exists) if exists is not None else state is not None and state != "null",
                state=state,
                queue=tuple(_request_of(request, text) for request in members.get("queue") or ()),
                locked_by=_text_member(members, "lockedBy"),
                suspended=bool(members.get("suspended")),
                sorter=_sorter_of(members.get("sorter"), text),
                recent=tuple(_recent_of(batch) for batch in members.get("recent") or ()),
                foreign=_foreign_of(members, _STATE_MEMBERS),
            )
            return replace(read, lock_request=self._lock_request_of(members.get("lockRequest"), read))

    def status_text(self, status: EntityStatus) -> str:
        """Return the custom status of an entity's row."""
        parts: list[str] = []
        if status.exists:
            parts.append('"entityExists":true')
        if status.queue_size:
            parts.append(f'"queueSize":{status.queue_size}')
        if status.locked_by is not None:
            parts.append(f'"lockedBy":{host_string(status.locked_by)}')
        return "{" + ",".join(parts) + "}"

    def read_status(self, text: str | None) -> EntityStatus:
        """Read a custom status; what is no JSON object reads as an empty one."""
        if text is None:
            return EntityStatus()
        try:
            members = loads(text)
        except (ValueError, RecursionError):
            return EntityStatus()
        if not isinstance(members, dict):
            return EntityStatus()
        queue_size = members.get("queueSize")
        return EntityStatus(
            exists=bool(members.get("entityExists")),
            queue_size=queue_size if type(queue_size) is int else 0,  # true is an int as well
            locked_by=_text_member(members, "lockedBy"),
        )

    def _lock_request_of(self, member: Any, state: SchedulerState) -> str | None:
        """Return the id of the request whose lock is held, if the member was written with this lock.

        Former versions of durable_ext know no such member and write it back with locks that they grant. Whatever they
        grant changes the holder, or the memory of what has come: `sorter` or `recent`.
        """
        if not isinstance(member, dict) or state.locked_by is None or member.get("by") != state.locked_by:
            return None
        if member.get("seen") != _checksum(self._sorter_text(state.sorter), _recents_text(state.recent)):
            return None
        return _text_member(member, "id")

    def _sorter_text(self, sorter: SorterState) -> str:
        if sorter is EMPTY_SORTER:
            return "{}"
        parts: list[str] = []
        if sorter.last_sent:
            sent = ",".join(f'{host_string(to)}:"{_stamp_text(stamp)}"' for to, stamp in sorter.last_sent.items())
            parts.append(f'"LastSentToInstance":{{{sent}}}')
        if sorter.received:
            senders = ",".join(f"{host_string(sender)}:{self._sender_text(r)}" for sender, r in sorter.received.items())
            parts.append(f'"ReceivedFromInstance":{{{senders}}}')
        if sorter.receive_horizon.ticks:
            parts.append(f'"ReceiveHorizon":"{_stamp_text(sorter.receive_horizon)}"')
        if sorter.send_horizon.ticks:
            parts.append(f'"SendHorizon":"{_stamp_text(sorter.send_horizon)}"')
        return "{" + ",".join(parts) + "}"

    def _sender_text(self, record: SenderRecord) -> str:
        text = f'{{"Last":"{_stamp_text(record.last)}"'
        if record.execution_id is not None:
            text += f',"ExecutionId":{host_string(record.execution_id)}'
        if record.buffered:
            requests = ",".join(
                f'"{_stamp_text(stamp)}":{self.request_text(request, typed=False)}'
                for stamp, request in sorted(record.buffered.items(), key=lambda item: item[0].ticks)
            )
            text += f',"Buffered":{{{requests}}}'
        if record.former:
            stamps = ",".join(f'{host_string(name)}:"{_stamp_text(stamp)}"' for name, stamp in record.former.items())
            text += f',"Former":{{{stamps}}}'
        return text + "}"


def _stamp_text(stamp: Stamp) -> str:
    if not stamp.ticks:
        return _NO_STAMP_TEXT
    text = ticks_to_iso(Ticks(stamp.ticks))
    return text if stamp.utc else text[:-1]


def _stamp_of(text: object, document: str) -> Stamp:
    if text is None or text == _NO_STAMP_TEXT:
        return NO_STAMP
    if not isinstance(text, str):
        raise _malformed("entity message", document)
    return Stamp(ticks_from_iso(text), text[-1:] in ("Z", "z"))


def _checksum(*texts: str) -> str:
    return f"{zlib.crc32(''.join(texts).encode('utf-8', 'surrogatepass')):08x}"


def _recents_text(batches: Sequence[RecentBatch]) -> str:
    return f"[{','.join(map(_recent_text, batches))}]"


def _recent_text(batch: RecentBatch) -> str:
    ids = ",".join(map(host_string, batch.ids))
    return f'{{"at":"{ticks_to_iso(batch.at)}","ids":[{ids}]}}'


def _recent_of(batch: Any) -> RecentBatch:
    return RecentBatch(at=ticks_from_iso(batch["at"]), ids=tuple(map(str, batch["ids"])))


def _string_or_null(text: str | None) -> str:
    return "null" if text is None else host_string(text)


def _entity_text(entity: EntityId, *, typed: bool) -> str:
    kind = _ENTITY_TYPE if typed else ""
    return f'{{{kind}"name":{host_string(entity.name)},"key":{host_string(entity.key)}}}'


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        members = loads(text)
    except (ValueError, RecursionError) as error:
        raise _malformed(what, text) from error
    if not isinstance(members, dict):
        raise _malformed(what, text)
    return members


@contextmanager
def _refusing(what: str, text: str) -> Iterator[None]:
    """A member of a JSON type that it never has makes the text malformed, like one that is missing."""
    try:
        yield
    except (TypeError, KeyError, AttributeError, ArithmeticError) as error:
        raise _malformed(what, text) from error


def _malformed(what: str, text: str) -> ValueError:
    shown = text if len(text) <= 200 else text[:200] + "..."
    return ValueError(f"'{shown}' is no {what}. Purge the entity, or remove the message, if its sender cannot be corrected.")


def _text_member(members: Mapping[str, Any], name: str) -> str | None:
    """Return a text member; one of another JSON type (written by hand) as its JSON text."""
    value = members.get(name)
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _request_of(members: Any, document: str) -> EntityRequest:
    if not isinstance(members, dict) or not isinstance(members.get("id"), str):
        raise _malformed("entity request", document)
    due, lock_set = members.get("due"), members.get("lockset")
    return EntityRequest(
        request_id=members["id"],
        operation=_text_member(members, "op"),
        is_signal=bool(members.get("signal")),
        input=_text_member(members, "input"),
        parent=_text_member(members, "parent"),
        parent_execution=_text_member(members, "parentExecution"),
        due=None if due is None else ticks_from_iso(due),
        timestamp=_stamp_of(members.get("Timestamp"), document),
        predecessor=_stamp_of(members.get("Predecessor"), document),
        lock_set=None if lock_set is None else tuple(map(_entity_of, lock_set)),
        position=int(members.get("pos") or 0),
        foreign=_foreign_of(members, _REQUEST_MEMBERS),
    )


def _foreign_of(members: Mapping[str, Any], known: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """Return the members that only a newer writer knows, each with its JSON text."""
    return tuple(
        [
            (name, host_document(json.dumps(value, ensure_ascii=False, separators=(",", ":"))))
            for name, value in members.items()
            if name not in known
        ]
    )


def _entity_of(members: Any) -> EntityId:
    name, key = members["name"], members["key"]
    if not isinstance(name, str) or not isinstance(key, str):
        raise TypeError("name and key of an entity are texts")
    return EntityId(name, key)


def _sorter_of(members: Any, document: str) -> SorterState:
    if not isinstance(members, dict) or not members:
        return EMPTY_SORTER
    received: dict[str, SenderRecord] = {}
    for sender, record in (members.get("ReceivedFromInstance") or {}).items():
        buffered = (record.get("Buffered") or {}).items()
        received[sender] = SenderRecord(
            last=_stamp_of(record.get("Last"), document),
            execution_id=_text_member(record, "ExecutionId"),
            buffered={_stamp_of(stamp, document): _request_of(request, document) for stamp, request in buffered},
            former={name: _stamp_of(stamp, document) for name, stamp in (record.get("Former") or {}).items()},
        )
    return SorterState(
        last_sent={to: _stamp_of(stamp, document) for to, stamp in (members.get("LastSentToInstance") or {}).items()},
        received=received,
        receive_horizon=_stamp_of(members.get("ReceiveHorizon"), document),
        send_horizon=_stamp_of(members.get("SendHorizon"), document),
    )


def _failure_of(members: Any) -> FailureDetails | None:
    if not isinstance(members, dict):
        return None
    properties = members.get("Properties")
    return FailureDetails(
        error_type=_text_member(members, "ErrorType") or "",
        error_message=_text_member(members, "ErrorMessage") or "",
        stack_trace=_text_member(members, "StackTrace"),
        inner_failure=_failure_of(members.get("InnerFailure")),
        is_non_retriable=bool(members.get("IsNonRetriable")),
        properties=None if properties is None else json.dumps(properties),
    )
