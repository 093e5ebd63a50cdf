"""How the failure of an activity is recorded: reason and details as the Durable extension writes them."""

from __future__ import annotations

import json
from typing import Final

from durable_ext.core.events import TaskFailed
from durable_ext.core.orchestrators import BUILT_IN_PREFIX
from durable_ext.core.timestamps import Ticks
from durable_ext.errors import DurableError
from durable_ext.failure import FailureDetails, exception_text, failure_from_exception

_CORE_EXCEPTION: Final = -2146233088  # HResult of System.Exception


def activity_failed(name: str, task_id: int, error: BaseException, now: Ticks) -> TaskFailed:
    """Return the event for an activity that raised (specs/execution-semantics.md 8.2 and 8.4).

    What our own engine found out (a timeout, a missing function) is quoted as it is; what user code raised as
    `{type}: {text}` with the space that the Functions host leaves in front.
    """
    failure = failure_from_exception(error)
    text = str(error) if isinstance(error, DurableError) else f" {failure.error_type}: {failure.error_message}"
    # compat: failures of the built-in HTTP activity carry the transport's text alone (8.4)
    reason = exception_text(error) if name.startswith(BUILT_IN_PREFIX) else f"Activity function '{name}' failed: {text}"
    return TaskFailed(
        timestamp=now,
        task_scheduled_id=task_id,
        reason=reason,
        details=_exception_json(text, failure),
        failure=failure,
    )


def activity_missing(name: str, task_id: int, now: Ticks) -> TaskFailed:
    """Return the event for an activity that this app does not have (specs/execution-semantics.md 3.2)."""
    text = f"Activity function '{name}' does not exist."
    failure = FailureDetails(error_type="RegistrationError", error_message=text, is_non_retriable=True)
    return TaskFailed(
        timestamp=now,
        task_scheduled_id=task_id,
        reason=f"Activity function '{name}' failed: {text}",
        details=_exception_json(text, failure),
        failure=failure,
    )


def _exception_json(text: str, failure: FailureDetails) -> str:
    """Return a serialized .NET exception, the form that other tools expect in `Details`."""
    return json.dumps(
        {
            "$type": "System.Exception, System.Private.CoreLib",
            "ClassName": "System.Exception",
            "Message": text,
            "Data": None,
            "InnerException": None,
            "HelpURL": None,
            "StackTraceString": failure.stack_trace,
            "RemoteStackTraceString": None,
            "RemoteStackIndex": 0,
            "ExceptionMethod": None,
            "HResult": _CORE_EXCEPTION,
            "Source": None,
            "WatsonBuckets": None,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
