"""Reads what a session of an instance begins with, and weeds out the messages that must not be played in it.

Source: specs/azure-storage.md 4.9, 5.7, 8.3, 8.4.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.azure_storage.early_messages import (
    StartVerdict,
    come_before_start,
    is_terminal,
    seconds_for_start,
)
from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.history_table import NO_HISTORY, HistoryTable, LoadedHistory
from durable_ext.backends.azure_storage.instance_inbox import InstanceInbox
from durable_ext.backends.azure_storage.instances_table import InstancesTable
from durable_ext.backends.azure_storage.message_keeper import MessageKeeper
from durable_ext.backends.azure_storage.pending_starts import rejected_starts
from durable_ext.backends.azure_storage.session import AzureSession
from durable_ext.backends.azure_storage.transport.errors import level_of
from durable_ext.core.events import ExecutionStarted
from durable_ext.core.instances import InstanceRow
from durable_ext.core.messages import ExecutionId
from durable_ext.errors import BackendError, BackendUnavailableError

_log = logging.getLogger("durable_ext.backends.azure_storage")
_PARALLEL_LOADS: Final = 32
_RETRY_SECONDS: Final = 5.0
_MOST_TOLD: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpening:
    """What a session begins with; the messages are in the inbox.

    Attributes:
        loaded: The stored history.
        starting: The execution id of the start message that begins a new generation, whatever is stored.
        row: The instance row, if the session goes on with what is stored.
        only: Of an instance that had ended: the ids of the messages that had come before its history was read.
    """

    loaded: LoadedHistory
    starting: ExecutionId | None = None
    row: InstanceRow | None = None
    only: frozenset[str] | None = None


class InstanceLoader:
    """Loads the instances of one worker, some at a time. Used from the event loop only.

    `discard` and `postpone` get start messages that must not be played now; a delay of `None` grows with each delivery.
    `open_session` makes the session.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        history: HistoryTable,
        instances: InstancesTable,
        keeper: MessageKeeper,
        discard: Callable[[HeldMessage], None],
        postpone: Callable[[HeldMessage, int | None], None],
        open_session: Callable[[InstanceInbox, SessionOpening], AzureSession],
    ) -> None:
        self._clock, self._history, self._instances, self._keeper = clock, history, instances, keeper
        self._discard, self._postpone, self._open_session = discard, postpone, open_session
        self._turns = asyncio.Semaphore(_PARALLEL_LOADS)
        self._told: set[tuple[str, str]] = set()

    async def load(self, inbox: InstanceInbox) -> AzureSession | None:
        """Return a session for the messages of an inbox; `None` once all of them had to go.

        What the store does not answer is asked again. The messages of an instance that cannot be read are abandoned.
        """
        while inbox.pending:
            try:
                async with self._turns:
                    opening = await self._read(inbox)
                if opening is not None:
                    return self._open_session(inbox, opening)
            except BackendUnavailableError as exc:
                _log.log(
                    level_of(exc),
                    "instance '%s' could not be loaded: %s",
                    inbox.instance_id,
                    exc,
                    extra={"event": "load_failed", "instance_id": inbox.instance_id, "error": str(exc)},
                )
                await self._clock.sleep(_RETRY_SECONDS)
            except (BackendError, ValueError) as exc:
                self._tell_unreadable(inbox, exc)  # its messages are kept, and retried with growing delays
                await self._keeper.abandon_all(inbox.take_out())
        return None

    def _tell_unreadable(self, inbox: InstanceInbox, error: Exception) -> None:
        if (inbox.instance_id, str(error)) in self._told:
            return
        if len(self._told) < _MOST_TOLD:
            self._told.add((inbox.instance_id, str(error)))
        message_id = inbox.pending[0].message_id if inbox.pending else "none"
        _log.error(
            "instance '%s' cannot be read; its messages (first %s) are kept and tried again: %s",
            inbox.instance_id,
            message_id,
            error,
            extra={
                "event": "instance_unreadable",
                "instance_id": inbox.instance_id,
                "message_id": message_id,
                "error": str(error),
            },
        )

    async def _read(self, inbox: InstanceInbox) -> SessionOpening | None:
        start = _first_start(inbox.pending)
        if start is not None and start is inbox.pending[0] and start.fresh_start:
            start.fresh_start = False  # the session may store something, end, and leave the message behind
            return SessionOpening(loaded=NO_HISTORY, starting=start.message.target.execution_id)
        known = frozenset(held.message_id for held in inbox.pending)
        loaded, stored = await asyncio.gather(
            self._history.load(inbox.instance_id), self._instances.read(inbox.instance_id, with_payloads=False)
        )
        row = stored.row if stored is not None else None
        if row is not None and row.was_rewound and is_terminal(loaded.events):
            loaded = await self._history.load(inbox.instance_id)  # it may have been rewound between the two
        self._filter_starts(inbox, loaded, row)
        if not inbox.pending:
            return None
        has_ended = is_terminal(loaded.events)
        start = _first_start(inbox.pending)
        if start is not None and (has_ended or not loaded.events):
            # Two processes may have sent a start and its events within one second (4.9).
            inbox.pending.remove(start)
            inbox.pending.appendleft(start)
        if start is None and row is not None and _is_expected(inbox, loaded, row):
            now = self._clock.now()
            early = [(held, seconds_for_start(row, held.dequeue_count, now)) for held in inbox.take_out()]
            await asyncio.gather(*(self._keeper.give_back(held, seconds) for held, seconds in early))
            return None
        first = inbox.pending[0].message
        starting: ExecutionId | None = None
        if first.event.__class__ is ExecutionStarted:
            is_stored = bool(loaded.events) and first.target.execution_id == loaded.execution_id
            starting = None if is_stored else first.target.execution_id
        if starting is not None:
            return SessionOpening(loaded=loaded, starting=starting)
        return SessionOpening(loaded=loaded, row=row, only=known if has_ended else None)

    def _filter_starts(self, inbox: InstanceInbox, loaded: LoadedHistory, row: InstanceRow | None) -> None:
        """Take out start messages that must not be played; nothing is awaited, or one that comes then would be unjudged."""
        visibility = timedelta(seconds=self._keeper.visibility)
        for rejected in rejected_starts(inbox.pending, loaded, row, now=self._clock.now(), visibility=visibility):
            inbox.pending.remove(rejected.held)
            if rejected.verdict is StartVerdict.DELETE:
                if row is None and not loaded.events:
                    _tell_given_up(rejected.held)
                self._discard(rejected.held)
            else:
                self._postpone(rejected.held, rejected.seconds)


def _is_expected(inbox: InstanceInbox, loaded: LoadedHistory, row: InstanceRow | None) -> bool:
    """Whether the instance of these messages exists but has not started yet: its start message is on its way."""
    messages = [held.message for held in inbox.pending]
    is_entity = inbox.instance_id.startswith("@")
    return not is_entity and come_before_start(messages, row, loaded.events, loaded.execution_id)


def _tell_given_up(held: HeldMessage) -> None:
    """Say that a start is dropped whose row has not come in ten deliveries (8.3)."""
    instance_id = held.message.target.instance_id
    _log.warning(
        "start message %s of instance '%s' is deleted: in %d deliveries there was no row of that instance in the Instances "
        "table. Either its client failed after it had sent the message, or the row was deleted, as a purge does. Start it "
        "again if it is missed.",
        held.message_id,
        instance_id,
        held.dequeue_count,
        extra={"event": "start_given_up", "message_id": held.message_id, "instance_id": instance_id},
    )


def _first_start(messages: Iterable[HeldMessage]) -> HeldMessage | None:
    return next((held for held in messages if held.message.event.__class__ is ExecutionStarted), None)
