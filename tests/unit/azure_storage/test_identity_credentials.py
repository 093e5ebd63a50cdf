"""Which identity a connection without a key logs in with (specs/host-json.md 8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import (
    CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    WorkloadIdentityCredential,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from support.managed_identity import SECRET, TokenEndpoint, login_service, token_endpoint, write_certificate

from durable_ext.backends.azure_storage.transport import identity as identity_module
from durable_ext.backends.azure_storage.transport.account import Identity
from durable_ext.backends.azure_storage.transport.identity import IdentityTokens, credential_of
from durable_ext.errors import ConfigurationError

USER_ASSIGNED = "00000000-1111-0000-0000-000000000000"
RESOURCE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenEndpoint]:
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    with token_endpoint() as endpoint:
        monkeypatch.setenv("IDENTITY_ENDPOINT", endpoint.uri)
        monkeypatch.setenv("IDENTITY_HEADER", SECRET)
        yield endpoint


@pytest.mark.parametrize(
    ("identity", "asked"),
    [
        (Identity(credential="managedidentity"), {}),
        (Identity(credential="ManagedIdentity", client_id=USER_ASSIGNED), {"client_id": [USER_ASSIGNED]}),
        (Identity(credential="managedidentity", resource_id=RESOURCE), {"mi_res_id": [RESOURCE]}),
        (Identity(credential="managedidentity", object_id=USER_ASSIGNED), {"object_id": [USER_ASSIGNED]}),
        (Identity(credential="managedidentity", managed_client_id=USER_ASSIGNED), {"client_id": [USER_ASSIGNED]}),
        (Identity(), {}),
        (Identity(client_id=USER_ASSIGNED), {"client_id": [USER_ASSIGNED]}),
    ],
)
async def test_app_service_is_asked_for_the_identity_that_the_connection_names(
    tokens: TokenEndpoint, identity: Identity, asked: dict[str, list[str]]
) -> None:
    source = IdentityTokens(identity)

    await source.token()
    await source.close()

    (query,) = tokens.requests
    assert {name: query[name] for name in query if name not in ("api-version", "resource")} == asked


async def test_a_service_principal_logs_in_with_its_secret_or_its_certificate(tmp_path: Path) -> None:
    principal = Identity(tenant_id="t", client_id="c")
    with_secret = credential_of(Identity(tenant_id="t", client_id="c", client_secret="hush"))
    with_certificate = credential_of(
        Identity(tenant_id="t", client_id="c", certificate=str(_certificate(tmp_path / "principal.pem")))
    )

    assert isinstance(with_secret, ClientSecretCredential)
    assert isinstance(with_certificate, CertificateCredential)
    assert not isinstance(credential_of(principal), (ClientSecretCredential, CertificateCredential))


async def test_a_workload_identity_is_that_of_its_token_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))

    credential = credential_of(Identity(credential="workloadidentity", tenant_id="t", client_id="c"))

    assert isinstance(credential, WorkloadIdentityCredential)


@pytest.mark.parametrize(
    ("identity", "asked", "audience"),
    [
        (Identity(), {}, "api://AzureADTokenExchange"),
        (Identity(managed_client_id=USER_ASSIGNED), {"client_id": [USER_ASSIGNED]}, "api://AzureADTokenExchange"),
        (Identity(resource_id=RESOURCE, cloud="USGov"), {"mi_res_id": [RESOURCE]}, "api://AzureADTokenExchangeUSGov"),
        (
            Identity(object_id=USER_ASSIGNED, cloud="china"),
            {"object_id": [USER_ASSIGNED]},
            "api://AzureADTokenExchangeChina",
        ),
    ],
)
async def test_an_application_logs_in_with_the_token_of_the_managed_identity_that_it_trusts(
    tokens: TokenEndpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    identity: Identity,
    asked: dict[str, list[str]],
    audience: str,
) -> None:
    tokens.resource = audience
    certificate, key = write_certificate(tmp_path)
    trusting = partial(ClientAssertionCredential, transport=AioHttpTransport(connection_verify=str(certificate)))
    monkeypatch.setattr(identity_module, "ClientAssertionCredential", trusting)
    with login_service(certificate, key) as login:
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", login.uri)
        source = IdentityTokens(
            replace(identity, credential="managedIdentityAsFederatedIdentity", tenant_id="t", client_id="c")
        )
        token = await source.token()
        await source.close()

    (query,) = tokens.requests
    assert {name: query[name] for name in query if name not in ("api-version", "resource")} == asked
    ((path, form),) = login.requests
    assert path == "/t/oauth2/v2.0/token"
    assert (form["client_id"], form["scope"]) == (["c"], ["https://storage.azure.com/.default"])
    assert form["client_assertion"] == [tokens.handed_out]
    assert token == login.handed_out


@pytest.mark.parametrize(
    ("identity", "problem"),
    [
        (Identity(client_id="c"), "needs tenantId and clientId"),
        (Identity(tenant_id="t"), "needs tenantId and clientId"),
        (Identity(tenant_id="t", client_id="c", cloud="mars"), "azureCloud 'mars' is not known; use public, usgov, china"),
    ],
)
def test_a_federated_identity_that_is_not_whole_says_what_is_missing(identity: Identity, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        credential_of(replace(identity, credential="managedidentityasfederatedidentity"))


def _certificate(path: Path) -> Path:
    """Write a key and the certificate that it has signed into one PEM file."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "principal")])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    form, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(form, serialization.PrivateFormat.PKCS8, no_password)
        + builder.sign(key, hashes.SHA256()).public_bytes(form)
    )
    return path
