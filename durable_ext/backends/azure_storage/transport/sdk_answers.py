"""What the Azure SDK packages raise, as errors of ours; tells the account's health. Knows no verb of a service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError

from durable_ext.backends.azure_storage.transport.account import Service
from durable_ext.backends.azure_storage.transport.errors import StorageAccessError, StorageUnavailableError, error_from
from durable_ext.backends.azure_storage.transport.health import StorageHealth
from durable_ext.backends.azure_storage.transport.refusal_text import one_line
from durable_ext.errors import BackendError


class SdkAnswers:
    """Stands around the calls of one service, outside the retries of the SDK."""

    def __init__(self, service: Service, health: StorageHealth) -> None:
        self._service, self._health = service, health

    @asynccontextmanager
    async def translated(self, call: str) -> AsyncIterator[None]:
        """Raise what a call raises as `StorageError`, `StorageUnavailableError` or `StorageAccessError`."""
        try:
            yield
        except HttpResponseError as exc:
            raise self._judged(_refusal(call, exc)) from exc
        except (AzureError, OSError) as exc:
            raise self._judged(StorageUnavailableError(call=call, why=f"{type(exc).__name__} {exc}")) from exc
        self._answered()

    def _judged(self, error: BackendError) -> BackendError:
        if isinstance(error, StorageAccessError):
            return self._health.refused(self._service, error)
        if isinstance(error, StorageUnavailableError):
            error.is_told = self._health.failed(self._service, error)
        else:
            self._answered()
        return error

    def _answered(self) -> None:
        if self._health.is_down:
            self._health.answered(self._service)


def _refusal(call: str, error: HttpResponseError) -> BackendError:
    # The queue client raises this for 204 too, when the queue was there already.
    status = 409 if isinstance(error, ResourceExistsError) else error.status_code or 500
    code = str(getattr(error, "error_code", "") or "").rsplit(".", 1)[-1]
    return error_from(call=call, status=status, code=_plain_code(code), detail=one_line(error.message or ""))


def _plain_code(code: str) -> str:
    """`StorageErrorCode.QUEUE_NOT_FOUND` or `QueueNotFound` → `QueueNotFound`."""
    if "_" not in code and not code.isupper():
        return code
    return "".join(part.capitalize() for part in code.lower().split("_"))
