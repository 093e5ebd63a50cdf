"""The durable client binding and the URLs made from it (specs/sdk.md 2.11 - 2.13, 5.7; specs/http-api.md 8)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import Any
from urllib.parse import quote, urlsplit

from durable_ext.core.entities.ids import EntityId
from durable_ext.errors import ConfigurationError
from durable_ext.sdk.status_values import DATETIME_FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """What the host tells a client: the hub, management links with a placeholder for the id, and where to call."""

    task_hub_name: str
    management_urls: Mapping[str, str]
    rpc_base_url: str | None
    connection_name: str | None = None

    @property
    def placeholder(self) -> str:
        """What stands for the instance id in the links, literally `INSTANCEID`."""
        return self.management_urls["id"]

    @staticmethod
    def from_json(text: str | bytes) -> Starter:
        """Parse the binding's JSON text.

        Raises:
            json.JSONDecodeError: Not JSON.
            TypeError: A required member is missing; the text names it.
        """
        members = json.loads(text)
        for name in ("taskHubName", "creationUrls", "managementUrls"):
            if not isinstance(members, dict) or name not in members:
                raise TypeError(f"The durable client binding has no '{name}'. Pass the value of the binding unchanged.")
        return Starter(
            task_hub_name=members["taskHubName"],
            management_urls=members["managementUrls"],
            rpc_base_url=members.get("rpcBaseUrl"),
            connection_name=members.get("connectionName"),
        )

    def url(self, path: str, **query: Any) -> str:
        """Return an absolute URL below the RPC base; parameters without a value are left out.

        Booleans print as Python prints them, times as UTC; see specs/sdk.md 2.12.

        Raises:
            ConfigurationError: The binding has no RPC base URL.
        """
        if self.rpc_base_url is None:
            raise ConfigurationError(
                "The durable client binding has no rpcBaseUrl, so there is nothing to call. The Python SDK only supports "
                "RPC endpoints: remove the `localRpcEndpointEnabled` setting from host.json."
            )
        parts = [f"{name}={_query_text(value)}" for name, value in query.items() if value]
        return f"{self.rpc_base_url}{path}" + (f"?{'&'.join(parts)}" if parts else "")

    def links(self, instance_id: str, origin: str | None = None) -> dict[str, str]:
        """Return the management links of an instance, under another `scheme://authority` if one is given."""
        placeholder = self.placeholder
        links: dict[str, str] = {}
        for name, link in self.management_urls.items():
            if origin is not None and "://" in link:
                parts = urlsplit(link)
                link = link.replace(f"{parts.scheme}://{parts.netloc}/", f"{origin}/", 1)
            links[name] = link.replace(placeholder, instance_id)
        return links


def origin_of(url: str | None) -> str | None:
    """Return `scheme://authority` of a URL, `None` of none."""
    if not url:
        return None
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def path_of_entity(entity_id: EntityId) -> str:
    """Return `entities/{name}/{key}`, escaped."""
    return f"entities/{escaped(entity_id.name)}/{escaped(entity_id.key)}"


def escaped(segment: str) -> str:
    """Percent-encode one path segment."""
    return quote(segment, safe="@:")


def _query_text(value: Any) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            value = value.astimezone(timezone.utc)
        return str(value.strftime(DATETIME_FORMAT))
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(_query_text(item) for item in value)
    if isinstance(value, Enum):
        return str(value.value)
    return quote(str(value))
