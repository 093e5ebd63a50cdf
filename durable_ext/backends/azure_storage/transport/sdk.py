"""The same verbs on the Azure SDK packages: slower, but with everything the SDKs know (proxies, every credential).

Imported only when host.json asks for it (`storageProvider.transport`).
"""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any, Final

from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.data.tables.aio import TableServiceClient
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from durable_ext.aio.clock import SYSTEM_CLOCK, Clock
from durable_ext.backends.azure_storage.transport.account import Sas, Service, SharedKey, StorageAccount
from durable_ext.backends.azure_storage.transport.aiohttp_wire import AiohttpWire
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.transport.health import StorageHealth
from durable_ext.backends.azure_storage.transport.http import Interceptor
from durable_ext.backends.azure_storage.transport.identity import credential_of
from durable_ext.backends.azure_storage.transport.retry import DEFAULT_RETRY, RetryPolicy
from durable_ext.backends.azure_storage.transport.sdk_answers import SdkAnswers
from durable_ext.backends.azure_storage.transport.sdk_blob import SdkBlobs
from durable_ext.backends.azure_storage.transport.sdk_http import KeepAliveSdkTransport
from durable_ext.backends.azure_storage.transport.sdk_queue import SdkQueues
from durable_ext.backends.azure_storage.transport.sdk_table import SdkTables
from durable_ext.backends.azure_storage.transport.server_clock import ServerClock
from durable_ext.backends.azure_storage.transport.wire import open_wire

_TIMEOUT: Final = timedelta(seconds=30)
_MAX_CONNECTIONS: Final = 100


def _options(endpoint: str) -> dict[str, Any]:
    """Give a client our HTTP client, unless only aiohttp will do."""
    wire = open_wire(frozenset({endpoint}), timeout=_TIMEOUT, max_connections=_MAX_CONNECTIONS)
    return {} if isinstance(wire, AiohttpWire) else {"transport": KeepAliveSdkTransport(wire)}


def open_sdk_transport(
    account: StorageAccount,
    *,
    interceptor: Interceptor | None = None,
    health: StorageHealth | None = None,
    retry: RetryPolicy = DEFAULT_RETRY,
    clock: Clock = SYSTEM_CLOCK,
) -> StorageTransport:
    """Return the transport on the SDK packages. No request is made yet. `health` is told of outages."""
    health = health or StorageHealth()
    server_clock = ServerClock(clock)
    common: dict[str, Any] = {
        "raw_response_hook": lambda response: server_clock.heard(response.http_response.headers.get("date")),
        # Ours are in `SdkAnswers`; those of the packages would hide that a put went out twice, and an outage for minutes.
        "retry_total": 0,
    }

    def answers(service: Service) -> SdkAnswers:
        return SdkAnswers(service, account, health, retry=retry, interceptor=interceptor, clock=clock)

    credential = account.credential
    closeable: list[Any] = []
    if isinstance(credential, SharedKey):
        key = base64.b64encode(credential.key).decode()
        table_credential: Any = AzureNamedKeyCredential(credential.account, key)
        other: Any = {"account_name": credential.account, "account_key": key}
    elif isinstance(credential, Sas):
        table_credential = other = AzureSasCredential(credential.token)
    else:
        table_credential = other = credential_of(credential)
        closeable.append(other)
    queues = QueueServiceClient(account.queue_endpoint, credential=other, **_options(account.queue_endpoint), **common)
    tables = TableServiceClient(
        account.table_endpoint, credential=table_credential, **_options(account.table_endpoint), **common
    )
    seconds = _TIMEOUT.total_seconds()
    blobs = BlobServiceClient(
        account.blob_endpoint, credential=other, connection_timeout=seconds, read_timeout=seconds, **common
    )
    return StorageTransport(
        queues=SdkQueues(queues, answers(Service.QUEUE)),
        tables=SdkTables(tables, answers(Service.TABLE)),
        blobs=SdkBlobs(blobs, account, answers(Service.BLOB)),
        account=account,
        closeable=(queues, tables, blobs, *closeable),
        server_clock=server_clock,
    )
