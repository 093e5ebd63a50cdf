"""StatusResponses: the HTTP responses that clients make of an instance's status and links (specs/sdk.md 2.11)."""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from typing import Any

from azure.functions import HttpRequest, HttpResponse

from durable_ext.errors import InvalidArgumentError
from durable_ext.sdk.status_values import DurableOrchestrationStatus, OrchestrationRuntimeStatus

_POLL_AGAIN_SECONDS = "10"


class StatusResponses(ABC):
    """What every client answers HTTP requests with; where status and links come from is the client's."""

    @abstractmethod
    async def get_status(self, instance_id: str) -> DurableOrchestrationStatus:
        """Return the status of an instance."""

    @abstractmethod
    def get_client_response_links(self, request: HttpRequest | None, instance_id: str) -> dict[str, str]:
        """Return the management links of an instance."""

    def create_http_management_payload(self, instance_id: str) -> dict[str, str]:
        """Return the management links of an instance under the app's own origin.

        Keys: `id`, `statusQueryGetUri`, `sendEventPostUri` (with `{eventName}`), `terminatePostUri`, `rewindPostUri`,
        `suspendPostUri`, `resumePostUri` (with `{text}`), `purgeHistoryDeleteUri`, `restartPostUri`.
        """
        return self.get_client_response_links(None, instance_id)

    def create_check_status_response(self, request: HttpRequest, instance_id: str) -> HttpResponse:
        """Return a 202 with the management links as JSON, `Location` (status link) and `Retry-After: 10`."""
        links = self.get_client_response_links(request, instance_id)
        headers = {
            "Content-Type": "application/json",
            "Location": links["statusQueryGetUri"],
            "Retry-After": _POLL_AGAIN_SECONDS,
        }
        return HttpResponse(body=json.dumps(links), status_code=202, headers=headers)

    async def wait_for_completion_or_create_check_status_response(
        self,
        request: HttpRequest,
        instance_id: str,
        timeout_in_milliseconds: int = 10_000,
        retry_interval_in_milliseconds: int = 1_000,
    ) -> HttpResponse:
        """Wait for an instance to end; answer with its output, or after the timeout with a check-status response.

        Completed: 200 and the output as JSON (a text as it is). Canceled, Terminated: 200 and the status. Failed: 500 and
        the status.

        Raises:
            ClientError: The interval is longer than the timeout.
        """
        timeout, interval = timeout_in_milliseconds, retry_interval_in_milliseconds
        if interval > timeout:
            raise InvalidArgumentError(
                "retry_interval_in_milliseconds",
                f"Total timeout {timeout} (ms) should be bigger than retry timeout {interval} (ms)",
            )
        started = time.time()
        while True:
            status = await self.get_status(instance_id)
            response = self._final_response(status) if status else None
            if response is not None:
                return response
            remaining = timeout - (time.time() - started) * 1000
            if remaining <= 0:
                return self.create_check_status_response(request, instance_id)
            await self._wait_for_change(instance_id, status, min(interval, remaining) / 1000)

    async def _wait_for_change(self, instance_id: str, status: DurableOrchestrationStatus, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _final_response(self, status: DurableOrchestrationStatus) -> HttpResponse | None:
        match status.runtime_status:
            case OrchestrationRuntimeStatus.Completed:
                return self._create_http_response(200, status.output)
            case OrchestrationRuntimeStatus.Canceled | OrchestrationRuntimeStatus.Terminated:
                return self._create_http_response(200, status.to_json())
            case OrchestrationRuntimeStatus.Failed:
                return self._create_http_response(500, status.to_json())
        return None

    @staticmethod
    def _create_http_response(status_code: int, body: Any) -> HttpResponse:
        text = body if isinstance(body, str) else json.dumps(body)
        return HttpResponse(
            body=text,
            status_code=status_code,
            mimetype="application/json",
            headers={"Content-Type": "application/json"},
        )
