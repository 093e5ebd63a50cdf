"""Threads that own a SQLite connection and take all ready work at once; know no durable word.

The only module that imports `sqlite3`: its errors end here. Requests go in from the event loop; results of a whole group
come back with one `call_soon_threadsafe` (design.md 4: a hop per request would cost more than the request).
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from durable_ext.backends.sqlite.faults import busy_error, is_busy, replaced_error, translate
from durable_ext.errors import BackendError, BackendUnavailableError, ConfigurationError

Connection = sqlite3.Connection
R = TypeVar("R")
Runner = Callable[[Connection, list[Any]], Sequence[Any]]

log = logging.getLogger("durable_ext.sqlite")
POLL_SECONDS: Final = 0.02
"""How often an idle thread looks for commits of other processes (design.md 3)."""
_MAX_GROUP: Final = 512
_LOG_PAGES: Final = 1000
_CACHE_SIZE: Final = -16_000
_LARGEST_LOG_BYTES: Final = 32 * 1024 * 1024
"""A log that one large transaction made longer is cut down to this."""
_OLDEST_SQLITE: Final = (3, 35, 0)  # RETURNING


class _Request(NamedTuple):
    runner: Runner
    payload: Any
    future: asyncio.Future[Any] | None


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


class GroupThread:
    """A daemon thread with one connection; `_work` is called with every request that is ready, or none after 20 ms."""

    def __init__(self, name: str, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.path = path
        self._loop = loop
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._stopping = False
        self._closed = False

    def start(self) -> None:
        self._thread.start()

    def submit(self, runner: Runner, payload: Any) -> asyncio.Future[Any]:
        """Queue a request; all queued requests of one runner are given to it as one list, which it answers with one list.

        An answer that is an exception becomes the exception of its request's future.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closed:
            future.set_exception(
                BackendUnavailableError(f"The task hub file '{self.path}' is closed. Open the backend first.")
            )
            return future
        self._requests.put(_Request(runner, payload, future))
        return future

    def refuse(self) -> None:
        """Take no more requests; called where requests are submitted, so that none can come after the end of the queue."""
        if not self._closed:
            self._closed = True
            self._requests.put(None)

    def join(self) -> None:
        """Return when what was queued is done and the thread has ended; blocks."""
        self._thread.join()

    def kill(self) -> None:
        """End the thread after the statement it is in; what was queued is dropped (as if the process were killed)."""
        self._stopping = True
        self.refuse()
        self.join()

    def _run(self) -> None:
        open_ended = True
        while open_ended and not self._stopping:
            requests: list[_Request] = []
            try:
                request = self._requests.get(timeout=POLL_SECONDS)
                while request is not None:
                    requests.append(request)
                    if len(requests) == _MAX_GROUP:
                        break
                    request = self._requests.get_nowait()
                else:
                    open_ended = False
            except queue.Empty:
                pass
            if not self._stopping:
                self._work(requests)
        self._end()

    def _work(self, requests: list[_Request]) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError

    def _hand_back(
        self, requests: Sequence[_Request], answers: Sequence[Any], before: Callable[[], None] | None = None
    ) -> None:
        try:
            self._loop.call_soon_threadsafe(_resolve, requests, answers, before)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.debug("results dropped: the event loop is closed", extra={"event": "results_dropped"})


def _resolve(requests: Sequence[_Request], answers: Sequence[Any], before: Callable[[], None] | None) -> None:
    if before is not None:
        before()
    for request, answer in zip(requests, answers, strict=True):
        future = request.future
        if future is None or future.done():
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def by_runner(requests: Sequence[_Request]) -> list[tuple[Runner, list[_Request]]]:
    """Group requests by runner, in the order in which runners first appear."""
    groups: dict[Runner, list[_Request]] = {}
    for request in requests:
        groups.setdefault(request.runner, []).append(request)
    return list(groups.items())


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
    """The one thread of this process that writes: every group is one transaction (group commit)."""

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
        self._file_id: tuple[int, int] | None = None

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

    def _work(self, requests: list[_Request]) -> None:
        now = time.monotonic()
        if now >= self._next_poll:
            self._next_poll = now + POLL_SECONDS
            version = self._read_data_version()
            duties = self._scope.duties(version != self._data_version)
            if not duties and not requests:
                self._data_version = version  # the scope has heard of it, and no transaction follows to see it
            requests = requests + [_Request(runner, payload, None) for runner, payload in duties]
        if requests:
            self._transact(requests)

    def _read_data_version(self) -> int:
        """A number that differs from the last one if another connection has committed in between."""
        try:
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error:
            return self._data_version
        return version

    def _transact(self, requests: list[_Request]) -> None:
        try:
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
            if requests[0].future is None:
                log.warning("housekeeping failed: %s", problem, extra={"event": "housekeeping_failed"})
            self._hand_back(requests, [problem] * len(requests))
            return
        self.commits += 1
        self._hand_back(requests, answers, self._scope.committed())

    def _answer(self, requests: list[_Request]) -> list[Any]:
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

    def _work(self, requests: list[_Request]) -> None:
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
