"""The storage accounts of a hub, one or two: opened together, checked before they are used, watched by one eye."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import Final

from durable_ext.aio.clock import SYSTEM_CLOCK, Clock
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.account import Sas
from durable_ext.backends.azure_storage.transport.connection import open_transport
from durable_ext.backends.azure_storage.transport.errors import StorageAccessError, StorageHostUnknownError
from durable_ext.backends.azure_storage.transport.health import StorageHealth
from durable_ext.backends.azure_storage.transport.http import Interceptor
from durable_ext.backends.azure_storage.transport.sas import check_sas_is_enough, check_sas_is_valid
from durable_ext.errors import ConfigurationError

_CLOUDS: Final = (".core.windows.net", ".core.chinacloudapi.cn", ".core.usgovcloudapi.net")


class HubAccounts:
    """Opens transports; no request is made before one is asked for.

    Attributes:
        main: The account of the queues.
        tracking: The account of tables and blobs; the same one unless the settings name another.
        health: Of both.
    """

    def __init__(
        self,
        settings: AzureStorageSettings,
        interceptor: Interceptor | None,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """The services' own clocks are compared with `clock`."""
        self.health = StorageHealth()
        kind = settings.transport.value
        self.main = open_transport(settings.account, kind, interceptor=interceptor, health=self.health, clock=clock)
        other = settings.tracking_account
        self.tracking = (
            self.main
            if other is None
            else open_transport(other, kind, interceptor=interceptor, health=self.health, clock=clock)
        )
        used = (settings.account,) if other is None else (settings.account, other)
        self._signatures = [account.credential for account in used if isinstance(account.credential, Sas)]

    def check(self, now: datetime) -> None:
        """Refuse shared access signatures that no service would take now, with a `ConfigurationError`."""
        for signature in self._signatures:
            check_sas_is_valid(signature, now)

    def check_for_worker(self) -> None:
        """Refuse shared access signatures with which a worker would fail sooner or later, with a `ConfigurationError`."""
        for signature in self._signatures:
            check_sas_is_enough(signature)

    async def reached(self, opening: Awaitable[None]) -> None:
        """Await the first calls; an account of Azure that nobody knows is a mistake, not an outage.

        The name of any other host may appear later, as that of a container with the emulator does. If a SAS is refused,
        what it says about itself tells why.

        Raises:
            ConfigurationError: No such account; what `opening` raises otherwise.
        """
        try:
            await opening
        except StorageAccessError:
            self.check_for_worker()
            raise
        except StorageHostUnknownError as exc:
            if not exc.host.endswith(_CLOUDS):
                raise
            raise ConfigurationError(
                f"The host '{exc.host}' of the storage account is not known. Check AccountName and EndpointSuffix of the "
                f"storage connection (accountName of an identity connection), and this machine's network."
            ) from exc

    async def close(self) -> None:
        """Close all connections."""
        await self.main.close()
        if self.tracking is not self.main:
            await self.tracking.close()
