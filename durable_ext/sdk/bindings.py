"""The durable client binding and the URLs made from it (specs/sdk.md 2.11 - 2.13, 5.7; specs/http-api.md 8)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from enum import Enum
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlsplit

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.instance_ids import check_whole_characters
from durable_ext.errors import ConfigurationError
from durable_ext.sdk.status_values import DATETIME_FORMAT


class DurableOrchestrationBindings:
    """What the host tells a client: the hub, links with a placeholder for the instance id, and where to call.

    Keyword arguments it does not know become attributes of `client_data`.

    Raises:
        TypeError: `taskHubName`, `creationUrls` or `managementUrls` is missing.
    """

    def __init__(
        self,
        taskHubName: str,
        creationUrls: Mapping[str, str],
        managementUrls: Mapping[str, str],
        rpcBaseUrl: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._task_hub_name = taskHubName
        self._creation_urls = creationUrls
        self._management_urls = managementUrls
        self._rpc_base_url = rpcBaseUrl
        self._client_data = SimpleNamespace(**kwargs)

    @classmethod
    def from_json(cls, json_string: str | bytes) -> DurableOrchestrationBindings:
        """Parse the JSON text of the binding."""
        return cls(**json.loads(json_string))

    @property
    def task_hub_name(self) -> str:
        return self._task_hub_name

    @property
    def creation_urls(self) -> Mapping[str, str]:
        return self._creation_urls

    @property
    def management_urls(self) -> Mapping[str, str]:
        """Links by name; `id` is the placeholder in them, literally `INSTANCEID`."""
        return self._management_urls

    @property
    def rpc_base_url(self) -> str | None:
        """Base of the calls, ends with `/`; `None` if the host has switched its endpoint off."""
        return self._rpc_base_url

    @property
    def client_data(self) -> Any:
        """The other members of the binding, as attributes."""
        return self._client_data

    def url(self, path: str, **query: Any) -> str:
        """Return an absolute URL below the RPC base; parameters without a value are left out.

        Booleans print as Python prints them, times as UTC; see specs/sdk.md 2.12.

        Raises:
            ConfigurationError: The binding has no RPC base URL.
        """
        if self._rpc_base_url is None:
            raise ConfigurationError(
                "The durable client binding has no rpcBaseUrl, so there is nothing to call. The Python SDK only supports "
                "RPC endpoints: remove the `localRpcEndpointEnabled` setting from host.json."
            )
        parts = [f"{name}={_query_text(name, value)}" for name, value in query.items() if value]
        return f"{self._rpc_base_url}{path}" + (f"?{'&'.join(parts)}" if parts else "")

    def links(self, instance_id: str, origin: str | None = None) -> dict[str, str]:
        """Return the management links of an instance, under another `scheme://authority` if one is given."""
        check_whole_characters("instance_id", "The instance id", instance_id)
        placeholder = self._management_urls["id"]
        links: dict[str, str] = {}
        for name, link in self._management_urls.items():
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
    return f"entities/{escaped(entity_id.name, 'entity_id')}/{escaped(entity_id.key, 'entity_id')}"


def escaped(segment: str, argument: str = "instance_id") -> str:
    """Percent-encode one path segment, which is this argument of a call.

    Raises:
        InvalidArgumentError: No URL can hold it.
    """
    return _encoded(argument, segment, safe="@:")


def in_query(argument: str, text: str) -> str:
    """Percent-encode a value of the query, otherwise as `escaped`."""
    return _encoded(argument, text, safe="/")


def _encoded(argument: str, value: object, *, safe: str) -> str:
    text = str(value)
    check_whole_characters(argument, argument, text)
    return quote(text, safe=safe)


def _query_text(name: str, value: Any) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            value = value.astimezone(timezone.utc)
        return str(value.strftime(DATETIME_FORMAT))
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(_query_text(name, item) for item in value)
    if isinstance(value, Enum):
        return str(value.value)
    return in_query(name, value)
