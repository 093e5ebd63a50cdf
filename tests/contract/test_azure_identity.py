"""Managed identity, the default credential chain, a SAS and a key, all over TLS, on both transports.

The emulator checks the claims of a token, not who signed it. Tokens come from a token endpoint as App Service has one, so
that azure-identity runs as it does there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from azurite import Azurite, running_azurite
from support.managed_identity import SECRET, TokenEndpoint, token_endpoint, write_certificate

from durable_ext.backends.azure_storage.transport.account import Identity, account_from_identity
from durable_ext.backends.azure_storage.transport.connection import StorageTransport, open_lean_transport
from durable_ext.backends.azure_storage.transport.errors import StorageAccessError, StorageUnavailableError
from durable_ext.errors import ConfigurationError
from durable_ext.testing.eventually import eventually

pytestmark = pytest.mark.azurite

ROOT = Path(__file__).parents[2]
CONTRACT = Path(__file__).with_name("identity_contract.py")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def azurite(certificate: tuple[Path, Path]) -> Iterator[Azurite]:
    with running_azurite(certificate=certificate) as running:
        yield running


@pytest.fixture
def tokens() -> Iterator[TokenEndpoint]:
    with token_endpoint() as endpoint:
        yield endpoint


def environment_of(azurite: Azurite, certificate: tuple[Path, Path], tokens: TokenEndpoint) -> dict[str, str]:
    uris = {f"TEST_{name.upper()}_URI": uri for name, uri in azurite.endpoints.items()}
    return {
        "SSL_CERT_FILE": str(certificate[0]),
        "IDENTITY_ENDPOINT": tokens.uri,
        "IDENTITY_HEADER": SECRET,
        "TEST_CONNECTION": azurite.connection_string,
        **uris,
    }


# The verbs with each credential, then hubs with an identity.
@pytest.mark.parametrize(
    "which",
    [
        "lean-sas",
        "lean-managedidentity or TestAHubWithAnIdentity and not Sdk and (wide or large or purging or creating_a_hub)",
        pytest.param("lean-default or lean-key or sdk-", marks=pytest.mark.slow),
        pytest.param("TestAHubWithAnIdentity", marks=pytest.mark.slow),
    ],
)
def test_all_is_the_same_with_every_credential(
    azurite: Azurite, certificate: tuple[Path, Path], tokens: TokenEndpoint, which: str
) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CONTRACT), "-k", which]

    run = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment_of(azurite, certificate, tokens),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert bool(tokens.requests) == (which != "lean-sas")


@pytest.fixture
async def transport(
    azurite: Azurite, certificate: tuple[Path, Path], tokens: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> StorageTransport:
    for name, value in environment_of(azurite, certificate, tokens).items():
        monkeypatch.setenv(name, value)
    endpoints = azurite.endpoints
    account = account_from_identity(
        Identity(credential="managedidentity", client_id="00000000-1111-0000-0000-000000000000"),
        blob_uri=endpoints["Blob"],
        queue_uri=endpoints["Queue"],
        table_uri=endpoints["Table"],
    )
    return open_lean_transport(account)


async def test_a_token_is_asked_for_once_and_for_the_chosen_identity(
    transport: StorageTransport, tokens: TokenEndpoint
) -> None:
    await transport.queues.exists("first")
    await transport.tables.exists("Second")
    await transport.blobs.container_exists("third")
    await transport.close()

    assert [query["client_id"] for query in tokens.requests] == [["00000000-1111-0000-0000-000000000000"]]


async def test_a_token_that_has_expired_is_no_access(transport: StorageTransport, tokens: TokenEndpoint) -> None:
    tokens.lives = timedelta(seconds=-5)

    with pytest.raises(StorageAccessError, match="Storage Queue, Blob and Table Data Contributor"):
        await transport.queues.exists("first")

    await transport.close()


async def test_tokens_that_are_not_to_be_had_for_a_while_are_an_outage(
    transport: StorageTransport, tokens: TokenEndpoint
) -> None:
    tokens.lives = timedelta(seconds=1)
    await transport.queues.exists("first")
    tokens.answers = False

    async def outage() -> str:
        try:
            await transport.queues.exists("first")
        except StorageAccessError:  # in its last second the storage may find the token too old
            return ""
        except StorageUnavailableError as exc:
            return str(exc)
        return ""

    assert "no token for Azure Storage" in await eventually(outage, within=timedelta(seconds=30))
    tokens.answers, tokens.lives = True, timedelta(hours=1)

    assert not await transport.queues.exists("first")
    await transport.close()


async def test_a_worker_that_never_had_a_token_says_so_at_once(transport: StorageTransport, tokens: TokenEndpoint) -> None:
    tokens.answers = False

    with pytest.raises(ConfigurationError, match="No token for Azure Storage"):
        await transport.queues.exists("first")

    await transport.close()


async def test_a_certificate_that_nobody_trusts_is_refused(
    transport: StorageTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    with pytest.raises(StorageUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        await transport.queues.exists("first")

    await transport.close()
