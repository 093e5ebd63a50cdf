"""FailureDetails: what is recorded of an exception; knows no history and no store."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureDetails:
    """A recorded failure, as DurableTask.Core's class of the same name (specs/azure-storage.md 5.3).

    `properties` is kept as JSON text because its values are foreign; `None` if there are none.
    """

    error_type: str
    error_message: str
    stack_trace: str | None = None
    inner_failure: FailureDetails | None = None
    is_non_retriable: bool = False
    properties: str | None = None


def failure_from_exception(exc: BaseException) -> FailureDetails:
    """Return the details of a caught exception, its `__cause__` chain included."""
    cause = exc.__cause__
    stack = "".join(traceback.format_tb(exc.__traceback__)) or None
    return FailureDetails(
        error_type=type(exc).__name__,
        error_message=str(exc),
        stack_trace=stack,
        inner_failure=failure_from_exception(cause) if cause is not None else None,
    )


StringMap = Mapping[str, str]
