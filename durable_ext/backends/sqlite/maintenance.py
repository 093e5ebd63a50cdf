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
from durable_ext.core.events import GenericEvent, HistoryEvent, OrchestrationStatus
from durable_ext.core.instances import InstanceRow
from durable_ext.core.messages import InstanceId, OrchestrationInstance, OutgoingMessage, TaskMessage
from durable_ext.core.rewind import ChildVerdict, answer_of, end_of, judge_child, plan_rewind, rewound
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
        n, history = self._history(connection, root)
        if end_of(history) is not OrchestrationStatus.FAILED:
            self._wake(connection, root, reason)
            return
        waiting, seen = [(root, n, history)], {root}
        while waiting:
            instance_id, n, history = waiting.pop()
            plan = plan_rewind(history)
            neutralized, is_woken, answers = set(plan.neutralized), not plan.calls, list[HistoryEvent]()
            for call in plan.calls:
                child, its_history = self._history(connection, call.child)
                verdict = judge_child(its_history, parent=InstanceId(instance_id), task_id=call.task_id)
                is_woken = is_woken or verdict in (ChildVerdict.WAIT, ChildVerdict.CALL_AGAIN)
                if verdict is ChildVerdict.REWIND and call.child not in seen:
                    seen.add(call.child)
                    waiting.append((call.child, child, its_history))
                elif verdict is ChildVerdict.ANSWER:
                    answers.append(answer_of(its_history, call, at=Ticks(self._state.now)))
                elif verdict is ChildVerdict.CALL_AGAIN:
                    neutralized.add(call.created)
            self._rewrite(connection, instance_id, n, rewound(history, sorted(neutralized)))
            for answer in answers:  # now: what has ended is not woken
                self._post(connection, instance_id, answer)
            if is_woken:
                self._wake(connection, instance_id, reason)

    def _history(self, connection: Connection, instance_id: str) -> tuple[int, Sequence[HistoryEvent]]:
        """Return the number and the history of an instance, empty if it does not exist."""
        found = connection.execute(queries.FIND_N, (storable(instance_id),)).fetchone()
        if found is None:
            return 0, ()
        return found[0], events_from_texts([text for (text,) in connection.execute(queries.READ_HISTORY, (found[0],))])

    def _rewrite(self, connection: Connection, instance_id: str, n: int, history: Sequence[HistoryEvent]) -> None:
        connection.execute(queries.DELETE_HISTORY, (n,))
        if history:
            connection.execute(queries.insert_history(1), (n, len(history), events_to_text(history)))
        connection.execute(queries.SET_PENDING, (self._state.now, n))
        connection.execute(queries.SEIZE, (n,))
        self._lose(n)
        self._state.effects.replaced.append(instance_id)

    def _wake(self, connection: Connection, instance_id: str, reason: str) -> None:
        self._post(connection, instance_id, GenericEvent(timestamp=Ticks(self._state.now), data=reason))

    def _post(self, connection: Connection, instance_id: str, event: HistoryEvent) -> None:
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
