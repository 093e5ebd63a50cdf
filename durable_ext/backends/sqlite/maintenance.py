"""Rare writes: purge, rewind, create and delete the hub; runners of the writer thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from durable_ext.backends.sqlite import queries
from durable_ext.backends.sqlite.connection import Connection
from durable_ext.backends.sqlite.instance_rows import read_text, storable
from durable_ext.backends.sqlite.mailbox import Mailbox, post_of
from durable_ext.backends.sqlite.writer_state import WriterState
from durable_ext.codec.compact import events_from_texts, events_to_text
from durable_ext.core.events import GenericEvent, OrchestrationStatus
from durable_ext.core.instances import InstanceRow
from durable_ext.core.messages import InstanceId, OrchestrationInstance, OutgoingMessage, TaskMessage
from durable_ext.core.rewind import end_of, plan_rewind, rewound
from durable_ext.core.timestamps import Ticks
from durable_ext.errors import InstanceNotFoundError


class Maintenance:
    """One object per backend."""

    def __init__(self, state: WriterState, mailbox: Mailbox) -> None:
        self._state = state
        self._mailbox = mailbox

    def purge(self, connection: Connection, wanted: list[list[str]]) -> list[int]:
        """Runner: instance ids → how many of them existed. A session on one of them can commit nothing afterwards."""
        return [sum(self._purge(connection, instance_id) for instance_id in instance_ids) for instance_ids in wanted]

    def purge_seen(self, connection: Connection, wanted: list[Sequence[InstanceRow]]) -> list[int]:
        """Runner: rows → how many were still the same, with nothing on its way to them, and are purged."""
        return [
            sum(self._purge(connection, row.instance_id) for row in rows if _is_as_seen(connection, row)) for rows in wanted
        ]

    def rewind(self, connection: Connection, wanted: list[tuple[str, str]]) -> list[InstanceNotFoundError | None]:
        """Runner: `(instance id, reason)`; the whole tree of failed children in one transaction."""
        answers: list[InstanceNotFoundError | None] = []
        for instance_id, reason in wanted:
            found = connection.execute(queries.FIND_N, (storable(instance_id),)).fetchone()
            if found is None or found[1] is None:
                answers.append(InstanceNotFoundError(instance_id))
            else:
                self._rewind(connection, instance_id, reason)
                answers.append(None)
        return answers

    def create_hub(self, connection: Connection, names: list[str]) -> list[None]:
        """Runner: write the hub's name if the file has none."""
        for name in names:
            connection.execute(queries.CREATE_HUB, (name, self._state.now))
        return [None] * len(names)

    def delete_hub(self, connection: Connection, payloads: list[Any]) -> list[None]:
        """Runner: empty all tables; every lock is gone with its row."""
        for statement in queries.DELETE_HUB:
            connection.execute(statement)
        for n in list(self._state.held.values()):
            self._state.effects.lost.append(n)
            self._state.let_go(n)
        self._state.effects.foreign = True  # waiters look again and find nothing
        return [None] * len(payloads)

    def _purge(self, connection: Connection, instance_id: str) -> int:
        found = connection.execute(queries.FIND_N, (storable(instance_id),)).fetchone()
        if found is None:
            return 0
        n, status = found
        for statement in queries.PURGE:
            connection.execute(statement, (n,))
        self._lose(n)
        self._state.effects.replaced.append(instance_id)
        return int(status is not None)

    def _rewind(self, connection: Connection, root: str, reason: str) -> None:
        waiting, seen = [(root, root)], set[str]()
        while waiting:
            instance_id, parent = waiting.pop()
            found = connection.execute(queries.FIND_N, (storable(instance_id),)).fetchone()
            if found is None:
                self._wake(connection, parent, reason)
                continue
            if instance_id in seen:
                continue
            seen.add(instance_id)
            n = found[0]
            history = events_from_texts([events for (events,) in connection.execute(queries.READ_HISTORY, (n,))])
            end = end_of(history)
            if end is not OrchestrationStatus.FAILED:
                self._wake(connection, instance_id if end is None else parent, reason)
                continue
            plan = plan_rewind(history)
            rewritten = rewound(history, plan)
            connection.execute(queries.DELETE_HISTORY, (n,))
            if rewritten:
                connection.execute(queries.insert_history(1), (n, len(rewritten), events_to_text(rewritten)))
            connection.execute(queries.SET_PENDING, (self._state.now, n))
            connection.execute(queries.SEIZE, (n,))
            self._lose(n)
            self._state.effects.replaced.append(instance_id)
            waiting.extend((child, instance_id) for child in plan.children)
            if plan.is_leaf:
                self._wake(connection, instance_id, reason)

    def _wake(self, connection: Connection, instance_id: str, reason: str) -> None:
        event = GenericEvent(timestamp=Ticks(self._state.now), data=reason)
        target = OrchestrationInstance(instance_id=InstanceId(instance_id))
        self._mailbox.post(connection, [post_of(OutgoingMessage(message=TaskMessage(event=event, target=target)))])

    def _lose(self, n: int) -> None:
        if self._state.holds(n):
            self._state.let_go(n)
            self._state.effects.lost.append(n)


def _is_as_seen(connection: Connection, row: InstanceRow) -> bool:
    found = connection.execute(queries.FIND_PURGED, (storable(row.instance_id),)).fetchone()
    if found is None:
        return False
    execution_id, last_updated_at, is_expected = found
    return (read_text(execution_id), last_updated_at, is_expected) == (row.execution_id, row.last_updated_at, 0)
