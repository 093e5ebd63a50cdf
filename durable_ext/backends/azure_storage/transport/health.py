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
_log = logging.getLogger("durable_ext.backends.azure_storage")


class StorageHealth:
    """Is told of answers and of failures. One for all services of a hub; used from one event loop.

    Attributes:
        missed: How often a queue or table was not there.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.missed = 0
        self._watched = False
        self._began = 0.0
        self._failed_at: dict[str, float] = {}
        self._told: set[type[BaseException]] = set()

    @property
    def is_down(self) -> bool:
        """Whether a service does not answer; while it does, nobody needs to tell of answers."""
        return bool(self._failed_at)

    def watch(self) -> None:
        """Speak from now on: whoever opened the hub has told what went wrong before."""
        self._watched = True

    def failed(self, service: str, error: BaseException) -> bool:
        """A service did not answer, or refused for its load, after all retries or for very long; whether the log says so."""
        if not self._watched:
            return False
        now = self._clock()
        self._forget_silent(service, now)
        if not self._failed_at:
            self._began = now
            self._told.clear()
        if error.__class__ not in self._told:  # first nobody listened, now the key is refused: another thing to do
            self._told.add(error.__class__)
            _log.warning(
                "%s What was under way is tried again until it answers; nothing is lost.",
                error,
                extra={"event": "storage_down", "service": service},
            )
        self._failed_at[service] = now
        return True

    def refused(self, service: str, error: StorageAccessError) -> BackendError:
        """Return what refused access means: while a hub is open an outage, so that work waits for it and is not lost.

        A key, a role or a signature is gone since then. Before, it is what it says.
        """
        if not self.failed(service, error):
            return error
        waiting = StorageUnavailableError(call=error.call, why=f"access is refused, {error.status} {error.code}")
        waiting.is_told, waiting.__cause__ = True, error
        return waiting

    def answered(self, service: str) -> None:
        """A service answered, be it with a refusal.

        The outage is over when all do again, for some seconds, but those that nobody has called for a minute.
        """
        if not self._failed_at:
            return
        now = self._clock()
        failed = self._failed_at.get(service)
        if failed is not None and now - failed >= _CALM_SECONDS:
            del self._failed_at[service]
        self._forget_silent(service, now)
        if not self._failed_at:
            seconds = now - self._began
            _log.warning("Azure Storage answers again, after %.0f s.", seconds, extra={"event": "storage_up"})

    def _forget_silent(self, heard_of: str, now: float) -> None:
        """Leave out the other services that nobody calls: their answers never come, and would hide the next outage."""
        silent = [name for name, at in self._failed_at.items() if name != heard_of and now - at > _SILENT_SECONDS]
        for name in silent:
            del self._failed_at[name]
