"""Bearer tokens from azure-identity, renewed before they expire; imported only when a connection uses an identity."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import (
    CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    DefaultAzureCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)

from durable_ext.aio.clock import SYSTEM_CLOCK, Clock
from durable_ext.aio.supervisor import Supervisor
from durable_ext.backends.azure_storage.transport.account import Identity
from durable_ext.errors import ConfigurationError

_SCOPE: Final = "https://storage.azure.com/.default"
_EXCHANGE_SCOPES: Final = {
    "public": "api://AzureADTokenExchange/.default",
    "usgov": "api://AzureADTokenExchangeUSGov/.default",
    "china": "api://AzureADTokenExchangeChina/.default",
}
_RENEW_BEFORE_SECONDS: Final = 300
_RETRY_SECONDS: Final = 30
_log = logging.getLogger("durable_ext.backends.azure_storage")


class IdentityTokens:
    """A `TokenSource`. A token that cannot be renewed yet is used until it expires (specs/host-json.md 8).

    A renewal is a task of its own, one at a time: callers wait for it only when they have no valid token, and one that
    gives up does not end it. Used from one event loop.
    """

    def __init__(self, identity: Identity, *, credential: Any = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._credential = credential or credential_of(identity)
        self._clock = clock
        self._renewals = Supervisor("azure-storage-identity")
        self._renewal: asyncio.Task[Exception | None] | None = None
        self._failing = False
        self._token = ""
        self._expires = 0.0
        self._renew_at = 0.0

    async def token(self) -> str:
        """Return a token that is valid, as far as can be told.

        Raises:
            ConfigurationError: There never was one, and the identity is refused.
            ConnectionError: There is none for now.
        """
        now = self._clock.now().timestamp()
        if now < self._renew_at:
            return self._token
        renewal = self._renewal
        if renewal is None or renewal.done():
            renewal = self._renewal = self._renewals.start("renewal", self._renew())
        if now < self._expires:
            return self._token
        await asyncio.wait([renewal])  # unlike to await the task, this does not hand on a cancellation
        if renewal.cancelled():
            raise ConnectionError("no token for Azure Storage: the connection was closed by this process")
        refusal = renewal.result()
        if refusal is None:
            return self._token
        if isinstance(refusal, ClientAuthenticationError) and not self._token:
            raise ConfigurationError(
                f"No token for Azure Storage: {_first_line(refusal)} Log in (az login), give this machine an identity, or "
                f"name one in the storage connection: tenantId, clientId and clientSecret or certificate."
            ) from refusal
        # A worker that has worked before waits for its tokens as it waits for the storage.
        raise ConnectionError(f"no token for Azure Storage: {refusal}") from refusal

    async def _renew(self) -> Exception | None:
        try:
            fresh = await self._credential.get_token(_SCOPE)
        except Exception as refusal:  # credentials raise more than they document; each call would ask again at once
            if self._clock.now().timestamp() < self._expires:
                self._renew_at = min(self._clock.now().timestamp() + _RETRY_SECONDS, self._expires)
                if not self._failing:
                    self._failing = True
                    _log.warning("token renewal failed", extra={"event": "token_renewal_failed", "error": str(refusal)})
            return refusal
        self._failing = False
        self._token, self._expires = fresh.token, float(fresh.expires_on)
        # Who hands out one with minutes left is not asked for each call.
        early = max(self._expires - _RENEW_BEFORE_SECONDS, self._clock.now().timestamp() + _RETRY_SECONDS)
        self._renew_at = min(early, self._expires)
        return None

    async def close(self) -> None:
        """End a renewal and close the credential. Idempotent."""
        await self._renewals.stop()
        await self._credential.close()


class FederatedCredential:
    """Logs in as an application that trusts a managed identity: the identity's token is the application's secret."""

    def __init__(self, managed: ManagedIdentityCredential, *, tenant_id: str, client_id: str, exchange_scope: str) -> None:
        self._managed, self._exchange_scope = managed, exchange_scope
        self._assertion = ""
        self._application = ClientAssertionCredential(tenant_id, client_id, lambda: self._assertion)

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return a token of the application.

        Raises:
            ClientAuthenticationError: One of the two is refused.
        """
        self._assertion = (await self._managed.get_token(self._exchange_scope)).token
        return await self._application.get_token(*scopes, **options)

    async def close(self) -> None:
        """Close the connections to both."""
        await self._managed.close()
        await self._application.close()


def credential_of(identity: Identity) -> Any:
    """Return the azure-identity credential that a connection's section describes.

    Raises:
        ConfigurationError: The `credential` kind is unknown, or what else is there makes no credential.
    """
    try:
        return _credential_of(identity)
    except (ValueError, OSError) as exc:
        if isinstance(exc, ConfigurationError):
            raise
        raise ConfigurationError(
            f"The storage connection's identity cannot be used: {_first_line(exc)} Check its credential, tenantId, clientId "
            f"and certificate."
        ) from exc


def _first_line(error: Exception) -> str:
    """Return the first line of an error, as a sentence: azure-identity tells in the others what else it has tried."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0].strip()
    return line if line.endswith(".") else f"{line}."


def _credential_of(identity: Identity) -> Any:
    kind = (identity.credential or "").lower()
    if kind == "managedidentity":
        return _managed(identity, identity.managed_client_id or identity.client_id)
    if kind == "managedidentityasfederatedidentity":
        return _federated(identity)
    if kind == "workloadidentity":
        return WorkloadIdentityCredential(tenant_id=identity.tenant_id, client_id=identity.client_id)
    if kind:
        raise ConfigurationError(
            f"The storage connection's credential '{identity.credential}' is not known; use managedidentity, "
            f"workloadidentity or managedidentityasfederatedidentity, or leave it out."
        )
    if identity.tenant_id and identity.client_id and identity.client_secret:
        return ClientSecretCredential(identity.tenant_id, identity.client_id, identity.client_secret)
    if identity.tenant_id and identity.client_id and identity.certificate:
        return CertificateCredential(identity.tenant_id, identity.client_id, identity.certificate)
    if identity.client_id:  # of the managed or workload identity that the chain may find
        return DefaultAzureCredential(managed_identity_client_id=identity.client_id)
    return DefaultAzureCredential()


def _managed(identity: Identity, client_id: str | None) -> ManagedIdentityCredential:
    # These members become parameters of the request as they are: the names are the endpoints' own.
    if identity.resource_id:
        return ManagedIdentityCredential(identity_config={"mi_res_id": identity.resource_id})
    if identity.object_id:
        return ManagedIdentityCredential(identity_config={"object_id": identity.object_id})
    return ManagedIdentityCredential(client_id=client_id)


def _federated(identity: Identity) -> FederatedCredential:
    if not (identity.tenant_id and identity.client_id):
        raise ConfigurationError(
            "The storage connection's credential managedidentityasfederatedidentity needs tenantId and clientId, those of "
            "the application that trusts the managed identity."
        )
    cloud = identity.cloud or "public"
    scope = _EXCHANGE_SCOPES.get(cloud.lower())
    if scope is None:
        raise ConfigurationError(
            f"The storage connection's azureCloud '{cloud}' is not known; use {', '.join(_EXCHANGE_SCOPES)}, or leave it "
            f"out."
        )
    managed = _managed(identity, identity.managed_client_id)
    return FederatedCredential(managed, tenant_id=identity.tenant_id, client_id=identity.client_id, exchange_scope=scope)
