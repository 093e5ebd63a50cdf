"""What runs with an identity instead of a key, over TLS: run by test_azure_identity.py in a process of its own.

That process trusts the emulator's certificate from its start on, because aiohttp reads the trusted ones when imported.
"""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from typing import ClassVar

import pytest
from azure.storage.blob import generate_account_sas
from azure_hub import short_settings
from support.contract_backends import abort, opened_backends

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import IdentityConnection, TransportKind
from durable_ext.backends.azure_storage.transport.account import (
    Identity,
    SharedKey,
    StorageAccount,
    account_from_connection_string,
    account_from_identity,
)
from durable_ext.backends.azure_storage.transport.connection import StorageTransport, open_transport
from durable_ext.testing.contract import BackendContract, Crash, OpenBackend
from tests.integration import test_storage_transport as verbs

URIS = {name: os.environ[f"TEST_{name.upper()}_URI"] for name in ("Blob", "Queue", "Table")}
CONNECTION = os.environ["TEST_CONNECTION"]

# The same tests of every verb, on another `transport`.
globals().update(
    {
        name: value
        for name, value in vars(verbs).items()
        if name.startswith("test_") or name in ("queue", "table", "container")
    }
)


def with_identity(kind: str | None) -> StorageAccount:
    return account_from_identity(
        Identity(credential=kind), blob_uri=URIS["Blob"], queue_uri=URIS["Queue"], table_uri=URIS["Table"]
    )


def with_sas() -> StorageAccount:
    found = account_from_connection_string(CONNECTION).credential
    assert isinstance(found, SharedKey)
    token = generate_account_sas(
        found.account,
        base64.b64encode(found.key).decode(),
        "sco",
        "rwdlacup",
        datetime.now(timezone.utc) + timedelta(hours=1),
        services="bqt",
    )
    endpoints = "".join(f"{name}Endpoint={uri};" for name, uri in URIS.items())
    return account_from_connection_string(f"{endpoints}SharedAccessSignature={token}")


ACCOUNTS = {
    "managedidentity": lambda: with_identity("managedidentity"),
    "default": lambda: with_identity(None),
    "key": lambda: account_from_connection_string(CONNECTION),
    "sas": with_sas,
}


@pytest.fixture(params=[f"{kind}-{account}" for kind in ("lean", "sdk") for account in ACCOUNTS])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[StorageTransport]:
    kind, account = request.param.split("-")
    opened = open_transport(ACCOUNTS[account](), kind)
    yield opened
    await opened.close()


class TestAHubWithAnIdentity(BackendContract):
    patience: ClassVar[timedelta] = timedelta(seconds=20)
    transport_kind: ClassVar[TransportKind] = TransportKind.LEAN

    @pytest.fixture
    async def open_backend(self, task_hub: str) -> AsyncIterator[OpenBackend]:
        connection = IdentityConnection(
            identity=Identity(credential="managedidentity"),
            blob_service_uri=URIS["Blob"],
            queue_service_uri=URIS["Queue"],
            table_service_uri=URIS["Table"],
        )

        def make() -> AzureStorageBackend:  # each has a worker id of its own
            settings = short_settings(
                connection,
                task_hub,
                control_queue_visibility=timedelta(seconds=6),
                work_item_queue_visibility=timedelta(seconds=6),
                lease_interval=timedelta(seconds=3),
                transport=self.transport_kind,
            )
            return AzureStorageBackend(settings)

        async with opened_backends(make) as open_one:
            yield open_one

    @pytest.fixture
    def crash(self) -> Crash:
        return abort


# aiohttp does not wait for the end of its TLS connections when its session is closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestAHubWithAnIdentityOnTheSdkPackages(TestAHubWithAnIdentity):
    transport_kind = TransportKind.SDK
