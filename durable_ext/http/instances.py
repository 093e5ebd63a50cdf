"""The instance half of the management API: requests → client calls → responses (specs/http-api.md 5); no framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from durable_ext.client.client import DurableClient
from durable_ext.client.query import CONTINUATION_HEADER, InstanceQuery
from durable_ext.client.status import InstanceStatus
from durable_ext.core.events import OrchestrationStatus
from durable_ext.errors import (
    FunctionNotFoundError,
    InstanceAlreadyExistsError,
    InstanceNotFoundError,
    InstanceWaitTimeoutError,
    InvalidArgumentError,
    InvalidInstanceStateError,
)
from durable_ext.http.history import HistoryView, history_json
from durable_ext.http.messages import HttpRequestValue, HttpResponseValue, QueryParameters
from durable_ext.http.payloads import (
    InvalidJsonError,
    body_text,
    check_json,
    compact_object,
    empty_response,
    error_response,
    first_json_value,
    instance_body,
    json_response,
    quote,
    rewrite_json,
    token,
)
from durable_ext.http.queries import (
    InvalidDurationError,
    InvalidFilterError,
    UnsupportedStatusError,
    WaitTooShortError,
    check_purge_filters,
    parse_moment,
    parse_statuses,
    parse_wait,
)
from durable_ext.http.urls import ManagementUrls

BAD_ARGUMENTS: Final = "One or more of the arguments submitted is incorrect"
UNEXPECTED: Final = "Something went wrong while processing your request"
_RESTART_ARGUMENTS: Final = "InstanceId does not match a valid orchestration instance."

Operation = Callable[[str, HttpRequestValue, QueryParameters, ManagementUrls], Awaitable[HttpResponseValue]]


class InstanceRoutes:
    """One method per route. `urls` passed to a method are those at the origin of its request."""

    def __init__(self, client: DurableClient) -> None:
        self._client = client
        self.operations: Final[dict[str, Operation]] = {
            "terminate": self._terminate,
            "suspend": self._suspend,
            "resume": self._resume,
            "rewind": self._rewind,
            "restart": self._restart,
        }

    async def start(
        self, name: str, instance_id: str, request: HttpRequestValue, query: QueryParameters, urls: ManagementUrls
    ) -> HttpResponseValue:
        """Start an instance; the body is stored verbatim as its input."""
        recorded = None
        try:
            if request.body is not None:
                # A blank body is no input, as in extension 2.13: 3.x stores the blanks, which then are no JSON to decode.
                text = body_text(request.body, request.headers.get("content-type", ""))
                if text and not text.isspace():
                    check_json(text)
                    recorded = text
        except InvalidJsonError as exc:
            return error_response(400, "Invalid JSON content", exc)
        try:
            timeout = parse_wait(query)
        except InvalidDurationError as exc:
            return error_response(400, str(exc))
        try:
            started = await self._client.start_recorded(name, recorded, instance_id or None, version=query.get("version"))
        except (InvalidArgumentError, FunctionNotFoundError) as exc:
            return error_response(400, BAD_ARGUMENTS, str(exc))
        except InstanceAlreadyExistsError as exc:
            return error_response(409, str(exc))
        return await self._answer_started(started, timeout, urls)

    async def _answer_started(self, instance_id: str, timeout: timedelta | None, urls: ManagementUrls) -> HttpResponseValue:
        """Answer 202 with links, or wait if the request asks for it (specs/http-api.md 5.3.2)."""
        if timeout is None:
            return check_status_response(instance_id, urls)
        try:
            status = await self._client.wait_for_completion(instance_id, timeout=max(timeout, timedelta(0)))
        except (InstanceWaitTimeoutError, InstanceNotFoundError):
            return check_status_response(instance_id, urls)
        if status.runtime_status is OrchestrationStatus.COMPLETED:
            return json_response(200, token(status.row.output))
        return json_response(200, instance_body(status.row))

    async def status(self, instance_id: str, request: HttpRequestValue, query: QueryParameters) -> HttpResponseValue:
        """Return the status of one instance; 202 with `Location` while it has not ended."""
        show_input = query.flag("showInput", True)
        status = await self._client.get_status(instance_id)
        if status is None:
            return empty_response(404)
        history = None
        if query.flag("showHistory", False) and status.runtime_status is not OrchestrationStatus.PENDING:
            view = HistoryView(show_input=show_input, show_output=query.flag("showHistoryOutput", False))
            try:
                history = history_json(await self._client.get_history(instance_id), view)
            except InstanceNotFoundError:
                return empty_response(404)
        body = instance_body(status.row, show_input=show_input, history=history)
        if not status.is_terminal:
            return json_response(202, body, ("Location", request.url), ("Retry-After", "5"))
        failed = status.runtime_status is OrchestrationStatus.FAILED
        return json_response(500 if failed and query.flag("returnInternalServerErrorOnFailure", False) else 200, body)

    async def list(self, request: HttpRequestValue, query: QueryParameters) -> HttpResponseValue:
        """Return one page of instances, entities included; the header carries the token of the next page."""
        try:
            wanted = parse_statuses(query)
        except UnsupportedStatusError as exc:
            return error_response(400, BAD_ARGUMENTS, exc)
        if wanted.matches_nothing:
            return json_response(200, "[]")
        show_input = query.flag("showInput", True)
        top = query.integer("top", 100)
        page = await self._client.query(
            InstanceQuery(
                runtime_status=wanted.statuses,
                created_from=parse_moment(query.get("createdTimeFrom")),
                created_to=parse_moment(query.get("createdTimeTo")),
                instance_id_prefix=query.get("instanceIdPrefix"),
                page_size=top if top > 0 else 100,
            ),
            request.headers.get(CONTINUATION_HEADER) or None,
        )
        body = ",".join(instance_body(status.row, show_input=show_input) for status in page.statuses)
        headers = ((CONTINUATION_HEADER, page.continuation),) if page.continuation else ()
        return json_response(200, f"[{body}]", *headers)

    async def purge(self, instance_id: str) -> HttpResponseValue:
        """Delete one ended instance."""
        try:
            result = await self._client.purge(instance_id)
        except InvalidInstanceStateError as exc:
            text = (
                f"Only orchestrations in a terminal state can be purged, but the orchestration with instance ID "
                f"{instance_id} has status {exc.status}"
            )
            return json_response(412, quote(text))
        if not result.deleted and not instance_id.startswith("@"):
            return empty_response(404)
        return json_response(200, f'{{"instancesDeleted":{result.deleted}}}')

    async def purge_many(self, query: QueryParameters) -> HttpResponseValue:
        """Delete ended instances by creation time and status; running ones and entities are never deleted.

        Filters that cannot be read are refused, unlike with upstream, which drops them and so deletes more.
        """
        if not query.get("createdTimeFrom"):
            return json_response(400, quote("Please provide value for 'createdTimeFrom' parameter."))
        try:
            created_from = check_purge_filters(query)
            wanted = parse_statuses(query)
        except (InvalidFilterError, UnsupportedStatusError) as exc:
            return error_response(400, BAD_ARGUMENTS, exc)
        if wanted.matches_nothing:
            return empty_response(404)
        result = await self._client.purge_by(
            created_from=created_from,
            created_to=parse_moment(query.get("createdTimeTo")),
            runtime_status=wanted.statuses,
        )
        return json_response(200, f'{{"instancesDeleted":{result.deleted}}}') if result.deleted else empty_response(404)

    async def raise_event(self, instance_id: str, name: str, request: HttpRequestValue) -> HttpResponseValue:
        """Send an event; existence and state are checked before the body (specs/http-api.md 5.9)."""
        status = await self._client.get_status(instance_id, with_payloads=False)
        if status is None:
            return empty_response(404)
        if status.is_terminal:
            return empty_response(410)
        content_type = request.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != "application/json":
            return error_response(400, "Only application/json request content is supported")
        try:
            text = body_text(request.body or b"", content_type)
            if not text.strip():
                raise InvalidJsonError("The body is empty. Send the event's data as JSON, or null if it has none.")
            value = first_json_value(text)
        except InvalidJsonError as exc:
            return error_response(400, "Invalid JSON content", exc)
        try:
            await self._client.raise_recorded_event(instance_id, name, value)
        except InstanceNotFoundError as exc:
            return error_response(400, BAD_ARGUMENTS, exc)
        return empty_response(202)

    async def _live_status(self, instance_id: str) -> InstanceStatus | HttpResponseValue:
        status = await self._client.get_status(instance_id, with_payloads=False)
        if status is None:
            return empty_response(404)
        return empty_response(410) if status.is_terminal else status

    async def _terminate(
        self, instance_id: str, request: HttpRequestValue, query: QueryParameters, urls: ManagementUrls
    ) -> HttpResponseValue:
        status = await self._live_status(instance_id)
        if isinstance(status, HttpResponseValue):
            return status
        await self._client.terminate(instance_id, query.get("reason"))
        return empty_response(202)

    async def _suspend(
        self, instance_id: str, request: HttpRequestValue, query: QueryParameters, urls: ManagementUrls
    ) -> HttpResponseValue:
        status = await self._live_status(instance_id)
        if isinstance(status, HttpResponseValue):
            return status
        await self._client.suspend(instance_id, query.get("reason"))
        return empty_response(202)

    async def _resume(
        self, instance_id: str, request: HttpRequestValue, query: QueryParameters, urls: ManagementUrls
    ) -> HttpResponseValue:
        status = await self._live_status(instance_id)
        if isinstance(status, HttpResponseValue):
            return status
        await self._client.resume(instance_id, query.get("reason"))
        return empty_response(202)

    async def _rewind(
        self, instance_id: str, request: HttpRequestValue, query: QueryParameters, urls: ManagementUrls
    ) -> HttpResponseValue:
        try:
            await self._client.rewind(instance_id, query.get("reason") or "")
        except InstanceNotFoundError:
            # compat: the stray `$` is upstream's (specs/http-api.md 5.7)
            return json_response(404, quote(f'No orchestration with instance ID "${instance_id}" found.'))
        except InvalidInstanceStateError as exc:
            text = (
                f'This orchestration has status {exc.status}, but only orchestrations in the "Failed" state can be rewound.'
            )
            return json_response(412, quote(text))
        except NotImplementedError as exc:
            return error_response(501, "Rewind is not supported by the underlying storage provider.", exc)
        return empty_response(202)

    async def _restart(
        self, instance_id: str, request: HttpRequestValue, query: QueryParameters, urls: ManagementUrls
    ) -> HttpResponseValue:
        """Start the recorded function again with the recorded input, parsed and written again (specs/http-api.md 5.8)."""
        status = await self._client.get_status(instance_id)
        if status is None:
            # compat: the misspelling is upstream's
            text = f"An orchestrastion with the instanceId {instance_id} was not found."
            return error_response(400, _RESTART_ARGUMENTS, text)
        recorded = status.row.input
        try:
            recorded = "null" if recorded is None else rewrite_json(recorded) if recorded.strip() else recorded
        except ValueError as exc:
            return error_response(400, "Invalid JSON content", exc)
        target = None if query.flag("restartWithNewInstanceId", True) else instance_id
        try:
            timeout = parse_wait(query)
        except WaitTooShortError as exc:
            return error_response(400, _RESTART_ARGUMENTS, str(exc))
        except InvalidDurationError as exc:
            return error_response(400, str(exc))
        try:
            started = await self._client.start_recorded(status.name, recorded, target)
        except (InvalidArgumentError, FunctionNotFoundError) as exc:
            return error_response(400, _RESTART_ARGUMENTS, str(exc))
        except InstanceAlreadyExistsError as exc:
            return error_response(409, "A non-terminal instance with this instance ID already exists.", exc)
        return await self._answer_started(started, timeout, urls)


def check_status_response(instance_id: str, urls: ManagementUrls) -> HttpResponseValue:
    """Return 202 with the links of an instance that was just started (specs/http-api.md 5.3.1)."""
    links = urls.check_status_links(instance_id)
    return json_response(202, compact_object(links), ("Location", links["statusQueryGetUri"]), ("Retry-After", "10"))
