"""What the writer knows without asking the file; touched by whichever thread writes, except the two `room` numbers."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, Union

from durable_ext.aio.clock import Clock
from durable_ext.backends.protocol import ActivityWorkItem
from durable_ext.backends.sqlite import queries
from durable_ext.backends.sqlite.connection import Connection, allocate_log
from durable_ext.backends.sqlite.effects import Delivery, Effects, LockedInstance
from durable_ext.backends.sqlite.group_thread import Runner
from durable_ext.backends.sqlite.liveness import has_ended, this_machine
from durable_ext.codec.compact import message_from_text
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.messages import ReceivedMessage
from durable_ext.core.timestamps import ticks_add, ticks_from_datetime

_SUSPECT_DEATHS: Final = 2
_SUSPECT_WAIT: Final = timedelta(seconds=5)
_LIVE: Final = frozenset({OrchestrationStatus.RUNNING.value, OrchestrationStatus.SUSPENDED.value})
_PENDING: Final = OrchestrationStatus.PENDING.value

ReadyAnswer = Union[int, None]
GivenUp = tuple[int, int, Union[int, None], tuple[int, ...], tuple[int, ...]]
ActivityAnswer = tuple[list[ActivityWorkItem], Union[int, None]]


class WriterState:
    """The locks of this process and its worker row; a `TransactionScope` of the writer.

    `room` and `activity_room` are set by the event loop: how many more instances and activities may be locked for this
    process at the moment they are written. They are bounds, not promises, so no lock guards them.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        lock_timeout: timedelta,
        heartbeat: timedelta,
        deliver: Callable[[Effects], None],
        notify: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._lock_timeout = lock_timeout
        self._heartbeat_seconds = heartbeat.total_seconds()
        self._deliver = deliver
        self._notify = notify
        self.owner: int | None = None
        self.alone = True
        """No other worker was on the file at the last sign of life."""
        self.room = 0
        self.activity_room = 0
        self.held: dict[str, int] = {}
        self.now = 0
        self.effects = Effects()
        self._ids: dict[int, str] = {}
        self._undo: list[tuple[str, int | None]] = []
        self._owner_before: int | None = None
        self._expires_at = self._expired_before = 0
        self._last_message = 0
        self._newest_message = 0
        self._next_heartbeat = 0.0

    # ---- transactions ----

    def duties(self, foreign_commits: bool) -> list[tuple[Runner, Any]]:
        if self.owner is None:
            if foreign_commits:
                self._notify()
            return []
        if self._clock.monotonic() >= self._next_heartbeat:
            return [(self.beat, None)]
        return [(self.look_around, None)] if foreign_commits else []

    def began(self, connection: Connection, foreign_commits: bool) -> None:
        self._undo.clear()
        self._owner_before, self._expired_before = self.owner, self._expires_at
        self.effects = Effects()
        self.now = ticks_from_datetime(self._clock.now())
        if foreign_commits:
            self.effects.foreign = True
            if self.owner is not None:
                self._start_over_if_replaced(connection, self.owner)
                self._take_foreign_messages(connection)

    def committed(self) -> Callable[[], None]:
        effects = self.effects
        self._last_message = self._newest_message
        return lambda: self._deliver(effects)

    def rolled_back(self) -> None:
        for instance_id, n in reversed(self._undo):
            current = self.held.pop(instance_id, None)
            if current is not None:
                self._ids.pop(current, None)
            if n is not None:
                self.held[instance_id] = n
                self._ids[n] = instance_id
        self._undo.clear()
        self._expires_at, self.owner = self._expired_before, self._owner_before
        self._newest_message = self._last_message

    def inserted_messages(self, newest: int) -> None:
        """Note the largest message id in the file, all of which up to it this process now knows."""
        self._newest_message = newest

    def hold(self, instance_id: str, n: int) -> None:
        """Note that an instance is locked by this process from now on."""
        self._undo.append((instance_id, self.held.get(instance_id)))
        self.held[instance_id] = n
        self._ids[n] = instance_id

    def let_go(self, n: int) -> None:
        """Note that an instance is no longer locked by this process."""
        instance_id = self._ids.pop(n, None)
        if instance_id is not None:
            self._undo.append((instance_id, self.held.pop(instance_id)))

    def holds(self, n: int) -> bool:
        return n in self._ids

    # ---- locks ----

    def lock_instances(self, connection: Connection, found: list[Any]) -> list[LockedInstance]:
        """Finish the locking of rows in `queries._LOCKED_COLUMNS`: take their messages and note the locks."""
        numbers = [row[0] for row in found]
        mail: dict[int, list[Delivery]] = {n: [] for n in numbers}
        for block in queries.in_blocks(numbers):
            taken = connection.execute(queries.take_due_messages(len(block)), (self.now, *block)).fetchall()
            later = connection.execute(queries.later_messages(len(block)), (self.now, *block)).fetchall()
            for n, message_id, count, due, body in sorted(taken, key=_message_id) + later:
                mail[n].append(self._delivery(n, message_id, count, due, body))
        locked = []
        for n, instance_id, is_entity, token, recovered, status, execution_id, history_id, custom_status in found:
            self.hold(instance_id, n)
            locked.append(
                LockedInstance(
                    n=n,
                    lock=self.owner or 0,
                    token=token,
                    instance_id=instance_id,
                    is_entity=bool(is_entity),
                    execution_id=execution_id,
                    history_execution_id=history_id,
                    custom_status=custom_status,
                    recovered=recovered,
                    is_live=history_id is not None
                    and (status in _LIVE or (status == _PENDING and execution_id == history_id)),
                    deliveries=tuple(mail[n]),
                )
            )
        return locked

    def lock_ready(self, connection: Connection, wanted: list[tuple[bool, int]]) -> list[ReadyAnswer]:
        """Runner: `(is_entity, limit)`: lock instances; the answer is when the next one will be ready (`None`: unknown)."""
        answers: list[ReadyAnswer] = []
        for is_entity, limit in wanted:
            if self.owner is None:
                answers.append(None)
                continue
            values = {"owner": self.owner, "is_entity": int(is_entity), "now": self.now, "limit": limit}
            found = connection.execute(queries.LOCK_READY, values).fetchall()
            next_wake = connection.execute(queries.NEXT_WAKE, (int(is_entity),)).fetchone()[0]
            # As an effect, not as the answer: an answer reaches its waiter one turn of the loop later, and a message that
            # the next transaction delivers would find no session.
            self.effects.locked.extend(self.lock_instances(connection, found))
            answers.append(next_wake)
        return answers

    def lock_activities(self, connection: Connection, limits: list[int]) -> list[ActivityAnswer]:
        """Runner: limit → activities locked now, oldest first, and when the next one will be visible."""
        answers: list[ActivityAnswer] = []
        for limit in limits:
            values = {"owner": self.owner, "now": self.now, "limit": limit}
            found = connection.execute(queries.LOCK_ACTIVITIES, values).fetchall() if self.owner is not None else []
            found.sort(key=lambda row: (row[3], row[0]))
            found = self._with_one_suspect(connection, found)
            next_visible = connection.execute(queries.NEXT_ACTIVITY).fetchone()[0]
            items = [
                ActivityWorkItem(
                    item_id=str(activity_id),
                    message=message_from_text(body),
                    dequeue_count=count,
                    deaths=deaths,
                    lock=self.owner or 0,
                )
                for activity_id, count, body, _, deaths in found
            ]
            answers.append((items, next_visible))
        return answers

    def _with_one_suspect(self, connection: Connection, found: list[Any]) -> list[Any]:
        """Give back all but one of those that several workers have died with in a run, unless one is here already.

        If it kills this worker too, only its own deaths grow, not those of activities that ran beside it by chance.
        """
        suspects = [row for row in found if row[4] >= _SUSPECT_DEATHS]
        if not suspects:
            return found
        locked = connection.execute(queries.SUSPECTS_LOCKED, (self.owner, _SUSPECT_DEATHS)).fetchone()[0]
        others = suspects if locked > len(suspects) else suspects[1:]
        later = ticks_add(ticks_from_datetime(self._clock.now()), _SUSPECT_WAIT)
        self.free_activities(connection, [(activity_id, later, 1) for activity_id, *_ in others])
        return [row for row in found if row not in others]

    def count_runs(self, connection: Connection, wanted: list[tuple[int, int]]) -> list[bool]:
        """Runner: `(activity id, 1 or -1)`: a run begins, or ends with its worker alive → whether it is locked here."""
        return [
            connection.execute(queries.COUNT_RUN, (by, activity_id, self.owner)).rowcount > 0 for activity_id, by in wanted
        ]

    @property
    def may_have_expired(self) -> bool:
        """Whether this worker has not given a sign of life in time, so that others may have taken its locks over."""
        return ticks_from_datetime(self._clock.now()) > self._expires_at

    def locked_activities(self, connection: Connection, wanted: list[int]) -> list[bool]:
        """Runner: activity id → whether this worker has it locked."""
        query = queries.ACTIVITY_IS_LOCKED
        return [connection.execute(query, (activity_id, self.owner)).fetchone() is not None for activity_id in wanted]

    def release(self, connection: Connection, given_up: list[GivenUp]) -> list[None]:
        """Runner: `(n, token, wake_at, waiting, unread)`: unlock an instance.

        It wakes at `wake_at`, or if that is `None` when its next message is due; those in `waiting` do not wake it. The
        messages in `unread` were handed to nobody: this delivery of theirs is forgotten.
        """
        for n, token, wake_at, waiting, unread in given_up:
            values = {"n": n, "token": token, "owner": self.owner, "now": self.now, "wake_at": wake_at}
            values.update((f"w{index}", message_id) for index, message_id in enumerate(waiting))
            for block in queries.in_blocks(unread):
                forget = queries.forget_deliveries(len(block), of_one_lock=True)
                connection.execute(forget, (n, token, self.owner, *block))
            statement = queries.release(len(waiting)) if wake_at is None else queries.ABANDON
            found = connection.execute(statement, values).fetchall()
            if not found:
                continue  # it is no longer ours, or ours under another token
            self.let_go(n)
            wakes, status = found[0]
            if wakes is not None:
                self.effects.wakes.append(wakes)
            elif status is None:
                connection.execute(queries.DROP_BARE_MAILBOX, (n,))
        return [None] * len(given_up)

    def forget_deliveries(self, connection: Connection, unread: list[tuple[int, ...]]) -> list[None]:
        """Runner: messages (ids) of instances that are locked here: they were handed to nobody."""
        for block in queries.in_blocks([message_id for ids in unread for message_id in ids]):
            connection.execute(queries.forget_deliveries(len(block)), (self.owner, *block))
        return [None] * len(unread)

    def free_activities(self, connection: Connection, given_up: list[tuple[int, int, int]]) -> list[None]:
        """Runner: `(activity id, visible from, deliveries to forget)`."""
        for activity_id, visible_at, forget in given_up:
            connection.execute(queries.FREE_ACTIVITY, (visible_at, forget, activity_id, self.owner))
            self.effects.wakes.append(visible_at)
        return [None] * len(given_up)

    # ---- the worker row ----

    def register(self, connection: Connection, payloads: list[None]) -> list[int]:
        """Runner: make this process a worker; returns its id."""
        allocate_log(connection)
        self._register(connection)
        self._take_over_dead(connection)
        return [self.owner or 0] * len(payloads)

    def unregister(self, connection: Connection, payloads: list[None]) -> list[None]:
        """Runner: give up every lock and the worker row."""
        if self.owner is not None:
            values = {"owner": self.owner, "now": self.now, "died": 0}
            connection.execute(queries.FREE_INSTANCES_OF, values)
            connection.execute(queries.FREE_ACTIVITIES_OF, (self.owner,))
            connection.execute(queries.UNREGISTER_WORKER, (self.owner,))
            for n in list(self._ids):
                self.let_go(n)
            self.owner = None
        return [None] * len(payloads)

    def beat(self, connection: Connection, payloads: list[None]) -> list[None]:
        """Runner: a sign of life. Who gives it too late leaves the others time for theirs before it takes anything over."""
        late = self.now > self._expires_at
        self._next_heartbeat = self._clock.monotonic() + self._heartbeat_seconds
        self._expires_at = self._expiry()
        connection.execute(queries.HEARTBEAT, (self._expires_at, self.owner))
        if not late:
            self._take_over_dead(connection)
        return [None] * len(payloads)

    def look_around(self, connection: Connection, payloads: list[None]) -> list[None]:
        """Runner: nothing; `began` has done what foreign commits ask for."""
        return [None] * len(payloads)

    def _register(self, connection: Connection) -> None:
        expires_at = self._expiry()
        cursor = connection.execute(queries.REGISTER_WORKER, (os.getpid(), this_machine(), expires_at))
        self.owner = cursor.lastrowid
        self._expires_at = expires_at  # after the id: who asks `may_have_expired` compares that next, on another thread
        self._newest_message = connection.execute(queries.LAST_MESSAGE).fetchone()[0]
        self._next_heartbeat = self._clock.monotonic() + self._heartbeat_seconds

    def _start_over_if_replaced(self, connection: Connection, owner: int) -> None:
        """If others have declared this worker dead (it was stopped for too long), all its locks are lost.

        To be seen before anything else is written: under the old worker id nobody would ever take over what it locks.
        """
        if connection.execute(queries.WORKER_EXISTS, (owner,)).fetchone() is not None:
            return
        self.effects.lost.extend(self._ids)
        for n in list(self._ids):
            self.let_go(n)
        self._register(connection)

    def _expiry(self) -> int:
        return ticks_add(ticks_from_datetime(self._clock.now()), self._lock_timeout)

    def _take_over_dead(self, connection: Connection) -> None:
        """Free what dead workers had locked. The token grows: a worker that was only stopped can commit nothing of it."""
        rows = connection.execute(queries.OTHER_WORKERS, (self.owner,)).fetchall()
        self.alone = not rows
        for worker_id, process_id, machine, expires_at in rows:
            if expires_at >= self.now and not has_ended(process_id, machine):
                continue
            connection.execute(queries.FREE_INSTANCES_OF, {"owner": worker_id, "now": self.now, "died": 1})
            connection.execute(queries.FREE_ACTIVITIES_OF_DEAD, {"owner": worker_id, "now": self.now})
            connection.execute(queries.UNREGISTER_WORKER, (worker_id,))
            self.effects.wakes.append(0)

    def _take_foreign_messages(self, connection: Connection) -> None:
        """Find what other processes have sent to the instances that are locked here."""
        found = connection.execute(queries.MESSAGES_SINCE, (self._last_message,)).fetchall()
        for block in queries.in_blocks([message_id for message_id, n in found if n in self._ids]):
            taken = connection.execute(queries.take_messages(len(block)), tuple(block)).fetchall()
            for n, message_id, count, due, body in sorted(taken, key=_message_id):
                self.effects.deliveries.append(self._delivery(n, message_id, count, due, body))
        self._newest_message = connection.execute(queries.LAST_MESSAGE).fetchone()[0]
        self.effects.wakes.append(0)

    def _delivery(self, n: int, message_id: int, count: int, due: int, body: str) -> Delivery:
        message = ReceivedMessage(message_id=str(message_id), message=message_from_text(body), dequeue_count=count)
        return Delivery(n=n, message=message, due=due if due > self.now else 0)


def _message_id(row: tuple[Any, ...]) -> int:
    message_id: int = row[1]
    return message_id
