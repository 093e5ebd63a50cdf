"""ManagementApi: routes of the management API, the order in which they are tried, and what errors become.

Source: specs/http-api.md 2, 4.3, 4.6. Paths are decoded once, segment by segment, so that every instance id is reached by
the links made for it; a `+` is a plus sign, as in extension 2.13.
"""

from __future__ import annotations

import logging
from urllib.parse import unquote

from durable_ext.client.client import DurableClient
from durable_ext.errors import BackendUnavailableError, PayloadTooLargeError
from durable_ext.http.entities import EntityRoutes
from durable_ext.http.instances import BAD_ARGUMENTS, UNEXPECTED, InstanceRoutes
from durable_ext.http.messages import HttpRequestValue, HttpResponseValue, QueryParameters
from durable_ext.http.payloads import empty_response, error_response
from durable_ext.http.urls import ManagementUrls, origin_of

log = logging.getLogger("durable_ext.http")


class ManagementApi:
    """Answers requests below one base path for one task hub.

    Args:
        urls: Where the API is reached; links in answers have the origin of the request they answer.
        use_forwarded_host: Links follow `X-Forwarded-Host` and `X-Forwarded-Proto` if both are there.
    """

    def __init__(
        self,
        client: DurableClient,
        urls: ManagementUrls,
        *,
        use_forwarded_host: bool = False,
    ) -> None:
        self._urls, self._use_forwarded_host = urls, use_forwarded_host
        self._instances = InstanceRoutes(client)
        self._entities = EntityRoutes(client)

    async def handle(self, request: HttpRequestValue, route: str) -> HttpResponseValue:
        """Answer a request; `route` is its path below the base path, still percent-encoded. Never raises errors of ours."""
        try:
            return await self._dispatch(request, route)
        except BackendUnavailableError as exc:
            return error_response(503, "The task hub cannot be reached. Try again later.", str(exc))
        except PayloadTooLargeError as exc:
            return error_response(413, BAD_ARGUMENTS, str(exc))
        except Exception as exc:  # the catch-all of specs/http-api.md 4.6: whatever escaped is a 500 with its text
            log.warning("management request failed", extra={"event": "management_request_failed"}, exc_info=exc)
            return error_response(500, UNEXPECTED, exc)

    async def _dispatch(self, request: HttpRequestValue, route: str) -> HttpResponseValue:
        segments = [unquote(segment) for segment in route.strip("/").split("/") if segment]
        query = QueryParameters(request.query)
        foreign = self._refuse_foreign(query)
        if foreign is not None:
            return foreign
        collection = segments[0].lower() if segments else ""
        rest = segments[1:]
        if collection == "orchestrators" and 1 <= len(rest) <= 2:
            if request.method != "POST":
                return empty_response(404)
            instance_id = rest[1] if len(rest) == 2 else ""
            return await self._instances.start(rest[0], instance_id, request, query, self._urls_of(request))
        if collection == "entities" and len(rest) <= 2:
            return await self._entity(request, rest, query)
        if collection == "instances":
            return await self._instance(request, rest, query)
        if collection == "makeprimary" and not rest:
            text = "Cannot make current app primary. This app is not using the AppLease feature."
            return error_response(500, UNEXPECTED, text)
        return empty_response(404)

    async def _instance(self, request: HttpRequestValue, rest: list[str], query: QueryParameters) -> HttpResponseValue:
        method = request.method
        if not rest:
            if method == "GET":
                return await self._instances.list(request, query)
            return await self._instances.purge_many(query) if method == "DELETE" else empty_response(404)
        instance_id = rest[0]
        if len(rest) == 1:
            if method == "GET":
                return await self._instances.status(instance_id, request, query)
            return await self._instances.purge(instance_id) if method == "DELETE" else empty_response(404)
        if method != "POST":
            return empty_response(404)
        operation = self._instances.operations.get(rest[1].lower())
        if len(rest) == 2 and operation is not None:
            return await operation(instance_id, request, query, self._urls_of(request))
        if len(rest) == 3 and rest[1].lower() == "raiseevent":
            return await self._instances.raise_event(instance_id, rest[2], request)
        return empty_response(404)

    async def _entity(self, request: HttpRequestValue, rest: list[str], query: QueryParameters) -> HttpResponseValue:
        name = rest[0] if rest else ""
        key = rest[1] if len(rest) == 2 else ""
        if request.method == "GET":
            return await (self._entities.read(name, key) if key else self._entities.list(name or None, request, query))
        if request.method == "POST":
            return await self._entities.signal(name, key, query.get("op") or "", request)
        if request.method == "DELETE":
            return await self._entities.signal(name, key, "delete", request)
        return empty_response(404)

    def _refuse_foreign(self, query: QueryParameters) -> HttpResponseValue | None:
        """Refuse requests for another hub or connection: this API acts on its own hub only."""
        hub, connection = (query.get("taskHub") or "").strip(), (query.get("connection") or "").strip()
        if hub and hub.lower() != self._urls.task_hub.lower():
            return error_response(404, f"Task hub '{hub}' is not served here; this host serves '{self._urls.task_hub}'.")
        if connection and connection.lower() not in (self._urls.connection.lower(), "storage", "azurewebjobsstorage"):
            text = f"Unable to resolve the Azure Storage connection named '{connection}'."
            return error_response(500, UNEXPECTED, text)
        return None

    def _urls_of(self, request: HttpRequestValue) -> ManagementUrls:
        host = request.headers.get("x-forwarded-host", "").partition(",")[0].strip()
        scheme = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip()
        if self._use_forwarded_host and host and scheme:
            return self._urls.at_origin(f"{scheme}://{host}")
        return self._urls.at_origin(origin_of(request.url))
