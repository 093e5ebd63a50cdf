"""A storage account: three endpoints and how requests to it are authenticated.

Source: specs/host-json.md 8; connection strings as the Azure SDKs read them.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol, Union
from urllib.parse import urlsplit

from durable_ext.errors import ConfigurationError


class Service(str, Enum):
    BLOB = "blob"
    QUEUE = "queue"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class SharedKey:
    """An account key; never shown by `repr`."""

    account: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sas:
    """A shared access signature: the query string without `?`."""

    token: str = field(repr=False)


class TokenSource(Protocol):
    """Hands out bearer tokens for `https://storage.azure.com/.default`."""

    async def token(self) -> str:
        """Return a token that is valid for minutes; renewed as needed."""
        ...

    async def close(self) -> None:
        """Release what the source holds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """How to log in without a key: the section of specs/host-json.md 8. All empty = the default credential chain.

    `resource_id`, `object_id`, `managed_client_id` name a user-assigned managed identity, the last one where `client_id` is
    that of an application which trusts it; `cloud` is `public`, `usgov` or `china`.
    """

    credential: str | None = None
    client_id: str | None = None
    resource_id: str | None = None
    object_id: str | None = None
    managed_client_id: str | None = None
    cloud: str | None = None
    tenant_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    certificate: str | None = None


Credential = Union[SharedKey, Sas, Identity]


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageAccount:
    """Endpoints without a trailing slash, e.g. `http://127.0.0.1:10001/devstoreaccount1`."""

    blob_endpoint: str
    queue_endpoint: str
    table_endpoint: str
    credential: Credential

    def endpoint(self, service: Service) -> str:
        """Return the endpoint of one service."""
        if service is Service.BLOB:
            return self.blob_endpoint
        return self.queue_endpoint if service is Service.QUEUE else self.table_endpoint

    @property
    def is_emulator(self) -> bool:
        """Whether this is the development storage account (Azurite)."""
        return urlsplit(self.queue_endpoint).path.strip("/") == _DEVELOPMENT_ACCOUNT


_HOST: Final = re.compile(r"[A-Za-z0-9_.:%-]+")
_DEVELOPMENT_ACCOUNT: Final = "devstoreaccount1"
# Azurite's published key, the same for everybody.
_DEVELOPMENT_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_DEVELOPMENT_PORTS: Final = {Service.BLOB: 10000, Service.QUEUE: 10001, Service.TABLE: 10002}


def account_from_connection_string(text: str) -> StorageAccount:
    """Return the account of a connection string: account key, SAS, or `UseDevelopmentStorage=true`.

    Raises:
        ConfigurationError: The text is none; it is not quoted, because it may hold a key.
    """
    if text.lstrip().startswith("@Microsoft.KeyVault("):
        raise _unusable("it is a reference to a key vault, which only Azure resolves")
    parts: dict[str, str] = {}
    for number, part in enumerate(text.split(";"), 1):
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        if not equals:
            raise _unusable(f"its part {number} (parts end with a semicolon) has no '='")
        parts[name.strip().lower()] = value.strip()
    if parts.get("usedevelopmentstorage", "").lower() == "true":
        return _development_account(parts.get("developmentstorageproxyuri"))
    endpoints = {service: _endpoint(parts, service) for service in Service}
    return StorageAccount(
        blob_endpoint=endpoints[Service.BLOB],
        queue_endpoint=endpoints[Service.QUEUE],
        table_endpoint=endpoints[Service.TABLE],
        credential=_credential(parts),
    )


def account_from_identity(
    identity: Identity,
    *,
    account_name: str | None = None,
    blob_uri: str | None = None,
    queue_uri: str | None = None,
    table_uri: str | None = None,
) -> StorageAccount:
    """Return the account of an identity connection: a name, or all three endpoints.

    Raises:
        ConfigurationError: An endpoint is neither given nor derivable from the name.
    """
    given = {Service.BLOB: blob_uri, Service.QUEUE: queue_uri, Service.TABLE: table_uri}
    found: dict[Service, str] = {}
    for service, uri in given.items():
        if not uri and not account_name:
            raise ConfigurationError(
                f"An identity connection needs accountName or all of blobServiceUri, queueServiceUri and tableServiceUri; "
                f"{service.value}ServiceUri is missing."
            )
        uri = uri or f"https://{account_name}.{service.value}.core.windows.net"
        found[service] = _checked(uri, f"{service.value}ServiceUri or accountName")
    return StorageAccount(
        blob_endpoint=found[Service.BLOB],
        queue_endpoint=found[Service.QUEUE],
        table_endpoint=found[Service.TABLE],
        credential=identity,
    )


def _development_account(proxy: str | None) -> StorageAccount:
    host = _checked(proxy or "http://127.0.0.1", "DevelopmentStorageProxyUri")
    endpoints = {service: f"{host}:{port}/{_DEVELOPMENT_ACCOUNT}" for service, port in _DEVELOPMENT_PORTS.items()}
    return StorageAccount(
        blob_endpoint=endpoints[Service.BLOB],
        queue_endpoint=endpoints[Service.QUEUE],
        table_endpoint=endpoints[Service.TABLE],
        credential=SharedKey(_DEVELOPMENT_ACCOUNT, base64.b64decode(_DEVELOPMENT_KEY)),
    )


def _endpoint(parts: dict[str, str], service: Service) -> str:
    name = f"{service.value.capitalize()}Endpoint"
    explicit = parts.get(name.lower())
    if explicit:
        return _checked(explicit, name)
    account = parts.get("accountname")
    if not account:
        raise _unusable(f"it has neither AccountName nor {name}")
    protocol = parts.get("defaultendpointsprotocol", "https")
    derived = f"{protocol}://{account}.{service.value}.{parts.get('endpointsuffix') or 'core.windows.net'}"
    return _checked(derived, f"{name}, made of DefaultEndpointsProtocol, AccountName and EndpointSuffix,")


def _checked(uri: str, name: str) -> str:
    """Return an endpoint without its last slash. Of what is none, the text tells no query: it may be a signature."""
    try:
        parts = urlsplit(uri)
        is_one = parts.scheme in ("http", "https") and _HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:  # a port that is no number
        is_one = False
    if not is_one:
        raise ConfigurationError(
            f"The storage connection's {name} is '{uri.partition('?')[0]}', which is no http or https address of a host. "
            f"It should look like https://name.queue.core.windows.net, or http://127.0.0.1:10001/devstoreaccount1."
        )
    return uri.partition("?")[0].rstrip("/")


def _credential(parts: dict[str, str]) -> Credential:
    if "sharedaccesssignature" in parts:
        return Sas(parts["sharedaccesssignature"].lstrip("?"))
    account, key = parts.get("accountname"), parts.get("accountkey")
    if not account or not key:
        raise _unusable("it has neither AccountKey nor SharedAccessSignature")
    try:
        return SharedKey(account, base64.b64decode(key, validate=True))
    except ValueError as exc:  # binascii.Error, or characters that are not ASCII
        raise _unusable("its AccountKey is not Base64") from exc


def _unusable(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The storage connection string cannot be used: {why}. Copy it from the portal (Access keys), or set "
        f"UseDevelopmentStorage=true for Azurite."
    )
