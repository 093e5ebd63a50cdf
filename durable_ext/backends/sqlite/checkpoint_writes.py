"""Writes checkpoints: all that are ready, in one transaction, with a handful of statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Union

from durable_ext.backends.protocol import ActivityWorkItem, Checkpoint
from durable_ext.backends.sqlite import queries
from durable_ext.backends.sqlite.connection import Connection
from durable_ext.backends.sqlite.faults import MAX_TEXT_BYTES
from durable_ext.backends.sqlite.inserts import insert
from durable_ext.backends.sqlite.instance_rows import large_texts, storable, update_columns
from durable_ext.backends.sqlite.mailbox import Mailbox, Post, post_of
from durable_ext.backends.sqlite.writer_state import WriterState
from durable_ext.codec.compact import events_to_text, message_to_text
from durable_ext.core.events import EventType, OrchestrationStatus
from durable_ext.core.instances import InstanceUpdate
from durable_ext.core.messages import TaskMessage
from durable_ext.errors import CheckpointConflictError, PayloadTooLargeError


@dataclass(frozen=True, slots=True)
class CheckpointWrite:
    """A checkpoint with everything encoded; `known_executions` are the generations this session may write the row for."""

    n: int
    token: int
    instance_id: str
    execution_id: str
    known_executions: tuple[str | None, ...]
    drops_history: bool
    sets_history_execution: bool
    events: str | None
    event_count: int
    consumed: tuple[int, ...]
    posts: tuple[Post, ...]
    activities: tuple[tuple[int, bool, TaskMessage, str], ...]
    update: InstanceUpdate | None
    began: bool

    @property
    def ends_instance(self) -> bool:
        return self.update is not None and self.update.status is not None and self.update.status.is_terminal


@dataclass(frozen=True, slots=True)
class Written:
    """`unlocked`: the instance has ended, nothing waits for it, and its lock was given up in the same transaction."""

    run_here: tuple[ActivityWorkItem, ...]
    unlocked: bool


Answer = Union[Written, CheckpointConflictError]


def encode_checkpoint(
    checkpoint: Checkpoint,
    *,
    n: int,
    token: int,
    instance_id: str,
    history_execution_id: str | None,
    known_executions: tuple[str | None, ...],
) -> CheckpointWrite:
    """Turn a checkpoint into texts.

    Raises:
        PayloadTooLargeError: A text is longer than SQLite can hold.
    """
    new_generation = checkpoint.starts_generation or history_execution_id != checkpoint.execution_id
    has_events = bool(checkpoint.new_events)
    events = events_to_text(checkpoint.new_events) if has_events else None
    posts = tuple([post_of(message) for message in checkpoint.messages])
    activities = tuple([(n, one.run_here, one.message, message_to_text(one.message)) for one in checkpoint.activities])
    _check_size("The history of this checkpoint", events)
    for post in posts:
        _check_size(f"A message to '{post.target}'", post.body)
    for activity in activities:
        _check_size("An activity message", activity[3])
    return CheckpointWrite(
        n,
        token,
        instance_id,
        checkpoint.execution_id,
        known_executions,
        has_events and new_generation and history_execution_id is not None,
        has_events and history_execution_id != checkpoint.execution_id,
        events,
        len(checkpoint.new_events),
        tuple([int(message_id) for message_id in checkpoint.consumed]),
        posts,
        activities,
        checkpoint.instance,
        has_events or history_execution_id is not None,
    )


class CheckpointWriter:
    """A runner of the writer thread; one object per backend."""

    def __init__(self, state: WriterState, mailbox: Mailbox) -> None:
        self._state = state
        self._mailbox = mailbox

    def write(self, connection: Connection, writes: list[CheckpointWrite]) -> Sequence[Answer]:
        """Runner: one checkpoint. The token decides who may write; whoever took the instance over has raised it."""
        heads: dict[int, tuple[int, str | None, str | None]] = {}
        for block in queries.in_blocks([write.n for write in writes]):
            for n, token, execution_id, status in connection.execute(queries.tokens_of(len(block)), tuple(block)):
                heads[n] = (token, execution_id, status)
        accepted = [write for write in writes if write.n in heads and heads[write.n][0] == write.token]
        self._write_history(connection, accepted)
        _delete(connection, queries.delete_messages, [one for write in accepted for one in write.consumed])
        self._mailbox.post(connection, [post for write in accepted for post in write.posts])
        items = iter(self._mailbox.insert_activities(connection, [one for write in accepted for one in write.activities]))
        unlocked = self._write_rows(connection, accepted, heads)
        answers: list[Answer] = []
        for write in writes:
            if write.n not in heads or heads[write.n][0] != write.token:
                answers.append(CheckpointConflictError(write.instance_id))
                continue
            given = [next(items) for _ in write.activities]
            answers.append(Written(tuple([item for item in given if item is not None]), write.n in unlocked))
        return answers

    def _write_history(self, connection: Connection, writes: list[CheckpointWrite]) -> None:
        _delete(connection, queries.delete_history, [write.n for write in writes if write.drops_history])
        rows = [(write.n, write.event_count, write.events) for write in writes if write.events is not None]
        for block in queries.in_blocks(rows):
            insert(connection, queries.insert_history(len(block)), [value for row in block for value in row])
        for write in writes:
            if write.sets_history_execution and write.update is None:
                connection.execute(queries.SET_HISTORY_EXECUTION, (storable(write.execution_id), write.n))

    def _write_rows(
        self, connection: Connection, writes: list[CheckpointWrite], heads: dict[int, tuple[int, str | None, str | None]]
    ) -> set[int]:
        """Update instance rows; returns the instances whose lock was given up because they have ended."""
        state = self._state
        ended = [write for write in writes if write.ends_instance]
        for write in ended:
            self._drop_timers(connection, write)
        waited_for: set[int] = set()
        for block in queries.in_blocks([write.n for write in ended]):
            waited_for.update(n for (n,) in connection.execute(queries.instances_with_messages(len(block)), tuple(block)))
        unlocked = set()
        for write in writes:
            update = write.update
            if update is None:
                continue
            _, execution_id, status = heads[write.n]
            # A client has started the id anew meanwhile: the row is the new generation's, the old one may only end.
            replaced = (
                status == OrchestrationStatus.PENDING.value
                and execution_id is not None
                and execution_id not in write.known_executions
                and execution_id != write.execution_id
            )
            if replaced:
                if write.sets_history_execution:
                    connection.execute(queries.SET_HISTORY_EXECUTION, (storable(write.execution_id), write.n))
                continue
            unlocks = write.ends_instance and write.n not in waited_for
            history_id = write.execution_id if write.events is not None else None
            self._update_row(connection, write, update, history_id, None if unlocks else state.owner)
            if unlocks:
                unlocked.add(write.n)
                state.let_go(write.n)
        return unlocked

    def _update_row(
        self,
        connection: Connection,
        write: CheckpointWrite,
        update: InstanceUpdate,
        history_id: str | None,
        owner: int | None,
    ) -> None:
        texts = large_texts(update)
        for kind, text in texts:
            connection.execute(queries.CLEAR_COLUMN[kind], (write.n,))
            insert(connection, queries.PUT_LARGE_TEXT, (write.n, kind, storable(text)))
        values: list[Any] = [*update_columns(update), storable(history_id), owner, write.n]
        connection.execute(queries.UPDATE_ROW, values)
        self._state.effects.updates.append((write.instance_id, update))

    def _drop_timers(self, connection: Connection, write: CheckpointWrite) -> None:
        """An ended instance needs no timers, and one that was terminated before it began needs no start."""
        connection.execute(queries.DELETE_TIMERS, (write.n, EventType.TIMER_FIRED.value, self._state.now))
        if not write.began:
            connection.execute(queries.DELETE_MESSAGES_OF_TYPE, (write.n, EventType.EXECUTION_STARTED.value))


def _delete(connection: Connection, statement: queries.Statement, ids: list[int]) -> None:
    for block in queries.in_blocks(ids):
        connection.execute(statement(len(block)), tuple(block))


def _check_size(what: str, text: str | None) -> None:
    if text is not None and len(text) > MAX_TEXT_BYTES // 4:
        size = len(text.encode())
        if size > MAX_TEXT_BYTES:
            raise PayloadTooLargeError(what, size, MAX_TEXT_BYTES)
