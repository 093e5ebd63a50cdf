"""Services that have asked not to be called for a while (`Retry-After`): every call leaves them alone, not only one."""

from __future__ import annotations

from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.azure_storage.transport.account import Service
from durable_ext.backends.azure_storage.transport.errors import StorageUnavailableError
from durable_ext.backends.azure_storage.transport.health import StorageHealth
from durable_ext.backends.azure_storage.transport.retry import RetryPolicy

_LONGEST_QUIET: Final = 600.0


class Throttling:
    """Of one account. Used from one event loop."""

    def __init__(self, health: StorageHealth, clock: Clock) -> None:
        self._health, self._clock = health, clock
        self._quiet_until: dict[Service, float] = {}

    @property
    def is_on(self) -> bool:
        """Whether anybody asked lately."""
        return bool(self._quiet_until)

    def asked(self, service: Service, retry_after: float | None) -> None:
        """A service asked for a pause of so many seconds; `None` or 0 = it did not."""
        if retry_after:
            self._quiet_until[service] = self._clock.monotonic() + min(retry_after, _LONGEST_QUIET)

    async def wait(self, call: str, service: Service, retry: RetryPolicy) -> None:
        """Wait until a service that throttles may be called again; give up if that is long.

        Raises:
            StorageUnavailableError: It asked for more time than a call may wait.
        """
        left = self._quiet_until.get(service, 0.0) - self._clock.monotonic()
        if left > retry.longest.total_seconds():
            failure = StorageUnavailableError(call=call, why=f"the service asked not to be called for another {left:.0f} s")
            failure.is_told = self._health.failed(service.value, failure)
            raise failure
        if left > 0:
            await self._clock.sleep(left)
        elif service in self._quiet_until:
            del self._quiet_until[service]
