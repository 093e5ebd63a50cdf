"""The SQLite connections of a hub file: the one that writes, all that is ready in one transaction, and the one that reads.

The only module that imports `sqlite3`: its errors end here. Knows no durable word.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from durable_ext.backends.sqlite.faults import busy_error, is_busy, replaced_error, translate
from durable_ext.backends.sqlite.group_thread import POLL_SECONDS, GroupThread, Request, Runner, Waiter, by_runner
from durable_ext.errors import BackendError, ConfigurationError

Connection = sqlite3.Connection

log = logging.getLogger("durable_ext.sqlite")
_LOG_PAGES: Final = 1000
_CACHE_SIZE: Final = -16_000
_LARGEST_LOG_BYTES: Final = 32 * 1024 * 1024
"""A log that one large transaction made longer is cut down to this."""
_LONGEST_PAUSE_SECONDS: Final = 0.5
_OLDEST_SQLITE: Final = (3, 35, 0)  # RETURNING


def connect(path: Path, synchronous: str) -> Connection:
    """Open (and create) the file in WAL mode, transactions by hand.

    Raises:
        ConfigurationError: The path cannot be opened or written, is no database, or SQLite is older than 3.35.
        BackendUnavailableError: Another process keeps the file locked.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise ConfigurationError(
            f"Python was built with SQLite {sqlite3.sqlite_version}; the embedded task hub needs 3.35 or newer. "
            f"Use a newer Python, or Azure Storage (--hub azure)."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The folder '{path.parent}' of the task hub file cannot be created: {error.strerror}. "
            f"Create it, or choose another place for the hub."
        ) from error
    connection: Connection | None = None
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if synchronous == 'FULL' else 'NORMAL'}")
        connection.execute(f"PRAGMA journal_size_limit = {_LARGEST_LOG_BYTES}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        connection.execute(f"PRAGMA cache_size = {_CACHE_SIZE}")
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise translate(error, path) from error
    return connection


def allocate_log(connection: Connection) -> None:
    """Give the write-ahead log its working size, inside an open transaction and without leaving anything in it.

    A commit that makes the log longer also has to write the file's length: on ext4 that doubles the cost of a durable
    commit. So a large write spills into the log and is undone; what follows overwrites it.
    """
    connection.execute("SAVEPOINT log")
    connection.execute("PRAGMA cache_size = 10")
    connection.execute("CREATE TABLE log_filler (content BLOB)")
    for _ in range(11):
        connection.execute("INSERT INTO log_filler VALUES (zeroblob(400000))")
    connection.execute("ROLLBACK TO log")
    connection.execute("RELEASE log")
    connection.execute(f"PRAGMA cache_size = {_CACHE_SIZE}")


class TransactionScope(Protocol):
    """What takes part in every write transaction; called on the writer thread only."""

    def duties(self, foreign_commits: bool) -> list[tuple[Runner, Any]]:
        """Requests of its own that are due now; `foreign_commits`: other processes have written since the last call."""
        ...

    def began(self, connection: Connection, foreign_commits: bool) -> None:
        """A transaction was begun."""
        ...

    def committed(self) -> Callable[[], None]:
        """The transaction is durable; returns what the event loop has to do before it hears of the results."""
        ...

    def rolled_back(self) -> None:
        """Forget what this transaction had changed in memory."""
        ...


class WriterThread(GroupThread):
    """The connection of this process that writes: every group is one transaction (group commit).

    Usually its own thread does. Whoever has put requests aside may write them on its own thread instead (`flush`), while
    nobody else writes: a single write then wakes no thread.
    """

    _connection: Connection

    def __init__(
        self,
        path: Path,
        synchronous: str,
        busy_timeout: timedelta,
        scope: TransactionScope,
        loop: asyncio.AbstractEventLoop,
        prepare: Callable[[Connection], None],
    ) -> None:
        super().__init__("durable-sqlite-writer", path, loop)
        self.commits = 0
        self._synchronous = synchronous
        self._prepare = prepare
        self._busy_seconds = busy_timeout.total_seconds()
        self._scope = scope
        self._data_version = 0
        self._next_poll = 0.0
        self._housekeeping_error: str | None = None
        self._housekeeping_pause = POLL_SECONDS
        self._file_id: tuple[int, int] | None = None
        self._aside: deque[Request] = deque()

    def open(self) -> None:
        """Connect and prepare the file; blocks, to be called before `start()`, on any thread.

        Raises:
            ConfigurationError, BackendUnavailableError: As `connect`, and what `prepare` raises.
        """
        connection = connect(self.path, self._synchronous)
        try:
            self._prepare(connection)
            connection.execute("PRAGMA busy_timeout = 0")  # we wait ourselves, more finely than SQLite does
        except sqlite3.Error as error:
            connection.close()
            raise translate(error, self.path) from error
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._file_id = _file_id(self.path)

    def put_aside(self, runner: Runner, payload: Any, waiter: Waiter) -> None:
        """Keep a request for the next `flush`; from any thread. The answer goes to `waiter`, on the event loop."""
        self._aside.append(Request(runner, payload, waiter))

    def flush(self, *, here: bool) -> None:
        """Write what was put aside, from any thread.

        `here`: on this one, if nobody writes or waits to write and no other process has the file; else, and always if not
        `here`, the writer thread does.
        """
        requests: list[Request] = []
        while self._aside:
            try:
                requests.append(self._aside.popleft())
            except IndexError:  # another thread was faster
                break
        if requests and not (here and self._transact_at_once(requests)) and not self._enqueue(requests):
            self._hand_back(requests, [self._closed_error()] * len(requests))

    def _transact_at_once(self, requests: list[Request]) -> bool:
        if not self._turn.acquire(blocking=False):
            return False
        try:
            if self._closed or not self._requests.empty():
                return False
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error:  # whatever it is, the writer thread finds out, and may wait for it
                return False
            self._transact(requests, has_begun=True)
            return True
        finally:
            self._turn.release()

    def _work(self, requests: list[Request]) -> None:
        now = time.monotonic()
        if now >= self._next_poll:
            self._next_poll = now + self._housekeeping_pause
            version = self._read_data_version()
            duties = self._scope.duties(version != self._data_version)
            if not duties and not requests:
                self._data_version = version  # the scope has heard of it, and no transaction follows to see it
            requests = requests + [Request(runner, payload, None) for runner, payload in duties]
        if requests:
            self._transact(requests)

    def _read_data_version(self) -> int:
        """A number that differs from the last one if another connection has committed in between."""
        try:
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error:
            return self._data_version
        return version

    def _transact(self, requests: list[Request], *, has_begun: bool = False) -> None:
        try:
            if not has_begun:
                self._begin()
            answers = self._answer(requests)
            if _file_id(self.path) != self._file_id:  # a commit to a deleted file would be lost with this process
                raise replaced_error(self.path)
            self._connection.execute("COMMIT")
        except Exception as error:
            self._roll_back()
            if len(requests) > 1 and not isinstance(error, BackendError):
                for request in requests:  # one bad value must not take the others with it
                    self._transact([request])
                return
            problem = translate(error, self.path) if isinstance(error, sqlite3.Error) else error
            if requests[0].waiter is None:
                self._housekeeping_failed(problem)
            self._hand_back(requests, [problem] * len(requests))
            return
        self.commits += 1
        self._housekeeping_error, self._housekeeping_pause = None, POLL_SECONDS
        self._hand_back(requests, answers, self._scope.committed())

    def _housekeeping_failed(self, problem: Exception) -> None:
        """Say it when it changes, and try less often: what has to be done stays due until it succeeds."""
        self._housekeeping_pause = min(self._housekeeping_pause * 2, _LONGEST_PAUSE_SECONDS)
        text = str(problem)
        if text != self._housekeeping_error:
            self._housekeeping_error = text
            log.warning("housekeeping failed: %s", text, extra={"event": "housekeeping_failed"})

    def _answer(self, requests: list[Request]) -> list[Any]:
        version = self._read_data_version()
        foreign, self._data_version = version != self._data_version, version
        self._scope.began(self._connection, foreign)
        if len(requests) == 1:
            return list(requests[0].runner(self._connection, [requests[0].payload]))
        answers: dict[int, Any] = {}
        for runner, group in by_runner(requests):
            for request, answer in zip(group, runner(self._connection, [request.payload for request in group]), strict=True):
                answers[id(request)] = answer
        return [answers[id(request)] for request in requests]

    def _begin(self) -> None:
        """BEGIN IMMEDIATE, waiting for other processes in steps of 0.2 to 5 ms."""
        deadline = time.monotonic() + self._busy_seconds
        pause = 0.0002
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
                if time.monotonic() >= deadline or self._stopping:
                    raise busy_error(self.path, self._busy_seconds) from error
            time.sleep(pause)
            pause = min(pause * 2, 0.005)

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            log.warning("rollback failed: %s", error, extra={"event": "rollback_failed"})
        self._data_version = 0  # what other processes did was seen by this transaction only
        self._scope.rolled_back()

    def _end(self) -> None:
        try:
            if self._stopping and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            elif not self._stopping:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            log.debug("last checkpoint of the log failed: %s", error, extra={"event": "wal_checkpoint_failed"})
        self._connection.close()


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class ReaderThread(GroupThread):
    """Answers queries beside the writer; a group sees one snapshot that includes every commit made before it."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__("durable-sqlite-reader", path, loop)
        self._connection = connect(path, "NORMAL")

    def _work(self, requests: list[Request]) -> None:
        for runner, group in by_runner(requests):
            try:
                answers = runner(self._connection, [request.payload for request in group])
            except sqlite3.Error as error:
                problem = translate(error, self.path)
                self._hand_back(group, [problem] * len(group))
            except Exception as error:
                self._hand_back(group, [error] * len(group))
            else:
                self._hand_back(group, answers)

    def _end(self) -> None:
        self._connection.close()
