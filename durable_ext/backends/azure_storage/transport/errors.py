"""What a storage service can answer instead of success, by class instead of by number."""

from __future__ import annotations

import logging
import socket
from typing import Final
from urllib.parse import urlsplit

from durable_ext.errors import BackendError, BackendUnavailableError, ConfigurationError, RequestRefusedError


class StorageError(BackendError):
    """A request was refused.

    Attributes:
        status: HTTP status.
        code: The service's error code, e.g. `QueueNotFound`; empty if it sent none.
        call: Which verb on which resource.
    """

    def __init__(self, *, call: str, status: int, code: str, detail: str = "") -> None:
        self.call, self.status, self.code = call, status, code
        super().__init__(f"Azure Storage refused {call}: {status} {code} {detail}".rstrip())


class StorageNotFoundError(StorageError):
    """404: the queue, message, table, entity, container or blob is not there."""


class StorageConflictError(StorageError):
    """409: it exists already, is being deleted, or is leased by somebody else."""


class StoragePreconditionError(StorageError):
    """412: the ETag or the lease id is no longer the current one."""


class StorageResourceMissingError(StorageNotFoundError, BackendUnavailableError):
    """404: the whole queue, table or container is not there; somebody may be making it again at this moment."""


class StorageResourceDeletedError(StorageConflictError, BackendUnavailableError):
    """409: the queue, table or container is being deleted, and can be made again when that is over."""


_MISSING: Final = frozenset({"QueueNotFound", "TableNotFound", "ContainerNotFound"})
_BEING_DELETED: Final = frozenset({"QueueBeingDeleted", "TableBeingDeleted", "ContainerBeingDeleted"})


class StorageRefusedError(StorageError, RequestRefusedError):
    """400, 413: the service cannot do what the request says, now or later."""

    def __init__(self, *, call: str, status: int, code: str, detail: str = "") -> None:
        super().__init__(call=call, status=status, code=code, detail=detail)
        self.is_too_large = status == 413 or code in _TOO_LARGE


_TOO_LARGE: Final = frozenset(
    {"EntityTooLarge", "MessageTooLarge", "PropertyValueTooLarge", "RequestBodyTooLarge", "TooManyProperties"}
)


class StorageUnavailableError(BackendUnavailableError):
    """No answer, or 408, 429, 5xx, after all retries."""

    def __init__(self, *, call: str, why: str) -> None:
        self.call, self.why = call, why
        super().__init__(f"Azure Storage did not do {call}: {why.rstrip('.')}.")


class StorageHostUnknownError(StorageUnavailableError):
    """The name of the account's host cannot be resolved: there is no such account, or this machine has no network."""

    def __init__(self, *, call: str, host: str) -> None:
        self.host = host
        super().__init__(call=call, why=f"the host '{host}' is not known")


class StorageAccessError(ConfigurationError, BackendError):
    """401 or 403: the key, token or role does not allow it."""

    def __init__(self, *, call: str, status: int, code: str, advice: str = "") -> None:
        self.call, self.status, self.code = call, status, code
        super().__init__(f"Azure Storage does not allow {call}: {status} {code}. {advice or _ADVICE}")


_ADVICE: Final = (
    "Check the account key or SAS of the connection; an identity needs the roles Storage Queue, Blob and Table Data "
    "Contributor on the account."
)


def error_from(*, call: str, status: int, code: str, detail: str) -> BackendError:
    """Return the exception for an answer that is no success; `detail` is one line."""
    if status in (401, 403):
        return StorageAccessError(call=call, status=status, code=code)
    if status == 404:
        missing = StorageResourceMissingError if code in _MISSING else StorageNotFoundError
        return missing(call=call, status=status, code=code, detail=detail)
    if status == 409:
        conflict = StorageResourceDeletedError if code in _BEING_DELETED else StorageConflictError
        return conflict(call=call, status=status, code=code, detail=detail)
    if status == 412:
        return StoragePreconditionError(call=call, status=status, code=code, detail=detail)
    if status in (408, 429) or status >= 500:
        return StorageUnavailableError(call=call, why=" ".join(part for part in (str(status), code, detail) if part))
    if status in (400, 413):
        return StorageRefusedError(call=call, status=status, code=code, detail=detail)
    return StorageError(call=call, status=status, code=code, detail=detail)


def unanswered(call: str, endpoint: str, error: Exception) -> StorageUnavailableError:
    """Return the exception for a request to which no complete answer came."""
    failure: StorageUnavailableError
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME:
        failure = StorageHostUnknownError(call=call, host=urlsplit(endpoint).hostname or "")
    else:
        failure = StorageUnavailableError(call=call, why=f"{type(error).__name__} {error}".strip())
    failure.__cause__ = error
    return failure


def level_of(error: BaseException) -> int:
    """Return the log level for an error that work goes on after: a warning, unless it is of an outage already told."""
    return logging.INFO if is_told(error) else logging.WARNING


def is_told(error: BaseException) -> bool:
    """Whether an error is an outage that the log has told already."""
    return isinstance(error, BackendUnavailableError) and error.is_told
