"""The signals that stop a host, and the terminal that is gone after one of them; knows nothing of what it stops."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Final

_HANGUP: Final[int | None] = getattr(signal, "SIGHUP", None)  # Windows has none
_OUTPUTS: Final = (1, 2)


class StopSignals:
    """Calls `stop` at the first SIGINT, SIGTERM or SIGHUP, and ends the process at once if it `is_stopping` already.

    A terminal that closes sends SIGHUP, mostly more than once, and takes no more output: after a signal SIGHUP changes
    nothing, and what would be printed goes nowhere, so that functions that print can finish. Under `nohup` SIGHUP stays
    ignored.
    """

    def __init__(self, stop: Callable[[], None], is_stopping: Callable[[], bool]) -> None:
        self._stop, self._is_stopping = stop, is_stopping
        self._received_one = False
        self._terminals = [output for output in _OUTPUTS if _is_terminal(output)]

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; `stop` is called on the loop."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if _HANGUP is not None and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
            numbers.append(signal.Signals(_HANGUP))
        for number in numbers:
            try:
                loop.add_signal_handler(number, self._received, number)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda caught, frame: loop.call_soon_threadsafe(self._received, caught))

    def _received(self, number: int) -> None:
        if number == _HANGUP:
            self._leave_lost_terminals()
        if not self._is_stopping():
            self._received_one = True
            self._stop()
        elif number != _HANGUP or not self._received_one:
            os._exit(128 + number)  # a second Ctrl-C: what is not stored yet is done again after the next start

    def _leave_lost_terminals(self) -> None:
        lost = [output for output in self._terminals if not _is_terminal(output)]
        if not lost:
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for output in lost:
            os.dup2(nowhere, output)
        os.close(nowhere)


def _is_terminal(output: int) -> bool:
    try:
        return os.isatty(output)
    except OSError:
        return False
