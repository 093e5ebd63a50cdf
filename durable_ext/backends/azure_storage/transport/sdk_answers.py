"""The calls of the Azure SDK packages, one service each: tried again, counted and translated as the lean ones."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from http.client import responses
from typing import Final, TypeVar

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ServiceResponseError

from durable_ext.aio.clock import SYSTEM_CLOCK, Clock
from durable_ext.backends.azure_storage.transport.account import Service, StorageAccount
from durable_ext.backends.azure_storage.transport.errors import (
    StorageAccessError,
    StorageResourceMissingError,
    StorageUnavailableError,
    error_from,
    unanswered,
)
from durable_ext.backends.azure_storage.transport.health import StorageHealth
from durable_ext.backends.azure_storage.transport.http import Interceptor, StorageCall
from durable_ext.backends.azure_storage.transport.refusal_text import one_line
from durable_ext.backends.azure_storage.transport.retry import (
    DEFAULT_RETRY,
    RETRIED_STATUSES,
    RetryPolicy,
    retry_after_seconds,
)
from durable_ext.backends.azure_storage.transport.throttling import Throttling
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer, StoodStillError, WireError
from durable_ext.errors import BackendError

_TIMEOUTS: Final = (TimeoutError, asyncio.TimeoutError)  # two classes on Python 3.10
T = TypeVar("T")


class SdkAnswers:
    """Stands around the calls of one service. `interceptor` stands around each, outside the retries, without its body."""

    def __init__(
        self,
        service: Service,
        account: StorageAccount,
        health: StorageHealth,
        *,
        retry: RetryPolicy = DEFAULT_RETRY,
        interceptor: Interceptor | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._service, self._endpoint, self._health = service, account.endpoint(service), health
        self._retry, self._interceptor = retry, interceptor
        self._throttling, self._clock = Throttling(health, clock), clock

    async def call(self, verb: str, resource: str, send: Callable[[], Awaitable[T]]) -> T:
        """Call `send` until it succeeds, some times at most, and return its value.

        Raises:
            StorageError, StorageUnavailableError, StorageAccessError: As `errors.error_from` says.
        """
        if self._interceptor is None:
            return await self._call_with_retries(verb, resource, send)
        values: list[T] = []

        async def call_all() -> HttpAnswer:
            values.append(await self._call_with_retries(verb, resource, send))
            return HttpAnswer(200, {}, b"")

        await self._interceptor(StorageCall(verb, resource), call_all)
        return values[-1]

    async def _call_with_retries(self, verb: str, resource: str, send: Callable[[], Awaitable[T]]) -> T:
        call, attempt, since = f"{verb} {resource}", 0, self._health.now()
        while True:
            if self._throttling.is_on:
                await self._throttling.wait(call, self._service, self._retry)
            attempt += 1
            retry_after: float | None = None
            try:
                value = await send()
            except HttpResponseError as exc:
                failure, failing = self._refused(verb, call, exc, since), verb
                retry_after = _retry_after(exc)
                self._throttling.asked(self._service, retry_after)
            except (AzureError, OSError, asyncio.TimeoutError) as exc:
                failure, failing = self._unanswered(verb, call, exc, since)
            else:
                self._health.answered(verb)
                return value
            delay = self._retry.delay(attempt, retry_after, random.random())
            if delay is None and isinstance(failure.__cause__, StoodStillError):
                raise failure  # which is not the service's
            if delay is None:
                failure.is_told = self._health.failed(failing, failure, since=since)
                raise failure
            await self._clock.sleep(delay)

    def _refused(self, verb: str, call: str, error: HttpResponseError, since: float) -> StorageUnavailableError:
        """Return the failure that is worth another try; raise every other one."""
        failure = _refusal(call, error)
        failure.__cause__ = error
        if isinstance(failure, StorageUnavailableError):
            return failure
        if isinstance(failure, StorageAccessError):
            raise self._health.refused(verb, failure, since=since)
        self._health.missed += self._service is not Service.BLOB and isinstance(failure, StorageResourceMissingError)
        self._health.answered(verb)
        raise failure

    def _unanswered(self, verb: str, call: str, error: Exception, since: float) -> tuple[StorageUnavailableError, str]:
        """Return the failure, and what has failed: the service if nobody could be reached, else the verb."""
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        failure = unanswered(call, self._endpoint, cause)
        timed_out = isinstance(cause, _TIMEOUTS) or isinstance(error.__cause__, _TIMEOUTS)
        if timed_out and not isinstance(cause, StoodStillError):  # a frozen service: the retries take minutes
            self._health.failed(verb, failure, since=since)
        is_reached = timed_out or isinstance(cause, WireError) or isinstance(error, ServiceResponseError)
        return failure, verb if is_reached else self._service.value


def _refusal(call: str, error: HttpResponseError) -> BackendError:
    # The queue client raises this for 204 too, when the queue was there already.
    status = 409 if isinstance(error, ResourceExistsError) else error.status_code or 500
    code = str(getattr(error, "error_code", "") or "").rsplit(".", 1)[-1]
    said = one_line(error.message or "")
    if status in RETRIED_STATUSES:
        said = said or responses.get(status, "")
    return error_from(call=call, status=status, code=_plain_code(code), detail=said)


def _retry_after(error: HttpResponseError) -> float | None:
    if error.status_code not in RETRIED_STATUSES:
        return None
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    return retry_after_seconds(headers.get("Retry-After"), headers.get("Date"))


def _plain_code(code: str) -> str:
    """`StorageErrorCode.QUEUE_NOT_FOUND` or `QueueNotFound` → `QueueNotFound`."""
    if "_" not in code and not code.isupper():
        return code
    return "".join(part.capitalize() for part in code.lower().split("_"))
