"""A worker of the model that runs beside others on a hub in an account: a thread with a lease loop of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from support.provider_model.dotnet import SECOND
from support.provider_model.leases import PartitionLeases
from support.provider_model.live_storage import LiveStorage
from support.provider_model.worker import VISIBILITY, App, ProviderWorker

_EMPTY_POLL_SECONDS = 0.05
_LEASE_SECONDS = 30.0
_ACQUIRE_SECONDS = 0.3
_TAKEN_AT_ONCE = 8  # nothing is renewed here: what is taken is soon done with
_STOP_SECONDS = 30.0


class RunningProvider:
    """One worker, from `start` to `stop`.

    Attributes:
        storage, worker, leases: What it runs; for other threads to read.
        asleep: It has come to where it sleeps (`sleep_before`).
    """

    def __init__(
        self,
        connection_string: str,
        hub: str,
        app: App,
        worker_id: str,
        *,
        lock_seconds: int | None = None,
    ) -> None:
        """With `lock_seconds` leases and taken messages are free after so long, else after what is usual."""
        self.storage = LiveStorage(connection_string, hub, self._before)
        self.worker = ProviderWorker(
            self.storage, hub, app, partitions=(), visibility=lock_seconds or VISIBILITY, get_at_most=_TAKEN_AT_ONCE
        )
        self.leases = PartitionLeases(
            self.storage, worker_id, lease_seconds=lock_seconds or 30, acquire_seconds=_ACQUIRE_SECONDS
        )
        self.worker.queues = self.leases.listening
        self.asleep = threading.Event()
        self._awake = threading.Event()
        self._awake.set()
        self._sleeps_before: Callable[[str, str], bool] | None = None
        self._thread = threading.Thread(target=self._run, name=worker_id, daemon=True)
        self._failure: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Give up all partitions and end; raises what ended it before.

        Raises:
            TimeoutError: It does not end.
        """
        self.wake()
        self.leases.stopping = True
        self._thread.join(_STOP_SECONDS)
        if self._thread.is_alive():
            raise TimeoutError("the model does not stop")
        if self._failure is not None:
            raise self._failure

    def sleep_before(self, call: Callable[[str, str], bool]) -> None:
        """Sleep before the first call of which this is true (verb, queue or table), until `wake`."""
        self.asleep.clear()
        self._sleeps_before = call

    def wake(self) -> None:
        self._sleeps_before = None
        self._awake.set()

    def _before(self, verb: str, resource: str) -> None:
        if self._sleeps_before is not None and self._sleeps_before(verb, resource):
            self._sleeps_before = None
            self._awake.clear()
            self.asleep.set()
            self._awake.wait()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as failure:  # told in `stop`
            self._failure = failure
        finally:
            self.storage.close()

    def _work(self) -> None:
        """Work before looking at leases: one that slept does not know at once that it has lost them."""
        next_round = 0
        while not (self.leases.stopping and self.leases.has_left):
            found = self.worker.step()
            now = self.storage.now()
            if now >= next_round or self.leases.stopping:
                next_round = now + self.leases.iterate()
            elif not found:
                time.sleep(min(_EMPTY_POLL_SECONDS, (next_round - now) / SECOND))
