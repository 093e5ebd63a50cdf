"""Writes that put task messages into mailboxes: starts, events, results; on the writer thread, many at a time.

A message to an instance that is locked here is handed over in memory once it is durable. An instance that nobody has
locked is locked for this process in the same transaction while there is room (claim at enqueue, design.md 5), so that a
start costs one commit and no read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from durable_ext.backends.protocol import ActivityWorkItem
from durable_ext.backends.sqlite import queries
from durable_ext.backends.sqlite.connection import Connection
from durable_ext.backends.sqlite.effects import Delivery, LockedInstance
from durable_ext.backends.sqlite.inserts import insert
from durable_ext.backends.sqlite.instance_rows import SMALL_TEXT, read_text, small_text, storable
from durable_ext.backends.sqlite.writer_state import WriterState
from durable_ext.codec.compact import message_to_text, tags_to_text
from durable_ext.core.events import EventType, ExecutionStarted, OrchestrationStatus
from durable_ext.core.instances import InstanceRow
from durable_ext.core.messages import InstanceId, OutgoingMessage, ReceivedMessage, TaskMessage
from durable_ext.core.timestamps import Ticks
from durable_ext.errors import InstanceAlreadyExistsError

_FIRST_TOKEN: Final = 1
_REACHES_PENDING: Final = frozenset(
    {EventType.EXECUTION_STARTED, EventType.EXECUTION_TERMINATED, EventType.GENERIC_EVENT, EventType.EXECUTION_REWOUND}
)
"""Other messages to an instance that has not begun wait for its start: alone they would be discarded."""


class Post(NamedTuple):
    """A message ready to be written."""

    target: str
    due: int
    message: TaskMessage
    body: str


@dataclass(frozen=True, slots=True)
class NewInstance:
    """Payload of `Mailbox.create`."""

    start: ExecutionStarted
    reject: frozenset[OrchestrationStatus]


class _Found(NamedTuple):
    instance_id: str
    n: int
    status: str | None
    generation: int | None
    lock_owner: int | None
    wake_at: int | None
    execution_id: str | None
    history_execution_id: str | None


def post_of(outgoing: OutgoingMessage) -> Post:
    """Encode an outgoing message; on the caller's thread, so that its errors are the caller's."""
    message = outgoing.message
    return Post(message.target.instance_id, outgoing.due or 0, message, message_to_text(message))


class Mailbox:
    """Runners of the writer thread; one object per backend."""

    def __init__(self, state: WriterState) -> None:
        self._state = state

    # ---- runners ----

    def send(self, connection: Connection, posts: list[Post]) -> list[None]:
        """Runner: queue one message."""
        self.post(connection, posts)
        return [None] * len(posts)

    def create(self, connection: Connection, wanted: list[NewInstance]) -> list[InstanceAlreadyExistsError | None]:
        """Runner: create an instance, or start a new generation of one whose status is not rejected."""
        found = self._find(connection, {item.start.instance.instance_id for item in wanted})
        answers: list[InstanceAlreadyExistsError | None] = [None] * len(wanted)
        fresh: dict[str, ExecutionStarted] = {}
        repeated: list[int] = []
        for index, item in enumerate(wanted):
            instance_id = item.start.instance.instance_id
            existing = found.get(instance_id)
            if instance_id in fresh:
                repeated.append(index)
            elif existing is None:
                fresh[instance_id] = _numbered(item.start, None)
            elif existing.status is not None and OrchestrationStatus(existing.status) in item.reject:
                answers[index] = InstanceAlreadyExistsError(instance_id, existing.status)
            else:
                self._restart(connection, existing, _numbered(item.start, existing))
        self._insert(connection, list(fresh.values()))
        for index in repeated:  # twice in one group: the second one sees what the first one made
            answers[index] = self.create(connection, [wanted[index]])[0]
        return answers

    def complete_activities(self, connection: Connection, done: list[tuple[int, Post]]) -> list[bool]:
        """Runner: `(activity id, result)` → whether this worker still had it; the result is sent only then."""
        ours: set[int] = set()
        for block in queries.in_blocks([activity_id for activity_id, _ in done]):
            values = (self._state.owner, *block)
            ours.update(row[0] for row in connection.execute(queries.complete_activities(len(block)), values).fetchall())
        self.post(connection, [post for activity_id, post in done if activity_id in ours])
        return [activity_id in ours for activity_id, _ in done]

    # ---- parts of runners ----

    def post(self, connection: Connection, posts: list[Post]) -> None:
        """Insert messages; deliver, claim or wake their targets."""
        if not posts:
            return
        state = self._state
        unknown = {post.target for post in posts if post.target not in state.held}
        found = self._find(connection, unknown) if unknown else {}
        numbers = {instance_id: head.n for instance_id, head in found.items()}
        missing = [instance_id for instance_id in unknown if instance_id not in found]
        claimed = self._add_targets(connection, missing, posts, numbers) if missing else {}
        rows: list[tuple[int, int, int, int, str]] = []
        claims: set[int] = set()
        for post in posts:
            due = post.due if post.due > state.now else 0
            here = state.held.get(post.target)
            n = numbers[post.target] if here is None else here
            rows.append((n, due, post.message.event.event_type.value, 1 if here is not None and not due else 0, post.body))
            head = found.get(post.target)
            if here is None and head is not None and head.lock_owner is None and _may_wake(head, post):
                if not due and state.owner is not None and len(claims) < state.room:
                    claims.add(n)
                else:
                    self._wake(connection, n, due)
        for post, row, message_id in zip(posts, rows, self._insert_messages(connection, rows), strict=True):
            if not row[3] and not (row[1] and state.holds(row[0])):
                continue
            received = ReceivedMessage(message_id=str(message_id), message=post.message)
            delivery = Delivery(n=row[0], message=received, due=row[1])
            claimed.get(post.target, state.effects.deliveries).append(delivery)
        self._finish_claims(connection, claims, claimed)

    def insert_activities(
        self, connection: Connection, rows: list[tuple[int, bool, TaskMessage, str]]
    ) -> list[ActivityWorkItem | None]:
        """Insert `(n, run here, message, body)`; returns the locked items of those that run here, `None` for the others."""
        state = self._state
        values, for_us = [], []
        for n, run_here, _, body in rows:
            ours = run_here or (state.owner is not None and state.activity_room > 0)
            if ours and not run_here:
                state.activity_room -= 1
            for_us.append(ours)
            values.append((n, state.owner if ours else None, state.now, 1 if ours else 0, body))
        ids = _insert(connection, queries.insert_activities, values)
        items: list[ActivityWorkItem | None] = []
        for (_, run_here, message, _), ours, activity_id in zip(rows, for_us, ids, strict=True):
            item = ActivityWorkItem(item_id=str(activity_id), message=message, lock=state.owner or 0) if ours else None
            items.append(item if run_here else None)
            if item is not None and not run_here:
                state.effects.activities.append(item)
            elif item is None:
                state.effects.wakes.append(0)
        return items

    def _add_targets(
        self, connection: Connection, missing: list[str], posts: list[Post], numbers: dict[str, int]
    ) -> dict[str, list[Delivery]]:
        """Add rows for targets that do not exist: children with their start, or bare mailboxes. Claim those that are due."""
        state = self._state
        first: dict[str, Post] = {}
        for post in posts:
            known = first.get(post.target)
            if known is not None and isinstance(known.message.event, ExecutionStarted):
                continue  # of several starts the first is played first
            if known is None or isinstance(post.message.event, ExecutionStarted) or post.due < known.due:
                first[post.target] = post
        rows, claimed, claims = [], {}, []
        for instance_id in missing:
            post = first[instance_id]
            event = post.message.event
            due = post.due if post.due > state.now else 0
            claim = not due and self._has_room(len(post.body))
            claims.append(claim)
            wake_at = None if claim else max(due, state.now)
            rows.append(
                _started_row(event, state.owner if claim else None, wake_at)
                if isinstance(event, ExecutionStarted)
                else _bare_row(instance_id, state.owner if claim else None, wake_at)
            )
            if wake_at is not None:
                state.effects.wakes.append(wake_at)
        for instance_id, claim, n in zip(missing, claims, _insert(connection, queries.insert_instances, rows), strict=True):
            numbers[instance_id] = n
            event = first[instance_id].message.event
            if isinstance(event, ExecutionStarted):
                self._put_large_input(connection, n, event.input)
                state.effects.replaced.append(instance_id)
            if claim:
                state.hold(instance_id, n)
                claimed[instance_id] = list[Delivery]()
        return claimed

    def _finish_claims(self, connection: Connection, claims: set[int], claimed: dict[str, list[Delivery]]) -> None:
        state = self._state
        for block in queries.in_blocks(list(claims)):
            found = connection.execute(queries.lock_instances(len(block)), (state.owner, *block)).fetchall()
            state.effects.locked.extend(state.lock_instances(connection, found))
        for instance_id, deliveries in claimed.items():
            state.effects.locked.append(self._new_lock(instance_id, state.held[instance_id], tuple(deliveries), None))
        state.room -= len(claims)

    def _wake(self, connection: Connection, n: int, due: int) -> None:
        at = max(due, self._state.now)
        connection.execute(queries.WAKE_INSTANCE, {"n": n, "at": at})
        self._state.effects.wakes.append(at)

    def _has_room(self, body_length: int) -> bool:
        """Whether one more instance may be locked here; large messages take the room of several."""
        if self._state.owner is None or self._state.room <= 0:
            return False
        self._state.room -= 1 + body_length // SMALL_TEXT
        return True

    def _find(self, connection: Connection, ids: Iterable[str]) -> dict[str, _Found]:
        found = {}
        for block in queries.in_blocks([storable(instance_id) for instance_id in ids]):
            for row in connection.execute(queries.find_instances(len(block)), tuple(block)):
                found[read_text(row[0]) or ""] = _Found(*row)
        return found

    def _insert(self, connection: Connection, starts: list[ExecutionStarted]) -> None:
        """Insert new instances with their start messages, each locked for this process while there is room."""
        state = self._state
        claims, rows = [], []
        for start in starts:
            due = start.scheduled_start_time or 0
            claim = due <= state.now and self._has_room(len(start.input or ""))
            claims.append(claim)
            rows.append(_started_row(start, state.owner if claim else None, None if claim else max(due, state.now)))
        numbers = _insert(connection, queries.insert_instances, rows)
        messages = [TaskMessage(event=start, target=start.instance) for start in starts]
        mail = [
            (n, _due(start, state.now), EventType.EXECUTION_STARTED.value, 1 if claim else 0, message_to_text(message))
            for n, start, claim, message in zip(numbers, starts, claims, messages, strict=True)
        ]
        for n, start, claim, row, message, message_id in zip(
            numbers, starts, claims, mail, messages, self._insert_messages(connection, mail), strict=True
        ):
            self._put_large_input(connection, n, start.input)
            instance_id = start.instance.instance_id
            if claim:
                state.hold(instance_id, n)
                delivery = Delivery(n=n, message=ReceivedMessage(message_id=str(message_id), message=message))
                state.effects.locked.append(self._new_lock(instance_id, n, (delivery,), _row_of(start)))
            else:
                state.effects.replaced.append(instance_id)
                state.effects.wakes.append(max(row[1], state.now))

    def _restart(self, connection: Connection, existing: _Found, start: ExecutionStarted) -> None:
        """Replace the row and queue the start; the old generation's history goes when the new one begins."""
        n = existing.n
        connection.execute(
            queries.RESTART_ROW,
            (
                storable(start.instance.execution_id),
                storable(start.name),
                storable(start.version),
                start.timestamp,
                start.timestamp,
                start.scheduled_start_time,
                start.generation,
                tags_to_text(start.tags),
                small_text(start.input),
                n,
            ),
        )
        connection.execute(queries.DROP_LARGE_TEXTS, (n,))
        self._put_large_input(connection, n, start.input)
        connection.execute(queries.DELETE_MESSAGES_OF_TYPE, (n, EventType.EXECUTION_STARTED.value))
        self._state.effects.replaced.append(existing.instance_id)
        message = TaskMessage(event=start, target=start.instance)
        due = start.scheduled_start_time
        self.post(connection, [post_of(OutgoingMessage(message=message, due=due))])

    def _put_large_input(self, connection: Connection, n: int, text: str | None) -> None:
        if text is not None and len(text) >= SMALL_TEXT:
            insert(connection, queries.PUT_LARGE_TEXT, (n, "input", storable(text)))

    def _insert_messages(self, connection: Connection, rows: list[Any]) -> list[int]:
        ids = _insert(connection, queries.insert_messages, rows)
        if ids:
            self._state.inserted_messages(ids[-1])
        return ids

    def _new_lock(
        self, instance_id: str, n: int, deliveries: tuple[Delivery, ...], row: InstanceRow | None
    ) -> LockedInstance:
        return LockedInstance(
            n=n,
            lock=self._state.owner or 0,
            token=_FIRST_TOKEN,
            instance_id=instance_id,
            is_entity=instance_id.startswith("@"),
            execution_id=None if row is None else row.execution_id,
            history_execution_id=None,
            custom_status=None,
            recovered=0,
            is_live=False,
            deliveries=deliveries,
            row=row,
        )


def _may_wake(head: _Found, post: Post) -> bool:
    waits_for_start = head.status == OrchestrationStatus.PENDING.value and head.execution_id != head.history_execution_id
    return not waits_for_start or post.message.event.event_type in _REACHES_PENDING


def _numbered(start: ExecutionStarted, existing: _Found | None) -> ExecutionStarted:
    if start.generation is not None:
        return start
    if existing is None or existing.status is None:
        return replace(start, generation=0)
    return replace(start, generation=(existing.generation or 0) + 1)


def _due(start: ExecutionStarted, now: int) -> int:
    due = start.scheduled_start_time
    return due if due is not None and due > now else 0


def _started_row(start: ExecutionStarted, owner: int | None, wake_at: int | None) -> tuple[Any, ...]:
    instance_id = start.instance.instance_id
    return (
        storable(instance_id),
        int(instance_id.startswith("@")),
        owner,
        _FIRST_TOKEN if owner is not None else 0,
        wake_at,
        0,
        OrchestrationStatus.PENDING.value,
        storable(start.instance.execution_id),
        storable(start.name),
        storable(start.version),
        start.timestamp,
        start.timestamp,
        start.scheduled_start_time,
        start.generation,
        tags_to_text(start.tags),
        small_text(start.input),
    )


def _bare_row(instance_id: str, owner: int | None, wake_at: int | None) -> tuple[Any, ...]:
    token = _FIRST_TOKEN if owner is not None else 0
    return (storable(instance_id), int(instance_id.startswith("@")), owner, token, wake_at, 0, *(None,) * 10)


def _row_of(start: ExecutionStarted) -> InstanceRow:
    return InstanceRow(
        instance_id=InstanceId(start.instance.instance_id),
        execution_id=start.instance.execution_id,
        name=start.name,
        status=OrchestrationStatus.PENDING,
        created_at=start.timestamp,
        last_updated_at=Ticks(start.timestamp),
        version=start.version,
        input=start.input,
        scheduled_start_at=start.scheduled_start_time,
        generation=start.generation,
        tags=start.tags,
    )


def _insert(connection: Connection, statement: queries.Statement, rows: list[Any]) -> list[int]:
    """Insert rows in blocks and return their ids: those of one statement are consecutive under the write lock."""
    ids: list[int] = []
    for block in queries.in_blocks(rows):
        values = [value for row in block for value in row]
        last = insert(connection, statement(len(block)), values)
        ids.extend(range(last - len(block) + 1, last + 1))
    return ids
