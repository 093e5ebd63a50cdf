"""One pooled HTTP client for all three services: signs, retries, translates errors. Knows no verb of a service."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final
from urllib.parse import quote, urlsplit

from durable_ext.aio.clock import SYSTEM_CLOCK, Clock
from durable_ext.backends.azure_storage.transport.access_advice import access_advice
from durable_ext.backends.azure_storage.transport.account import Service, StorageAccount
from durable_ext.backends.azure_storage.transport.auth import Signer
from durable_ext.backends.azure_storage.transport.errors import (
    StorageAccessError,
    StorageResourceMissingError,
    StorageUnavailableError,
    error_from,
    unanswered,
)
from durable_ext.backends.azure_storage.transport.health import StorageHealth
from durable_ext.backends.azure_storage.transport.refusal_text import failure_text, refusal_code, refusal_text
from durable_ext.backends.azure_storage.transport.retry import (
    DEFAULT_RETRY,
    RETRIED_STATUSES,
    RetryPolicy,
    retry_after_seconds,
)
from durable_ext.backends.azure_storage.transport.server_clock import ServerClock
from durable_ext.backends.azure_storage.transport.throttling import Throttling
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer, StoodStillError, Wire, WireError, open_wire
from durable_ext.errors import BackendError

_NO_ACCESS: Final = frozenset({401, 403})
_OUTAGE_STATUSES: Final = RETRIED_STATUSES | _NO_ACCESS
_NO_PARAMS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class StorageCall:
    """What an interceptor sees: e.g. verb `queue.put`, resource `/hub-control-00/messages`, and the request's body."""

    verb: str
    resource: str
    body: bytes = field(default=b"", repr=False)


Meaning = Callable[[HttpAnswer], HttpAnswer]
Interceptor = Callable[[StorageCall, Callable[[], Awaitable[HttpAnswer]]], Awaitable[HttpAnswer]]


class StorageHttp:
    """Sends requests of one account. Used from one event loop; `close()` when done.

    `interceptor` stands around every call, outside the retries: tests count and fail calls with it. `wire` is the client
    to send with, and closed with this; by default `open_wire` chooses one at the first request. `health` is told of outages.
    """

    def __init__(
        self,
        account: StorageAccount,
        signer: Signer,
        *,
        retry: RetryPolicy = DEFAULT_RETRY,
        timeout: timedelta = timedelta(seconds=30),
        max_connections: int = 100,
        interceptor: Interceptor | None = None,
        wire: Wire | None = None,
        health: StorageHealth | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._account, self._health = account, health or StorageHealth()
        self._signer, self._retry, self._interceptor = signer, retry, interceptor
        self._roots = {service: _root(account.endpoint(service)) for service in Service}
        self._timeout, self._max_connections = timeout, max_connections
        self._wire = wire
        self._closed = False
        self._throttling = Throttling(self._health, clock)
        self._clock, self.server_clock = clock, ServerClock(clock)

    def url(self, service: Service, path: str) -> str:
        """Return the absolute URL of an encoded path below the account."""
        origin, base = self._roots[service]
        return f"{origin}{base}{path}"

    async def send(
        self,
        verb: str,
        service: Service,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] = _NO_PARAMS,
        headers: Mapping[str, str] = _NO_PARAMS,
        body: bytes = b"",
        retry: RetryPolicy | None = None,
        meaning: Meaning | None = None,
    ) -> HttpAnswer:
        """Send one request and return its answer if it is a success (2xx).

        `meaning` turns an answer that wraps others into what it says, before anything is made of its status.

        Raises:
            StorageError, StorageUnavailableError, StorageAccessError: As `errors.error_from` says.
        """

        async def attempt_all() -> HttpAnswer:
            return await self._send_with_retries(
                verb, service, method, path, params, headers, body, retry or self._retry, meaning
            )

        if self._interceptor is None:
            return await attempt_all()
        return await self._interceptor(StorageCall(verb, path, body), attempt_all)

    async def _send_with_retries(
        self,
        verb: str,
        service: Service,
        method: str,
        path: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
        retry: RetryPolicy,
        meaning: Meaning | None,
    ) -> HttpAnswer:
        attempt, since = 0, self._health.now()
        while True:
            if self._closed:  # or a retry would open connections that nobody closes
                raise StorageUnavailableError(call=f"{verb} {path}", why="the connection was closed by this process")
            if self._throttling.is_on:
                await self._throttling.wait(f"{verb} {path}", service, retry)
            attempt += 1
            retry_after: float | None = None
            try:
                answer = await self._send_once(service, method, path, params, headers, body)
            except OSError as exc:
                failure, failing = self._no_answer(verb, path, service, exc, since)
            else:
                if meaning is not None:
                    answer = meaning(answer)
                if answer.status < 500 and answer.status not in _OUTAGE_STATUSES:
                    self._health.answered(verb)
                if answer.status < 300:
                    return answer if attempt == 1 else replace(answer, attempts=attempt)
                if answer.status not in RETRIED_STATUSES:
                    raise self._refusal(verb, path, service, answer, since)
                failure, failing = StorageUnavailableError(call=f"{verb} {path}", why=failure_text(answer)), verb
                retry_after = retry_after_seconds(answer.headers.get("retry-after"), answer.headers.get("date"))
                self._throttling.asked(service, retry_after)
            delay = retry.delay(attempt, retry_after, random.random())
            if delay is None and isinstance(failure.__cause__, StoodStillError):
                raise failure  # which is not the service's
            if delay is None:
                failure.is_told = self._health.failed(failing, failure, since=since)
                raise failure
            await self._clock.sleep(delay)

    def _no_answer(
        self, verb: str, path: str, service: Service, error: OSError, since: float
    ) -> tuple[StorageUnavailableError, str]:
        """Return the failure, and what has failed: the service if nobody could be reached, else the verb."""
        failure = unanswered(f"{verb} {path}", self._account.endpoint(service), error)
        # A frozen service: the retries take minutes.
        if isinstance(error, TimeoutError) and not isinstance(error, StoodStillError):
            self._health.failed(verb, failure, since=since)
        return failure, verb if isinstance(error, (TimeoutError, WireError)) else service.value

    def _refusal(self, verb: str, path: str, service: Service, answer: HttpAnswer, since: float) -> BackendError:
        call, status, code = f"{verb} {path}", answer.status, refusal_code(answer)
        if status >= 500:
            failure = StorageUnavailableError(call=call, why=failure_text(answer))
            failure.is_told = self._health.failed(verb, failure, since=since)
            return failure
        if status not in _NO_ACCESS:
            error = error_from(call=call, status=status, code=code, detail=refusal_text(answer))
            self._health.missed += service is not Service.BLOB and isinstance(error, StorageResourceMissingError)
            return error
        refused = StorageAccessError(
            call=call, status=status, code=code, advice=access_advice(self._account, service, self.server_clock.offset())
        )
        return self._health.refused(verb, refused, since=since)

    async def _send_once(
        self,
        service: Service,
        method: str,
        path: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> HttpAnswer:
        origin, base = self._roots[service]
        wire = self._wire
        if wire is None:
            origins = frozenset(root for root, _ in self._roots.values())
            wire = self._wire = open_wire(origins, timeout=self._timeout, max_connections=self._max_connections)
        signed = dict(headers)
        appended = await self._signer.sign(service, method, base + path, params, signed, len(body))
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in params.items())
        if appended:
            query = f"{query}&{appended}" if query else appended
        target = f"{base}{path}?{query}" if query else f"{base}{path}"
        answer = await wire.send(method, origin, target, signed, body)
        self.server_clock.heard(answer.headers.get("date"))
        return answer

    async def close(self) -> None:
        """Close all connections; nothing can be sent any more. Idempotent."""
        self._closed = True
        if self._wire is not None:
            await self._wire.close()


def _root(endpoint: str) -> tuple[str, str]:
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
