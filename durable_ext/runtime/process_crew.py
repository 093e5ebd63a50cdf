"""Processes for activities that need the CPU: one call at a time in each, so that a call that dies takes only itself along.

What a call returns or raises travels as bytes: an object that cannot be rebuilt here is that call's failure alone.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Final

from durable_ext.aio.slots import Slots
from durable_ext.failure import exception_text

_KILL: Final = getattr(signal, "SIGKILL", signal.SIGTERM)
# A terminal sends them to every process that was started from it, and who stops a service to every process of that.
_TO_ALL: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGHUP", "SIGTERM") if hasattr(signal, name))
_CAN_HOLD_BACK: Final = hasattr(signal, "pthread_sigmask")


class ProcessDiedError(RuntimeError):
    """The process of a call ended before the call did."""


class RemoteTraceback(Exception):
    """Where in its process a call failed; the `__cause__` of what it raised."""


class ProcessCall:
    """One call that waits for a process or runs in one. Used from the event loop only."""

    __slots__ = ("_pid",)

    def __init__(self) -> None:
        self._pid: int | None = None

    def kill(self) -> None:
        """End the process if the call has one; `run` raises `ProcessDiedError`."""
        if self._pid is not None:
            _kill(self._pid)


class ProcessCrew:
    """Runs calls in at most `limit` processes, which are started when needed and kept. Used from the event loop only."""

    def __init__(self, limit: int) -> None:
        self._slots = Slots(limit)
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()

    async def run(self, call: Callable[[Any], Any], value: Any, handle: ProcessCall, started: Callable[[], object]) -> Any:
        """Return what `call(value)` returns in a process of its own.

        Args:
            handle: Ends the process from outside.
            started: Called when a process is there and the call begins: waiting in line is not its time.

        Raises:
            ProcessDiedError: The process was killed or left by itself.
            ImportError: The process cannot import the function, or a class of its argument.
            Exception: Whatever the call raised.
        """
        await self._slots.take()
        process: _Process | None = None
        try:
            process = await self._take()
            handle._pid = process.pid
            started()
            succeeded, outcome = pickle.loads(await process.submit(_call, pickle.dumps((call, value))))
        except BrokenProcessPool as error:
            raise ProcessDiedError("The process ended before its call did.") from error
        except asyncio.CancelledError:
            handle.kill()  # nobody wants the result any more
            raise
        finally:
            handle._pid = None
            if process is not None:
                self._put_back(process)
            self._slots.give_back()
        if succeeded:
            return outcome
        raised, trace = outcome
        raised.__cause__ = RemoteTraceback(trace)
        raise raised

    def close(self) -> None:
        """End all processes at once."""
        for process in (*self._idle, *self._busy):
            process.end()
        self._idle.clear()

    async def _take(self) -> _Process:
        while self._idle:
            process = self._idle.pop()
            if process.is_usable:
                self._busy.add(process)
                return process
            process.end()
        process = _Process()
        self._busy.add(process)
        try:
            await process.start()
        except BaseException:
            self._busy.discard(process)
            process.end()
            raise
        return process

    def _put_back(self, process: _Process) -> None:
        self._busy.discard(process)
        if process.is_usable and not process.is_working:
            self._idle.append(process)
        else:
            process.end()


class _Process:
    """A pool of one."""

    def __init__(self) -> None:
        # spawn: forking a process with threads may copy held locks
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_follow_the_worker)
        self._loop = asyncio.get_running_loop()
        self._last: asyncio.Future[Any] | None = None
        self.pid = 0

    async def start(self) -> None:
        with _held_back():
            process_id = self.submit(os.getpid)  # the first call starts the process
        self.pid = await process_id

    def submit(self, call: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        self._last = self._loop.run_in_executor(self._pool, call, *arguments)
        return self._last

    @property
    def is_working(self) -> bool:
        """Whether the last call was left before its end."""
        return self._last is None or not self._last.done() or self._last.cancelled()

    @property
    def is_broken(self) -> bool:
        """Whether the pool has given up its process: calls do not fail in another way."""
        last = self._last
        return last is not None and last.done() and not last.cancelled() and last.exception() is not None

    @property
    def is_usable(self) -> bool:
        """Whether the process is there, as far as one can see without calling it."""
        if self.is_broken:
            return False
        try:
            os.kill(self.pid, 0) if os.name == "posix" else None
        except OSError:
            return False
        return True

    def end(self) -> None:
        if self.is_working and self.pid:
            _kill(self.pid)
        elif self.is_broken:  # it may be there still: the pool waits for its end, and asks for that by SIGTERM
            for child in multiprocessing.active_children():
                if child.pid == self.pid:
                    child.kill()
        self._pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _held_back() -> Iterator[None]:
    """Start processes inside: what is sent to all of them waits until they have handlers, since they inherit the mask."""
    if not _CAN_HOLD_BACK:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TO_ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow_the_worker() -> None:
    """Leave it to the worker what becomes of Ctrl-C, a closing terminal and SIGTERM, and end with it whatever ends it.

    The worker lets calls finish. Programs and processes that a call runs end by SIGTERM, as ever: calls end them by it.
    """
    for number in _TO_ALL:
        signal.signal(number, _leave_to_the_worker)
    if _CAN_HOLD_BACK:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_ALL)
        _let_forks_be_terminated()
    threading.Thread(target=_end_with_the_worker, name="durable-worker-watch", daemon=True).start()


def _leave_to_the_worker(number: int, frame: object) -> None:
    """Do nothing; unlike `SIG_IGN` that ends where a program is run."""


def _let_forks_be_terminated() -> None:
    """Give processes that a call forks the usual SIGTERM; one that comes before they have it waits."""
    mask = threading.local()

    def hold_back() -> None:
        mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    def go_on() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask.before)

    def go_on_forked() -> None:
        if signal.getsignal(signal.SIGTERM) is _leave_to_the_worker:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        go_on()

    os.register_at_fork(before=hold_back, after_in_parent=go_on, after_in_child=go_on_forked)


def _end_with_the_worker() -> None:
    """Wait for the end of a worker that could say nothing: nobody would hear the call's result, or give another one."""
    worker = multiprocessing.parent_process()
    if worker is not None:
        worker.join()
        os._exit(1)


def _call(pickled: bytes) -> bytes:
    """Run `(call, value)` in the process; return `(True, result)` or `(False, (error, traceback))`, pickled."""
    try:
        call, value = _unpickle(pickled)
        return pickle.dumps((True, call(value)))
    except BaseException as error:  # user code may raise anything; it belongs to the caller
        trace = traceback.format_exc()
        try:
            portable = pickle.dumps((False, (error, trace)))
            pickle.loads(portable)
        except Exception:  # its class cannot be rebuilt from its arguments, or lives where only this process sees it
            text = f"{type(error).__name__}: {exception_text(error)}"
            portable = pickle.dumps((False, (RuntimeError(text), trace)))
        return portable


def _unpickle(pickled: bytes) -> Any:
    """Undo the caller's pickling here and not in the pool, which would end the process without a word."""
    try:
        return pickle.loads(pickled)
    except Exception as error:  # user modules are imported, and may raise anything
        text = (
            f"The process of this call cannot import what it needs: {type(error).__name__}: {exception_text(error)}. "
            f"The function must be in a module that a new Python process can import by the same name."
        )
        if isinstance(error, ModuleNotFoundError):
            raise ModuleNotFoundError(text, name=error.name) from error
        raise ImportError(text) from error


def _kill(pid: int) -> None:
    try:
        os.kill(pid, _KILL)
    except OSError:
        pass  # it has ended by itself
