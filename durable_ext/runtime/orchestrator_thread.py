"""The thread that plays episodes: user code never runs on the event loop; a stuck thread is written off.

One thread takes everything that is ready per wake and hands all results back with one `call_soon_threadsafe`
(design.md 4): a hop of its own for each episode would cost more than the episode. For the same reason what an episode has
to store may go to the store from here: a few checkpoints are written on this thread, more by whoever the store has for it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from durable_ext.errors import EpisodeTimeoutError

log = logging.getLogger("durable_ext.runtime.orchestrator_thread")

T = TypeVar("T")
_HAND_BACK_SECONDS: Final = 0.005  # a slow episode must not hold back the results of those before it
_FEW: Final = 4  # checkpoints that are written here: with more, the next episodes need not wait for the disk

StuckListener = Callable[["asyncio.Future[Any]", Callable[[Exception], None]], None]


class _Work:
    """One call for the thread; the loop owns `future`, the thread sets `outcome` and `error` before it is handed back."""

    __slots__ = ("_fate", "call", "error", "function", "future", "is_noticed", "label", "outcome", "store", "stuck")

    def __init__(
        self,
        call: Callable[[], Any],
        future: asyncio.Future[Any],
        label: str,
        function: Callable[[], str | None],
        store: Callable[[Any, Callable[[], None]], bool] | None,
        stuck: StuckListener | None,
    ) -> None:
        self.call, self.future, self.label, self.function, self.store = call, future, label, function, store
        self.stuck = stuck
        self.is_noticed = False
        self.outcome: Any = None
        self.error: BaseException | None = None
        self._fate = [None]

    def decide(self) -> bool:
        """Whether the caller is the first to decide what becomes of it: it is stored or given up, never both."""
        try:
            self._fate.pop()  # atomic, from both threads
        except IndexError:
            return False
        return True

    def hand_to_store(self) -> bool:
        """Give what the call returned to the store, unless there is nothing to store or it came too late."""
        if self.store is None or self.error is not None or self.future.cancelled() or not self.decide():
            return False
        try:
            return self.store(self.outcome, self.stored)
        except Exception:  # refused: the loop asks again, and gets the error where it can deal with it
            return False

    def give_up(self, error: Exception) -> None:
        """Let the caller have an error instead of what the call may still return; on the loop."""
        if not self.future.done() and self.decide():
            self.future.set_exception(error)

    def stored(self) -> None:
        """The store has answered; on the loop."""
        if not self.future.done():
            self.future.set_result(self.outcome)


class _Player:
    """One thread. `current` and `since` are written by the thread and read by the loop; `retired` the other way."""

    def __init__(self, number: int, deliver: Callable[[deque[_Work]], None], flush: Callable[[bool], None]) -> None:
        self.inbox: SimpleQueue[_Work | None] = SimpleQueue()
        self.current: _Work | None = None
        self.since = 0.0
        self.retired = False
        self.done: deque[_Work] = deque()
        self._deliver = deliver
        self._flush = flush
        self._thread = threading.Thread(target=self._run, name=f"durable-orchestrators-{number}", daemon=True)
        self._thread.start()

    def stack(self) -> str:
        """Return where the thread is now."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return "".join(traceback.format_stack(frame)) if frame is not None else "(the thread has ended)"

    def join(self) -> None:
        """Wait until an unstuck thread has taken its leave."""
        self._thread.join(timeout=1)

    def _run(self) -> None:
        inbox, done, clock = self.inbox, self.done, time.monotonic
        while True:
            work = inbox.get()
            handed_back, to_store = clock(), 0
            while work is not None:
                self.since = now = clock()
                if now - handed_back > _HAND_BACK_SECONDS:
                    self._hand_back(to_store, few=0)
                    handed_back, to_store = now, 0
                self.current = work
                try:
                    work.outcome = work.call()
                except BaseException as error:  # user code may raise anything; the loop decides what it means
                    work.error = error
                self.current = None
                if not self.retired and work.hand_to_store():
                    to_store += 1
                else:
                    done.append(work)
                if self.retired:
                    self._hand_back(to_store, few=0)
                    return
                try:
                    work = inbox.get_nowait()
                except Empty:
                    break
            self._hand_back(to_store, few=_FEW)
            if work is None:
                return

    def _hand_back(self, to_store: int, few: int) -> None:
        self._deliver(self.done)
        if to_store:
            self._flush(to_store <= few)


class OrchestratorThread:
    """Plays episodes off the loop. All methods are called from the event loop.

    Attributes:
        healthy: False once `max_stuck` threads were written off and none of them has come back.
    """

    def __init__(
        self,
        *,
        notice: timedelta = timedelta(seconds=1),
        warning: timedelta = timedelta(seconds=10),
        limit: timedelta | None = None,
        max_stuck: int = 8,
        flush: Callable[[bool], None] | None = None,
    ) -> None:
        self._notice = notice.total_seconds()
        self._warning = warning.total_seconds()
        self._limit = limit
        self._max_stuck = max_stuck
        self._flush = flush or _nothing_to_flush
        self._loop = asyncio.get_running_loop()
        self._stuck: list[_Player] = []
        self._started = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._player = self._new_player()

    @property
    def healthy(self) -> bool:
        """Whether episodes can be played."""
        return self._player is not None and not self._player.retired

    @property
    def stuck(self) -> int:
        """How many threads are written off and still blocked."""
        return len(self._stuck)

    def play(
        self,
        call: Callable[[], T],
        label: str,
        function: Callable[[], str | None] = lambda: None,
        store: Callable[[T, Callable[[], None]], bool] | None = None,
        stuck: StuckListener | None = None,
    ) -> asyncio.Future[T]:
        """Run `call` on the thread.

        Args:
            call: Runs to its end even if the future is cancelled. Enters the instance's own context by itself.
            label: Names the instance in warnings.
            function: Names what runs, once somebody asks.
            store: Called on the thread with the result, unless that came too late. If it returns true, the result is
                handed back when it calls the second argument, on the event loop; `flush` follows at once, with true if
                the thread has time to write.
            stuck: Called on the event loop with the future, and with what ends it by an error, if the thread is written off
                because of this call.

        Returns:
            A future of its result. `EpisodeTimeoutError` if it is still running after the limit, and at once if a call
            with this label was given up that way and blocks its thread to this moment.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._stuck and self._limit is not None and self._is_blocked_by(label):
            # Its code would block one thread after the other. Once the blocked one comes back, it may try again.
            future.set_exception(EpisodeTimeoutError(label, self._limit))
            return future
        self._player.inbox.put(_Work(call, future, label, function, store, stuck))
        if self._timer is None:
            self._timer = self._loop.call_later(self._check_interval(), self._check)
        return future

    def close(self) -> None:
        """Let the thread end after what it has; stuck ones are left behind."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._player.retired:
            self._player.inbox.put(None)
            if self._player.current is None:
                self._player.join()

    def _is_blocked_by(self, label: str) -> bool:
        blocking = (player.current for player in self._stuck)
        return any(work is not None and work.label == label and work.future.done() for work in blocking)

    def _new_player(self) -> _Player:
        self._started += 1
        return _Player(self._started, self._deliver_from_thread, self._flush)

    def _check_interval(self) -> float:
        limit = self._limit.total_seconds() if self._limit is not None else self._warning
        return min(self._notice, self._warning, limit) / 4

    def _deliver_from_thread(self, done: deque[_Work]) -> None:
        if done:
            try:
                self._loop.call_soon_threadsafe(self._deliver, done)
            except RuntimeError:  # the loop is closed: nobody waits any more
                done.clear()

    def _deliver(self, done: deque[_Work]) -> None:
        while done:
            work = done.popleft()
            future = work.future
            if future.done():
                continue  # cancelled, or given up at the limit: a late result is dropped
            if work.error is None:
                future.set_result(work.outcome)
            elif isinstance(work.error, Exception) and not isinstance(work.error, StopIteration):
                future.set_exception(work.error)
            else:
                future.set_exception(_as_error(work))

    def _check(self) -> None:
        """Look for stuck episodes; runs again as long as something is being played."""
        self._timer = None
        now = time.monotonic()
        self._deliver(self._player.done)
        self._flush(False)
        for player in list(self._stuck):
            self._check_stuck(player, now)
        player = self._player
        work, since = player.current, player.since
        if work is not None and not player.retired and now - since >= self._check_warning():
            self._write_off(player, work, now - since)
            self._check_stuck(player, now)
        elif work is not None and not work.is_noticed and now - since >= self._notice:
            work.is_noticed = True
            self._log_slow(work, now - since)
        if not self._closed and (work is not None or self._stuck or not player.inbox.empty()):
            self._timer = self._loop.call_later(self._check_interval(), self._check)

    def _check_warning(self) -> float:
        return self._warning if self._limit is None else min(self._warning, self._limit.total_seconds())

    def _check_stuck(self, player: _Player, now: float) -> None:
        work = player.current
        if work is None:
            self._stuck.remove(player)
            self._deliver(player.done)
            if self._player is player:  # the last one: it was kept when there was no other left
                self._player = self._new_player()
                self._move_inbox(player, self._player)
                log.warning("orchestrator threads are available again", extra={"event": "orchestrator_threads_back"})
        elif self._limit is not None and now - player.since >= self._limit.total_seconds():
            work.give_up(EpisodeTimeoutError(work.label, self._limit))

    @staticmethod
    def _log_slow(work: _Work, seconds: float) -> None:
        function = work.function()
        log.warning(
            "%s: %s has blocked its thread for %.1f s, and other instances wait for it. Either it reads or writes large "
            "inputs and results (keep them elsewhere and pass references), or its code waits or computes by itself (use "
            "create_timer, or an activity).",
            work.label,
            f"orchestrator '{function}'" if function else "an orchestrator",
            seconds,
            extra={"event": "episode_slow", "instance_id": work.label, "function": function, "seconds": round(seconds, 1)},
        )

    def _write_off(self, player: _Player, work: _Work, seconds: float) -> None:
        log.warning(
            "an episode of '%s' has blocked its thread for %.1f s; the thread is written off and replaced. A thread cannot "
            "be stopped: it may keep using a core until its code returns or the host is restarted. It is here:\n%s",
            work.label,
            seconds,
            player.stack(),
            extra={"event": "episode_stuck", "instance_id": work.label, "seconds": round(seconds, 1)},
        )
        player.retired = True
        self._stuck.append(player)
        if work.stuck is not None and not work.future.done():
            work.stuck(work.future, work.give_up)
        if len(self._stuck) >= self._max_stuck:
            log.error(
                "all orchestrator threads are stuck; no orchestrations are taken until one comes back",
                extra={"event": "orchestrator_threads_exhausted", "stuck": len(self._stuck)},
            )
            return
        self._player = self._new_player()
        self._move_inbox(player, self._player)

    @staticmethod
    def _move_inbox(source: _Player, target: _Player) -> None:
        while True:
            try:
                target.inbox.put(source.inbox.get_nowait())
            except Empty:
                return


def _nothing_to_flush(here: bool) -> None:
    """Nothing is stored from the thread."""


def _as_error(work: _Work) -> RuntimeError:
    # SystemExit and friends must not stop the loop, and a future refuses StopIteration
    error = RuntimeError(f"An episode of '{work.label}' raised {type(work.error).__name__}.")
    error.__cause__ = work.error
    return error
