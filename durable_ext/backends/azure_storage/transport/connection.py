"""Opens a transport: the three sets of verbs of one account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from durable_ext.aio.clock import SYSTEM_CLOCK, Clock
from durable_ext.backends.azure_storage.transport.account import Sas, SharedKey, StorageAccount
from durable_ext.backends.azure_storage.transport.auth import BearerSigner, SasSigner, SharedKeySigner, Signer
from durable_ext.backends.azure_storage.transport.blob import BlobVerbs, LeanBlobs
from durable_ext.backends.azure_storage.transport.health import StorageHealth
from durable_ext.backends.azure_storage.transport.http import Interceptor, StorageHttp
from durable_ext.backends.azure_storage.transport.queue import LeanQueues, QueueVerbs
from durable_ext.backends.azure_storage.transport.server_clock import ServerClock
from durable_ext.backends.azure_storage.transport.table import LeanTables, TableVerbs


class Closeable(Protocol):
    """Something that holds connections."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageTransport:
    """Verbs per service. `tracking` accounts get a transport of their own."""

    queues: QueueVerbs
    tables: TableVerbs
    blobs: BlobVerbs
    account: StorageAccount
    closeable: tuple[Closeable, ...]
    server_clock: ServerClock
    http: StorageHttp | None = None

    def server_offset(self) -> timedelta:
        """How far the service's clock is ahead of ours; zero before its first answer."""
        return self.server_clock.offset()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        for one in self.closeable:
            await one.close()


def open_lean_transport(
    account: StorageAccount,
    *,
    interceptor: Interceptor | None = None,
    health: StorageHealth | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> StorageTransport:
    """Return the transport straight on HTTP. No request is made yet. `health` is told of outages."""
    credential = account.credential
    closeable: list[Closeable] = []
    signer: Signer
    if isinstance(credential, SharedKey):
        signer = SharedKeySigner(credential)
    elif isinstance(credential, Sas):
        signer = SasSigner(credential)
    else:
        from durable_ext.backends.azure_storage.transport.identity import IdentityTokens

        tokens = IdentityTokens(credential, clock=clock)
        closeable.append(tokens)
        signer = BearerSigner(tokens)
    http = StorageHttp(account, signer, interceptor=interceptor, health=health, clock=clock)
    return StorageTransport(
        queues=LeanQueues(http),
        tables=LeanTables(http, ascii_only=account.is_emulator),
        blobs=LeanBlobs(http),
        account=account,
        closeable=(http, *closeable),
        server_clock=http.server_clock,
        http=http,
    )


def open_transport(
    account: StorageAccount,
    kind: str,
    *,
    interceptor: Interceptor | None = None,
    health: StorageHealth | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> StorageTransport:
    """Return the transport of a kind (`lean` or `sdk`). No request is made yet. `health` is told of outages.

    The service's clock is compared with `clock`, tokens are renewed and requests tried again by it.
    """
    if kind == "sdk":
        from durable_ext.backends.azure_storage.transport.sdk import open_sdk_transport

        return open_sdk_transport(account, interceptor=interceptor, health=health, clock=clock)
    return open_lean_transport(account, interceptor=interceptor, health=health, clock=clock)
