"""Whether an account answers: an outage is one line in the log when it begins and one when it is over.

Everybody else who meets an outage says so on level INFO only: with a hundred instances under way each of them does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from durable_ext.backends.azure_storage.transport.errors import StorageAccessError, StorageUnavailableError
from durable_ext.errors import BackendError

_CALM_SECONDS: Final = 5.0  # a service that throttles answers some requests
_SILENT_SECONDS: Final = 60.0  # nobody calls a service that has failed and neither fails nor answers for so long
_SILENT_VERB_SECONDS: Final = 180.0  # one verb is called more seldom, and fails again while the others answer
_UNDER_WAY_SECONDS: Final = 1.0  # calls that the service did before it broke, but not before the failing one began
_READS: Final = frozenset(
    {"queue.get", "queue.exists", "table.get", "table.query", "table.exists", "blob.get", "blob.list", "blob.properties"}
    | {"blob.container_exists"}
)
_log = logging.getLogger("durable_ext.backends.azure_storage")


class StorageHealth:
    """Is told of answers and of failures. One for all services of a hub; used from one event loop.

    What fails is a service, e.g. `queue`, if it cannot be reached, and a verb, e.g. `queue.put`, if only that may fail: a
    service whose disk is full does not write, and reads well.

    Attributes:
        missed: How often a queue or table was not there.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.missed = 0
        self._watched = self._reads_were_said_to_work = False
        self._began = 0.0
        self._failed_at: dict[str, float] = {}
        self._answered_at: dict[str, float] = {}
        self._told: set[type[BaseException]] = set()

    @property
    def is_down(self) -> bool:
        """Whether something fails."""
        return bool(self._failed_at)

    def now(self) -> float:
        """Return the second in which a call begins, for `failed`."""
        return self._clock()

    def watch(self) -> None:
        """Speak from now on: whoever opened the hub has told what went wrong before."""
        self._watched = True

    def failed(self, what: str, error: BaseException, *, since: float | None = None) -> bool:
        """A service or a verb failed, after all retries or for very long; whether the log says so.

        `since` = when the call began: what has answered after that works.
        """
        if not self._watched:
            return False
        now = self._clock()
        self._forget_silent(what, now)
        if not self._failed_at:
            self._began = now
            self._told.clear()
            self._reads_were_said_to_work = False
        self._failed_at[what] = now
        # First nobody listened, now the key is refused, or first only writes failed: another thing to know.
        if error.__class__ not in self._told or (self._reads_were_said_to_work and what in _READS):
            self._told.add(error.__class__)
            _log.warning(
                "%s %sWhat was under way is tried again until it answers; nothing is lost.",
                error,
                self._what_works(since),
                extra={"event": "storage_down", "service": what.partition(".")[0]},
            )
        return True

    def refused(self, verb: str, error: StorageAccessError, *, since: float | None = None) -> BackendError:
        """Return what refused access means: while a hub is open an outage, so that work waits for it and is not lost.

        A key, a role or a signature is gone since then. Before, it is what it says.
        """
        if not self.failed(verb, error, since=since):
            return error
        waiting = StorageUnavailableError(call=error.call, why=f"access is refused, {error.status} {error.code}")
        waiting.is_told, waiting.__cause__ = True, error
        return waiting

    def answered(self, verb: str) -> None:
        """A service did what a verb asks for, or refused it for a reason of its own.

        The outage is over when all that failed works again, for some seconds, but what nobody has called for minutes.
        """
        now = self._answered_at[verb] = self._clock()
        if not self._failed_at:
            return
        for what in (verb, verb.partition(".")[0]):
            failed = self._failed_at.get(what)
            if failed is not None and now - failed >= _CALM_SECONDS:
                del self._failed_at[what]
        if not self._failed_at:
            _log.warning("Azure Storage answers again, after %.0f s.", now - self._began, extra={"event": "storage_up"})
            return
        silent = self._forget_silent(verb, now)
        if not self._failed_at:
            _log.warning(
                "Azure Storage answers again, as far as is known: other calls succeed, and nobody has called %s since "
                "it failed %.0f s ago.",
                ", ".join(sorted(silent)),
                now - max(silent.values()),
                extra={"event": "storage_up"},
            )

    def _forget_silent(self, heard_of: str, now: float) -> dict[str, float]:
        """Leave out what failed and nobody calls: its answers never come, and would hide the next outage.

        Returns what that was, and when it failed.
        """
        silent = {
            what: at
            for what, at in self._failed_at.items()
            if what != heard_of and now - at > (_SILENT_VERB_SECONDS if "." in what else _SILENT_SECONDS)
        }
        for what in silent:
            del self._failed_at[what]
        return silent

    def _what_works(self, since: float | None) -> str:
        self._reads_were_said_to_work = False
        if since is None:
            return ""
        after = since + _UNDER_WAY_SECONDS
        works = sorted(verb for verb, at in self._answered_at.items() if at > after and verb not in self._failed_at)
        if not works:
            return ""
        self._reads_were_said_to_work = _READS.issuperset(works) and _READS.isdisjoint(self._failed_at)
        names = ", ".join(works)
        return (
            f"Writes fail while reads work ({names}). " if self._reads_were_said_to_work else f"Other calls work ({names}). "
        )
