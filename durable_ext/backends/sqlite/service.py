"""The embedded task hub: puts the parts of this package together and decides nothing itself."""

from __future__ import annotations

from durable_ext.aio.clock import Clock, SystemClock
from durable_ext.backends.protocol import ActivityStore, BackendTraits, InstanceStore, OrchestrationStore, TaskHub
from durable_ext.backends.sqlite.settings import SqliteSettings

TRAITS = BackendTraits(
    kind="embedded",
    max_timer=None,
    long_timer_step=None,
    max_events_per_write=None,
    stores_start_before_local_activity=False,
    keeps_trigger=False,
    delivers_in_order=True,
)


class SqliteBackend:
    """One task hub in one file; see `backends.protocol.Backend` for the order of calls."""

    def __init__(self, settings: SqliteSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()

    @property
    def traits(self) -> BackendTraits:
        return TRAITS

    @property
    def task_hub(self) -> str:
        return self._settings.task_hub

    @property
    def orchestrations(self) -> OrchestrationStore:
        raise NotImplementedError

    @property
    def activities(self) -> ActivityStore:
        raise NotImplementedError

    @property
    def instances(self) -> InstanceStore:
        raise NotImplementedError

    @property
    def hub(self) -> TaskHub:
        raise NotImplementedError

    async def open(self) -> None:
        raise NotImplementedError

    async def start_worker(self) -> None:
        raise NotImplementedError

    async def drain(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
