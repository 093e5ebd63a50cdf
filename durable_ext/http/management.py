"""ManagementApi: routes of the management API, the order in which they are tried, and what errors become.

Source: specs/http-api.md 2, 4.3, 4.6. Paths are decoded once, segment by segment, so that every instance id is reached by
the links made for it; a `+` is a plus sign, as in extension 2.13.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from urllib.parse import unquote

from durable_ext.client.client import DurableClient
from durable_ext.errors import (
    BackendUnavailableError,
    ConfigurationError,
    ContinuationTokenError,
    InvalidArgumentError,
    InvalidInstanceStateError,
    PayloadTooLargeError,
)
from durable_ext.http.entities import EntityRoutes
from durable_ext.http.instances import BAD_ARGUMENTS, UNEXPECTED, InstanceRoutes
from durable_ext.http.messages import HttpRequestValue, HttpResponseValue, QueryParameters
from durable_ext.http.payloads import empty_response, error_response
from durable_ext.http.urls import ManagementUrls, origin_of

log = logging.getLogger("durable_ext.http")


OpenOther = Callable[[str, str], Awaitable[DurableClient]]
"""Returns the client of another task hub and connection, by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hub:
    """A task hub that requests act on; `urls` name it in links."""

    instances: InstanceRoutes
    entities: EntityRoutes
    urls: ManagementUrls


class ManagementApi:
    """Answers requests below one base path, for one task hub unless a request names another.

    Args:
        urls: Where the API is reached; links in answers have the origin of the request they answer.
        use_forwarded_host: Links follow `X-Forwarded-Host` and `X-Forwarded-Proto` if both are there.
        open_other: For requests that name another hub or connection; without it they are refused.
        make_primary: Has this application's workers work on the hub; false if there is nothing to take over.
    """

    def __init__(
        self,
        client: DurableClient,
        urls: ManagementUrls,
        *,
        use_forwarded_host: bool = False,
        open_other: OpenOther | None = None,
        make_primary: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self._urls, self._use_forwarded_host = urls, use_forwarded_host
        self._own = _Hub(instances=InstanceRoutes(client), entities=EntityRoutes(client), urls=urls)
        self._open_other, self._make_primary = open_other, make_primary

    async def handle(self, request: HttpRequestValue, route: str) -> HttpResponseValue:
        """Answer a request; `route` is its path below the base path, still percent-encoded. Never raises errors of ours."""
        try:
            return await self._dispatch(request, route)
        except BackendUnavailableError as exc:
            return error_response(503, "The task hub cannot be reached. Try again later.", exc)
        except InvalidArgumentError as exc:
            return error_response(400, BAD_ARGUMENTS, str(exc))
        except PayloadTooLargeError as exc:
            return error_response(413, BAD_ARGUMENTS, str(exc))
        except (InvalidInstanceStateError, ContinuationTokenError) as exc:
            # compat: 500 too (specs/http-api.md 5.6, 7), but nothing went wrong here
            return error_response(500, UNEXPECTED, exc)
        except Exception as exc:  # the catch-all of specs/http-api.md 4.6: whatever escaped is a 500 with its text
            log.warning("management request failed", extra={"event": "management_request_failed"}, exc_info=exc)
            return error_response(500, UNEXPECTED, exc)

    async def _dispatch(self, request: HttpRequestValue, route: str) -> HttpResponseValue:
        segments = [unquote(segment) for segment in route.strip("/").split("/") if segment]
        query = QueryParameters(request.query)
        hub = await self._hub_of(query)
        if isinstance(hub, HttpResponseValue):
            return hub
        collection = segments[0].lower() if segments else ""
        rest = segments[1:]
        if collection == "orchestrators" and 1 <= len(rest) <= 2:
            if request.method != "POST":
                return empty_response(404)
            instance_id = rest[1] if len(rest) == 2 else ""
            return await hub.instances.start(rest[0], instance_id, request, query, self._urls_of(hub, request))
        if collection == "entities" and len(rest) <= 2:
            return await self._entity(hub, request, rest, query)
        if collection == "instances":
            return await self._instance(hub, request, rest, query)
        if collection == "makeprimary" and not rest:
            return await self._take_over(hub)
        return empty_response(404)

    async def _take_over(self, hub: _Hub) -> HttpResponseValue:
        if hub is self._own and self._make_primary is not None and await self._make_primary():
            return empty_response(200)
        text = "Cannot make current app primary. This app is not using the AppLease feature."
        return error_response(501, text)

    async def _instance(
        self, hub: _Hub, request: HttpRequestValue, rest: list[str], query: QueryParameters
    ) -> HttpResponseValue:
        method = request.method
        if not rest:
            if method == "GET":
                return await hub.instances.list(request, query)
            return await hub.instances.purge_many(query) if method == "DELETE" else empty_response(404)
        instance_id = rest[0]
        if len(rest) == 1:
            if method == "GET":
                return await hub.instances.status(instance_id, request, query)
            return await hub.instances.purge(instance_id) if method == "DELETE" else empty_response(404)
        if method != "POST":
            return empty_response(404)
        operation = hub.instances.operations.get(rest[1].lower())
        if len(rest) == 2 and operation is not None:
            return await operation(instance_id, request, query, self._urls_of(hub, request))
        if len(rest) == 3 and rest[1].lower() == "raiseevent":
            return await hub.instances.raise_event(instance_id, rest[2], request)
        return empty_response(404)

    async def _entity(
        self, hub: _Hub, request: HttpRequestValue, rest: list[str], query: QueryParameters
    ) -> HttpResponseValue:
        name = rest[0] if rest else ""
        key = rest[1] if len(rest) == 2 else ""
        if request.method == "GET":
            return await (hub.entities.read(name, key) if key else hub.entities.list(name or None, request, query))
        if request.method == "POST":
            return await hub.entities.signal(name, key, query.get("op") or "", request)
        if request.method == "DELETE":
            return await hub.entities.signal(name, key, "delete", request)
        return empty_response(404)

    async def _hub_of(self, query: QueryParameters) -> _Hub | HttpResponseValue:
        """Return the hub that a request names, its own if it names none, or why it cannot act on that one."""
        task_hub = (query.get("taskHub") or "").strip() or self._urls.task_hub
        connection = (query.get("connection") or "").strip() or self._urls.connection
        is_own_connection = connection.lower() in (self._urls.connection.lower(), "storage", "azurewebjobsstorage")
        if is_own_connection and task_hub.lower() == self._urls.task_hub.lower():
            return self._own
        if self._open_other is None:
            asked, own = f"'{task_hub}' of connection '{connection}'", f"'{self._urls.task_hub}'"
            return error_response(404, f"Task hub {asked} is not served here; this host serves {own}.")
        try:
            client = await self._open_other(task_hub, self._urls.connection if is_own_connection else connection)
        except (ConfigurationError, InvalidArgumentError) as exc:
            return error_response(400, BAD_ARGUMENTS, str(exc))
        urls = replace(self._urls, task_hub=task_hub, connection=connection)
        return _Hub(instances=InstanceRoutes(client), entities=EntityRoutes(client), urls=urls)

    def _urls_of(self, hub: _Hub, request: HttpRequestValue) -> ManagementUrls:
        host = request.headers.get("x-forwarded-host", "").partition(",")[0].strip()
        scheme = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip()
        if self._use_forwarded_host and host and scheme:
            return hub.urls.at_origin(f"{scheme}://{host}")
        return hub.urls.at_origin(origin_of(request.url))
