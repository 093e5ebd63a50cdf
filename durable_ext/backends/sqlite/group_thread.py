"""A thread that takes all ready requests at once, and hands the answers of a whole group back in one go.

Requests come from the event loop, or from another thread that has put them together; answers go to the event loop with one
`call_soon_threadsafe` (design.md 4: a hop per request would cost more than the request).
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from durable_ext.errors import BackendUnavailableError

Runner = Callable[[Any, list[Any]], Sequence[Any]]
"""Gets a connection and the payloads of all ready requests of its kind; returns as many answers."""

log = logging.getLogger("durable_ext.sqlite")
POLL_SECONDS: Final = 0.02
"""How often an idle thread looks for commits of other processes (design.md 3)."""
_MAX_GROUP: Final = 512


class Waiter(Protocol):
    """Who gets the answer of a request, on the event loop; an `asyncio.Future` is one."""

    def done(self) -> bool: ...
    def set_result(self, result: Any, /) -> None: ...
    def set_exception(self, error: BaseException, /) -> None: ...


class Request(NamedTuple):
    runner: Runner
    payload: Any
    waiter: Waiter | None


class GroupThread:
    """A daemon thread with one connection; `_work` is called with every request that is ready, or none after 20 ms.

    `_turn` is held by whoever uses the connection.
    """

    def __init__(self, name: str, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.path = path
        self._loop = loop
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._turn = threading.Lock()
        self._gate = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._stopping = False
        self._closed = False

    def start(self) -> None:
        self._thread.start()

    def submit(self, runner: Runner, payload: Any) -> asyncio.Future[Any]:
        """Queue a request; all queued requests of one runner are given to it as one list, which it answers with one list.

        Called on the event loop. An answer that is an exception becomes the exception of its request's future.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self._enqueue((Request(runner, payload, future),)):
            future.set_exception(self._closed_error())
        return future

    def refuse(self) -> None:
        """Take no more requests: what comes from now on is answered with an error."""
        with self._gate:
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

    def _enqueue(self, requests: Sequence[Request]) -> bool:
        """Queue requests, from any thread; false if none are taken any more."""
        with self._gate:  # so that nothing can come after the end of the queue
            if self._closed:
                return False
            for request in requests:
                self._requests.put(request)
            return True

    def _closed_error(self) -> BackendUnavailableError:
        return BackendUnavailableError(f"The task hub file '{self.path}' is closed. Open the backend first.")

    def _run(self) -> None:
        open_ended = True
        while open_ended and not self._stopping:
            requests: list[Request] = []
            try:
                request = self._requests.get(timeout=POLL_SECONDS)
            except queue.Empty:
                pass
            else:
                open_ended = request is not None
                if request is not None:
                    requests.append(request)
            with self._turn:
                while requests and open_ended and len(requests) < _MAX_GROUP:
                    try:
                        request = self._requests.get_nowait()
                    except queue.Empty:
                        break
                    if request is None:
                        open_ended = False
                    else:
                        requests.append(request)
                if not self._stopping:
                    self._work(requests)
        with self._turn:
            self._end()

    def _work(self, requests: list[Request]) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError

    def _hand_back(
        self, requests: Sequence[Request], answers: Sequence[Any], before: Callable[[], None] | None = None
    ) -> None:
        try:
            self._loop.call_soon_threadsafe(_resolve, requests, answers, before)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.debug("results dropped: the event loop is closed", extra={"event": "results_dropped"})


def by_runner(requests: Sequence[Request]) -> list[tuple[Runner, list[Request]]]:
    """Group requests by runner, in the order in which runners first appear."""
    groups: dict[Runner, list[Request]] = {}
    for request in requests:
        groups.setdefault(request.runner, []).append(request)
    return list(groups.items())


def _resolve(requests: Sequence[Request], answers: Sequence[Any], before: Callable[[], None] | None) -> None:
    if before is not None:
        before()
    for request, answer in zip(requests, answers, strict=True):
        waiter = request.waiter
        if waiter is None or waiter.done():
            continue
        if isinstance(answer, BaseException):
            waiter.set_exception(answer)
        else:
            waiter.set_result(answer)
