"""Bearer tokens from azure-identity, renewed before they expire; imported only when a connection uses an identity."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.identity.aio import (
    CertificateCredential,
    ClientSecretCredential,
    DefaultAzureCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)

from durable_ext.backends.azure_storage.transport.account import Identity
from durable_ext.errors import ConfigurationError

_SCOPE: Final = "https://storage.azure.com/.default"
_RENEW_BEFORE_SECONDS: Final = 300
_RETRY_SECONDS: Final = 30
_log = logging.getLogger("durable_ext.backends.azure_storage")


class IdentityTokens:
    """A `TokenSource`. A token that cannot be renewed yet is used until it expires (specs/host-json.md 8)."""

    def __init__(self, identity: Identity) -> None:
        self._credential = credential_of(identity)
        self._lock = asyncio.Lock()
        self._token = ""
        self._expires = 0.0
        self._renew_at = 0.0

    async def token(self) -> str:
        if time.time() < self._renew_at:
            return self._token
        async with self._lock:
            if time.time() < self._renew_at:
                return self._token
            try:
                fresh = await self._credential.get_token(_SCOPE)
            except (AzureError, OSError) as exc:
                if time.time() >= self._expires:
                    if isinstance(exc, ClientAuthenticationError) and not self._token:
                        raise ConfigurationError(f"No token for Azure Storage: {exc}") from exc
                    # A worker that has worked before waits for its tokens as it waits for the storage.
                    raise ConnectionError(f"no token for Azure Storage: {exc}") from exc
                self._renew_at = time.time() + _RETRY_SECONDS
                _log.warning("token renewal failed", extra={"event": "token_renewal_failed", "error": str(exc)})
                return self._token
            self._token, self._expires = fresh.token, float(fresh.expires_on)
            self._renew_at = self._expires - _RENEW_BEFORE_SECONDS
            return self._token

    async def close(self) -> None:
        await self._credential.close()


def credential_of(identity: Identity) -> Any:
    """Return the azure-identity credential that a connection's section describes.

    Raises:
        ConfigurationError: The `credential` kind is unknown.
    """
    kind = (identity.credential or "").lower()
    if kind == "managedidentity":
        if identity.resource_id:
            return ManagedIdentityCredential(identity_config={"resource_id": identity.resource_id})
        return ManagedIdentityCredential(client_id=identity.client_id)
    if kind == "workloadidentity":
        return WorkloadIdentityCredential(tenant_id=identity.tenant_id, client_id=identity.client_id)
    if kind:
        raise ConfigurationError(
            f"The storage connection's credential '{identity.credential}' is not known; use managedidentity or "
            f"workloadidentity, or leave it out."
        )
    if identity.tenant_id and identity.client_id and identity.client_secret:
        return ClientSecretCredential(identity.tenant_id, identity.client_id, identity.client_secret)
    if identity.tenant_id and identity.client_id and identity.certificate:
        return CertificateCredential(identity.tenant_id, identity.client_id, identity.certificate)
    return DefaultAzureCredential()
