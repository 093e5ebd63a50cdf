"""What entities are told and what they remember, as values; parses no JSON (specs/azure-storage.md 10.5, 10.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.timestamps import Ticks, ticks_to_round_trip_iso
from durable_ext.failure import FailureDetails

OPERATION_EVENT: Final = "op"
RELEASE_EVENT: Final = "release"
CONTINUE_EVENT: Final = "continue"
LOCK_GRANTED_RESULT: Final = "Lock Acquisition Completed"
ORPHANED_LOCK_RELEASE_ID: Final = "fix-orphaned-lock"
FAILED_OPERATION_TYPE: Final = "Error"
TIMEOUT_RESULT_PREFIX: Final = "Timeout value of"
# Marks in texts of any writer: quotes inside of values are escaped, so no value looks like one of these members.
_ID: Final = re.compile(r'"id"\s*:\s*"([0-9A-Fa-f-]{32,36})"')
_LOCK_SET: Final = re.compile(r'"lockset"\s*:\s*\[')
_SIGNAL: Final = re.compile(r'"signal"\s*:\s*true')


class Stamp(NamedTuple):
    """An ordering stamp. `utc` tells how it is written: a stamp forced past the last one has no `Z`.

    Only `ticks` takes part in comparisons of order.
    """

    ticks: int
    utc: bool = True


NO_STAMP: Final = Stamp(0, False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityRequest:
    """One operation call, signal or lock request.

    `operation` is `None` for a lock request, which has a `lock_set` and its `position` in it. `input` is JSON text.
    `parent` is the sender's instance id, `None` for clients; `due` the time of a delayed signal. `foreign` are members of
    newer writers, by name, with their JSON text: they go along with the request.
    """

    request_id: str
    operation: str | None = None
    is_signal: bool = False
    input: str | None = None
    parent: str | None = None
    parent_execution: str | None = None
    due: Ticks | None = None
    timestamp: Stamp = NO_STAMP
    predecessor: Stamp = NO_STAMP
    lock_set: tuple[EntityId, ...] | None = None
    position: int = 0
    foreign: tuple[tuple[str, str], ...] = ()

    @property
    def is_lock(self) -> bool:
        """Whether this asks for a lock instead of an operation."""
        return self.lock_set is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityResponse:
    """The answer to a call or a lock request.

    `result` is JSON text, also that of a failed operation's message; a host's timeout text is plain text.
    `exception_type` is set if the operation failed, `failure` by workers of the gRPC kind only.
    """

    result: str | None = None
    exception_type: str | None = None
    failure: FailureDetails | None = None

    @property
    def is_failure(self) -> bool:
        """Whether the operation failed, a host's timeout text included."""
        return (
            self.exception_type is not None
            or self.failure is not None
            or (self.result is not None and self.result.lstrip().startswith(TIMEOUT_RESULT_PREFIX))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityRelease:
    """The end of a critical section: `lock_request_id` is the id of the lock request, `parent` its sender."""

    parent: str
    lock_request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderRecord:
    """What the sorter knows of one sender: the last stamp delivered, and requests that came too early by stamp.

    `former` has the last stamps of the sender's generations before this one, by the beginning of their execution id; a
    member of ours, which other workers drop.
    """

    last: Stamp = NO_STAMP
    execution_id: str | None = None
    buffered: Mapping[Stamp, EntityRequest] = field(default_factory=dict)
    former: Mapping[str, Stamp] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SorterState:
    """The sorter's memory: last stamps sent by destination, and what was received by sender."""

    last_sent: Mapping[str, Stamp] = field(default_factory=dict)
    received: Mapping[str, SenderRecord] = field(default_factory=dict)
    receive_horizon: Stamp = NO_STAMP
    send_horizon: Stamp = NO_STAMP


EMPTY_SORTER: Final = SorterState()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentBatch:
    """Ids (their first twelve hex digits) of requests that a batch took, to know them when they come again."""

    at: Ticks
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerState:
    """All that an entity is between two batches; recorded as the input of its generation.

    `state` is JSON text; `exists` may be false although a text is left (a deleted entity of Python has `null`).
    `lock_request` (the id of the request whose lock is held, `None` if another worker granted it) and `recent` are members
    of ours, which other workers ignore and drop. `foreign` as in `EntityRequest`.
    """

    exists: bool = False
    state: str | None = None
    queue: tuple[EntityRequest, ...] = ()
    locked_by: str | None = None
    lock_request: str | None = None
    suspended: bool = False
    sorter: SorterState = EMPTY_SORTER
    recent: tuple[RecentBatch, ...] = ()
    foreign: tuple[tuple[str, str], ...] = ()


EMPTY_STATE: Final = SchedulerState()


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityStatus:
    """The custom status of an entity's row (specs/execution-semantics.md 12.6)."""

    exists: bool = False
    queue_size: int = 0
    locked_by: str | None = None


class SentKind(Enum):
    """What an orchestration sends to entities."""

    CALL = "call"
    SIGNAL = "signal"
    LOCK = "lock"
    RELEASE = "release"


class SentToEntity(NamedTuple):
    """What an event that was sent is to an entity. `request_id` in lower case; a release has that of its lock request."""

    kind: SentKind
    request_id: str


def sent_to_entity(name: str, text: str | None) -> SentToEntity | None:
    """Tell by its name and marks in its text what a sent event is to an entity; `None` if it is nothing to one."""
    is_release = name == RELEASE_EVENT
    found = _ID.search(text) if text and (is_release or name.startswith(OPERATION_EVENT)) else None
    if text is None or found is None:
        return None
    if is_release:
        kind = SentKind.RELEASE
    elif _LOCK_SET.search(text):
        kind = SentKind.LOCK
    else:
        kind = SentKind.SIGNAL if _SIGNAL.search(text) else SentKind.CALL
    return SentToEntity(kind, found[1].lower())


def delayed_event_name(due: Ticks) -> str:
    """Return `op@{time}` with seven digits, the name of an event that must not be delivered before `due`."""
    return f"{OPERATION_EVENT}@{ticks_to_round_trip_iso(due)}"
