"""Every SQL statement of the embedded store, by name; values are always bound, never built into the text.

Statements over many rows are functions of the row count: a group of two hundred checkpoints is a handful of statements,
because each one costs a release of the interpreter lock. `in_blocks` calls them with powers of two, so that few distinct
texts exist and the connection's statement cache holds all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Final

_LARGEST_BLOCK: Final = 128
TERMINAL: Final = "('Completed', 'Failed', 'Canceled', 'Terminated')"

ROW_COLUMNS: Final = (
    "instance_id, execution_id, name, version, status, created_at, last_updated_at, completed_at, scheduled_start_at, "
    "generation, tags, custom_status"
)


def in_blocks(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut rows into blocks of 128, 64, 32 ... 1."""
    start, left = 0, len(rows)
    while left:
        size = _LARGEST_BLOCK if left >= _LARGEST_BLOCK else 1 << (left.bit_length() - 1)
        yield rows[start : start + size]
        start += size
        left -= size


def _tuples(count: int, width: int) -> str:
    one = "(" + ", ".join("?" * width) + ")"
    return ", ".join([one] * count)


def _marks(count: int) -> str:
    return "(" + ", ".join("?" * count) + ")"


Statement = Callable[[int], str]


# ---- sessions and checkpoints ----


@cache
def tokens_of(count: int) -> str:
    return f"SELECT n, lock_token, execution_id, status FROM instances WHERE n IN {_marks(count)}"


@cache
def insert_history(count: int) -> str:
    return f"INSERT INTO history (n, event_count, events) VALUES {_tuples(count, 3)}"


@cache
def delete_history(count: int) -> str:
    return f"DELETE FROM history WHERE n IN {_marks(count)}"


@cache
def delete_messages(count: int) -> str:
    return f"DELETE FROM messages WHERE message_id IN {_marks(count)}"


@cache
def instances_with_messages(count: int) -> str:
    return f"SELECT DISTINCT n FROM messages WHERE n IN {_marks(count)}"


UPDATE_ROW: Final = """
UPDATE instances SET
  execution_id = ?, last_updated_at = ?, custom_status = ?, status = coalesce(?, status), name = coalesce(?, name),
  version = coalesce(?, version), created_at = coalesce(?, created_at), completed_at = coalesce(?, completed_at),
  scheduled_start_at = coalesce(?, scheduled_start_at), generation = coalesce(?, generation), tags = coalesce(?, tags),
  input = coalesce(?, input), output = coalesce(?, output),
  history_execution_id = coalesce(?, history_execution_id), lock_owner = ?, wake_at = NULL, recovered = 0
WHERE n = ?"""
SET_HISTORY_EXECUTION: Final = "UPDATE instances SET history_execution_id = ? WHERE n = ?"
DELETE_TIMERS: Final = "DELETE FROM messages WHERE n = ? AND event_type = ? AND due > ?"
DELETE_MESSAGES_OF_TYPE: Final = "DELETE FROM messages WHERE n = ? AND event_type = ?"
PUT_LARGE_TEXT: Final = "INSERT OR REPLACE INTO large_texts (n, kind, content) VALUES (?, ?, ?)"
CLEAR_COLUMN: Final = {
    "input": "UPDATE instances SET input = NULL WHERE n = ?",
    "output": "UPDATE instances SET output = NULL WHERE n = ?",
}
DROP_LARGE_TEXTS: Final = "DELETE FROM large_texts WHERE n = ?"


@cache
def release(waiting: int) -> str:
    """Unlock; so many messages, bound as `:w0`, `:w1` ..., do not wake the instance."""
    others = f" AND message_id NOT IN ({', '.join(f':w{index}' for index in range(waiting))})" if waiting else ""
    return f"""
UPDATE instances SET lock_owner = NULL, recovered = 0,
  wake_at = (SELECT CASE WHEN min(due) < :now THEN :now ELSE min(due) END FROM messages
    WHERE messages.n = instances.n{others})
WHERE n = :n AND lock_token = :token AND lock_owner = :owner RETURNING wake_at, status"""


@cache
def forget_deliveries(count: int, *, of_one_lock: bool = False) -> str:
    """Count one delivery less, of messages of instances that this owner has locked; or of one, under this token."""
    locked = "n = ? AND lock_token = ? AND lock_owner = ?" if of_one_lock else "lock_owner = ?"
    return (
        "UPDATE messages SET dequeue_count = max(0, dequeue_count - 1) "
        f"WHERE n IN (SELECT n FROM instances WHERE {locked}) AND message_id IN {_marks(count)}"
    )


DROP_BARE_MAILBOX: Final = "DELETE FROM instances WHERE n = ? AND status IS NULL AND history_execution_id IS NULL"
ABANDON: Final = f"""
UPDATE instances SET lock_owner = NULL,
  wake_at = CASE WHEN EXISTS (SELECT 1 FROM messages WHERE messages.n = instances.n)
                   OR (history_execution_id IS NOT NULL AND is_entity = 0 AND status NOT IN {TERMINAL}) THEN :wake_at END
WHERE n = :n AND lock_token = :token AND lock_owner = :owner RETURNING wake_at, status"""


# ---- instances and messages ----


@cache
def find_instances(count: int) -> str:
    return (
        "SELECT instance_id, n, status, generation, lock_owner, wake_at, execution_id, history_execution_id "
        f"FROM instances WHERE instance_id IN {_marks(count)}"
    )


@cache
def insert_instances(count: int) -> str:
    return (
        "INSERT INTO instances (instance_id, is_entity, lock_owner, lock_token, wake_at, recovered, status, execution_id, "
        "name, version, created_at, last_updated_at, scheduled_start_at, generation, tags, input) "
        f"VALUES {_tuples(count, 16)}"
    )


@cache
def insert_messages(count: int) -> str:
    return f"INSERT INTO messages (n, due, event_type, dequeue_count, body) VALUES {_tuples(count, 5)}"


@cache
def insert_activities(count: int) -> str:
    return f"INSERT INTO activities (n, lock_owner, visible_at, dequeue_count, body) VALUES {_tuples(count, 5)}"


RESTART_ROW: Final = """
UPDATE instances SET status = 'Pending', execution_id = ?, name = ?, version = ?, created_at = ?, last_updated_at = ?,
  completed_at = NULL, scheduled_start_at = ?, generation = ?, tags = ?, custom_status = NULL, input = ?, output = NULL
WHERE n = ?"""
WAKE_INSTANCE: Final = "UPDATE instances SET wake_at = min(coalesce(wake_at, :at), :at) WHERE n = :n"

_LOCKED_COLUMNS: Final = (
    "n, instance_id, is_entity, lock_token, recovered, status, execution_id, history_execution_id, custom_status"
)
LOCK_READY: Final = f"""
UPDATE instances SET lock_owner = :owner, lock_token = lock_token + 1, wake_at = NULL WHERE n IN (
  SELECT n FROM instances WHERE lock_owner IS NULL AND wake_at IS NOT NULL AND is_entity = :is_entity AND wake_at <= :now
  ORDER BY wake_at LIMIT :limit)
RETURNING {_LOCKED_COLUMNS}"""
NEXT_WAKE: Final = """
SELECT min(wake_at) FROM instances WHERE lock_owner IS NULL AND wake_at IS NOT NULL AND is_entity = ?"""


@cache
def lock_instances(count: int) -> str:
    return (
        "UPDATE instances SET lock_owner = ?, lock_token = lock_token + 1, wake_at = NULL "
        f"WHERE lock_owner IS NULL AND n IN {_marks(count)} RETURNING {_LOCKED_COLUMNS}"
    )


@cache
def take_due_messages(count: int) -> str:
    return (
        f"UPDATE messages SET dequeue_count = dequeue_count + 1 WHERE due <= ? AND n IN {_marks(count)} "
        "RETURNING n, message_id, dequeue_count, due, body"
    )


@cache
def later_messages(count: int) -> str:
    return f"SELECT n, message_id, dequeue_count + 1, due, body FROM messages WHERE due > ? AND n IN {_marks(count)}"


# ---- workers ----

REGISTER_WORKER: Final = "INSERT INTO workers (process_id, machine, expires_at) VALUES (?, ?, ?)"
HEARTBEAT: Final = "UPDATE workers SET expires_at = ? WHERE worker_id = ?"
UNREGISTER_WORKER: Final = "DELETE FROM workers WHERE worker_id = ?"
OTHER_WORKERS: Final = "SELECT worker_id, process_id, machine, expires_at FROM workers WHERE worker_id != ?"
# From its second death in a row on the code of an instance may be what kills: 1, 2, 4 ... 60 s, so that hosts live
# meanwhile, and a part of a second that differs each time, so that who was locked beside it is done without it.
FREE_INSTANCES_OF: Final = f"""
UPDATE instances SET lock_owner = NULL, lock_token = lock_token + 1,
  recovered = CASE WHEN :died THEN recovered + 1 ELSE 0 END,
  wake_at = CASE WHEN EXISTS (SELECT 1 FROM messages WHERE messages.n = instances.n AND messages.due <= :now)
                   OR (history_execution_id IS NOT NULL AND is_entity = 0 AND status NOT IN {TERMINAL})
                 THEN :now + CASE WHEN :died AND recovered > 0
                   THEN min(1 << min(recovered - 1, 6), 60) * 10000000 + n % (recovered + 2) * 1000000 ELSE 0 END
                 ELSE (SELECT min(due) FROM messages WHERE messages.n = instances.n) END
WHERE lock_owner = :owner"""
FREE_ACTIVITIES_OF: Final = "UPDATE activities SET lock_owner = NULL WHERE lock_owner = ?"
# An activity whose runs several workers did not survive may be what kills: 1, 2, 4 ... 60 s, so that hosts live meanwhile.
FREE_ACTIVITIES_OF_DEAD: Final = """
UPDATE activities SET lock_owner = NULL, visible_at = CASE
  WHEN deaths > 0 THEN :now + min(1 << min(deaths - 1, 6), 60) * 10000000 ELSE visible_at END
WHERE lock_owner = :owner"""
WORKER_EXISTS: Final = "SELECT 1 FROM workers WHERE worker_id = ?"
MESSAGES_SINCE: Final = "SELECT message_id, n FROM messages WHERE message_id > ? ORDER BY message_id"


@cache
def take_messages(count: int) -> str:
    return (
        f"UPDATE messages SET dequeue_count = dequeue_count + 1 WHERE message_id IN {_marks(count)} "
        "RETURNING n, message_id, dequeue_count, due, body"
    )


LAST_MESSAGE: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'messages'"

# ---- activities ----

LOCK_ACTIVITIES: Final = """
UPDATE activities SET lock_owner = :owner, dequeue_count = dequeue_count + 1 WHERE activity_id IN (
  SELECT activity_id FROM activities WHERE lock_owner IS NULL AND visible_at <= :now ORDER BY visible_at, activity_id
  LIMIT :limit)
RETURNING activity_id, dequeue_count, body, visible_at, deaths"""
ACTIVITY_IS_LOCKED: Final = "SELECT 1 FROM activities WHERE activity_id = ? AND lock_owner = ?"
NEXT_ACTIVITY: Final = "SELECT min(visible_at) FROM activities WHERE lock_owner IS NULL"
SUSPECTS_LOCKED: Final = "SELECT count(*) FROM activities WHERE lock_owner = ? AND deaths >= ?"
COUNT_RUN: Final = "UPDATE activities SET deaths = max(0, deaths + ?) WHERE activity_id = ? AND lock_owner = ?"
FREE_ACTIVITY: Final = """
UPDATE activities SET lock_owner = NULL, visible_at = ?, dequeue_count = dequeue_count - ?
WHERE activity_id = ? AND lock_owner = ?"""


@cache
def complete_activities(count: int) -> str:
    return f"DELETE FROM activities WHERE lock_owner = ? AND activity_id IN {_marks(count)} RETURNING activity_id"


# ---- queries of clients ----


@cache
def read_rows(count: int) -> str:
    return (
        f"SELECT {ROW_COLUMNS}, "
        "coalesce(input, (SELECT content FROM large_texts WHERE large_texts.n = instances.n AND kind = 'input')), "
        "coalesce(output, (SELECT content FROM large_texts WHERE large_texts.n = instances.n AND kind = 'output')) "
        f"FROM instances WHERE status IS NOT NULL AND instance_id IN {_marks(count)}"
    )


READ_HISTORY: Final = "SELECT events FROM history WHERE n = ? ORDER BY position"
CURRENT_HISTORY: Final = """
SELECT n FROM instances
WHERE instance_id = ? AND history_execution_id IS NOT NULL AND (status IS NULL OR status <> 'Pending'
  OR execution_id IS history_execution_id)"""


def query_page(*, statuses: int, with_payloads: bool) -> str:
    """A page of instances after `:after`; `statuses` of them are bound as `:s0`, `:s1` ...

    Bounds that are not wanted are bound as NULL.
    """
    payloads = (
        "coalesce(input, (SELECT content FROM large_texts WHERE large_texts.n = instances.n AND kind = 'input')), "
        "coalesce(output, (SELECT content FROM large_texts WHERE large_texts.n = instances.n AND kind = 'output'))"
        if with_payloads
        else "NULL, NULL"
    )
    wanted = f"AND status IN ({', '.join(f':s{index}' for index in range(statuses))})" if statuses else ""
    return f"""
SELECT {ROW_COLUMNS}, {payloads} FROM instances
WHERE instance_id > :after AND instance_id >= :first AND (:beyond IS NULL OR instance_id < :beyond)
  AND status IS NOT NULL AND (:created_from IS NULL OR created_at >= :created_from)
  AND (:created_to IS NULL OR created_at <= :created_to) AND (:entities OR NOT is_entity)
  AND (:orchestrations OR is_entity) {wanted}
ORDER BY instance_id LIMIT :limit"""


# ---- purge, rewind, hub ----

FIND_N: Final = "SELECT n, status FROM instances WHERE instance_id = ?"
# What is on its way: to an entity anything counts, to an instance that has ended the start of another run (type 0).
FIND_PURGED: Final = """
SELECT execution_id, last_updated_at, EXISTS (
  SELECT 1 FROM messages WHERE messages.n = instances.n
    AND (is_entity OR (event_type = 0 AND status NOT IN ('Pending', 'Running', 'Suspended', 'ContinuedAsNew'))))
FROM instances WHERE instance_id = ?"""
PURGE: Final = (
    "DELETE FROM history WHERE n = ?",
    "DELETE FROM messages WHERE n = ?",
    "DELETE FROM activities WHERE n = ?",
    "DELETE FROM large_texts WHERE n = ?",
    "DELETE FROM instances WHERE n = ?",
)
DELETE_HISTORY: Final = "DELETE FROM history WHERE n = ?"
SEIZE: Final = "UPDATE instances SET lock_owner = NULL, lock_token = lock_token + 1, wake_at = NULL WHERE n = ?"
SET_PENDING: Final = "UPDATE instances SET status = 'Pending', last_updated_at = ? WHERE n = ?"
HUB_NAME: Final = "SELECT task_hub FROM hub"
CREATE_HUB: Final = "INSERT OR IGNORE INTO hub (task_hub, created_at) VALUES (?, ?)"
DELETE_HUB: Final = tuple(
    f"DELETE FROM {table}" for table in ("hub", "workers", "instances", "large_texts", "history", "messages", "activities")
)
