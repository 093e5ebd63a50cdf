"""The exception tree. Errors carry plain attributes; their text says what happened, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from durable_ext.failure import FailureDetails, legible

_CHANGED = (
    "Was a change made to the orchestrator code after this instance was already started? Deploy the change under a new name "
    "or let running instances finish first."
)

__all__ = [
    "ActivityProcessDiedError",
    "ArgumentTypeError",
    "BackendError",
    "BackendUnavailableError",
    "CheckpointConflictError",
    "ClientError",
    "ConfigurationError",
    "ContinuationTokenError",
    "DamagedPayloadError",
    "DeadlyActivityError",
    "DeadlyOperationError",
    "DeadlyOrchestratorError",
    "DurableError",
    "EntityOperationError",
    "EpisodeFailedError",
    "EpisodeTimeoutError",
    "FunctionNotFoundError",
    "FunctionReferenceError",
    "FunctionTimeoutError",
    "HttpCallError",
    "InstanceAlreadyExistsError",
    "InstanceNotFoundError",
    "InstanceWaitTimeoutError",
    "InvalidArgumentError",
    "InvalidInstanceStateError",
    "LeaseLostError",
    "LockingRulesError",
    "MissingPayloadError",
    "NonDeterminismError",
    "OrchestrationError",
    "PayloadTooLargeError",
    "RegistrationError",
    "RequestRefusedError",
    "TaskFailedError",
    "UnexpectedResponseError",
]


class DurableError(Exception):
    """Base of everything durable_ext raises on purpose."""


class ConfigurationError(DurableError, ValueError):
    """A setting is missing or cannot be used; the text names it and its value."""


class RegistrationError(DurableError, ValueError):
    """A function is registered twice, under a bad name, or not at all."""


class FunctionReferenceError(RegistrationError):
    """A function was given instead of a name, but no decorator has registered it as what is wanted."""


class ArgumentTypeError(DurableError, TypeError):
    """A call got a value of a wrong type; `call`, `argument` and `value` say where and what, `wanted` what to pass."""

    def __init__(self, call: str, argument: str, value: object, wanted: str) -> None:
        self.call, self.argument, self.value, self.wanted = call, argument, value, wanted
        shown = repr(value)
        shown = shown if len(shown) <= 200 else f"{shown[:200]}…"
        super().__init__(f"{call}() got {shown} ({type(value).__name__}) as {argument}. Pass {wanted}.")


class OrchestrationError(DurableError):
    """Something in an orchestration went wrong; orchestrator code may catch it."""


class TaskFailedError(OrchestrationError):
    """An activity, sub-orchestration or entity operation failed.

    `str()` equals the text of azure-functions-durable 1.x (`{reason} \\n {details}`; specs/sdk.md 4.2).

    Attributes:
        task_name: Name of the function that failed, `None` if history does not tell.
        reason, details: As recorded.
        failure: Type, message, stack and inner failure, as far as they were recorded.
    """

    def __init__(
        self,
        message: str,
        *,
        task_name: str | None = None,
        reason: str | None = None,
        details: str | None = None,
        failure: FailureDetails | None = None,
    ) -> None:
        self.task_name, self.reason, self.details, self.failure = task_name, reason, details, failure
        super().__init__(message)


class NonDeterminismError(OrchestrationError):
    """Replay diverged from history; the text says at which event, and what to do."""

    def __init__(
        self,
        *,
        instance_id: str,
        event_id: int,
        recorded: str,
        decided: str | None,
        location: str | None = None,
        advice: str | None = None,
    ) -> None:
        self.instance_id, self.event_id, self.recorded, self.decided = instance_id, event_id, recorded, decided
        self.location = location
        at = f" at {location}" if location else ""
        super().__init__(
            f"Non-Deterministic workflow detected: replay of instance '{instance_id}' diverged at event {event_id}: history "
            f"has {recorded}, the code now decides {decided or 'nothing'}{at}. {advice or _CHANGED}"
        )


class LockingRulesError(OrchestrationError, RuntimeError):
    """An orchestration that holds entity locks did what a critical section forbids (specs/execution-semantics.md 12.8)."""


class EntityOperationError(OrchestrationError, LookupError):
    """A class-style entity was asked for an operation that it does not have."""

    def __init__(self, entity: str, operation: str, known: Sequence[str]) -> None:
        self.entity, self.operation, self.known = entity, operation, tuple(known)
        names = ", ".join(f"'{each}'" for each in self.known) or "none"
        super().__init__(
            f"Entity '{entity}' has no operation '{operation}'. Its operations are: {names}. Call one of them, or add a "
            f"public method of that name."
        )


class EpisodeFailedError(OrchestrationError):
    """An error inside durable_ext ended the episodes of an instance, again and again: it is not played any more.

    Attributes:
        times: How often in a row.
        error: Type and text of the last one.
    """

    def __init__(self, times: int, error: str) -> None:
        self.times, self.error = times, error
        super().__init__(
            f"an internal error of durable_ext ended {times} episodes of this instance in a row, so it is not played again: "
            f"{error}. Please report it, with the stack trace in the worker's log."
        )


class EpisodeTimeoutError(OrchestrationError, TimeoutError):
    """An episode ran longer than `functionTimeout`; its thread cannot be stopped, so its result will be dropped."""

    def __init__(self, label: str, limit: timedelta) -> None:
        self.label, self.limit = label, limit
        super().__init__(
            f"An episode of '{label}' blocked its thread for more than {limit.total_seconds():g} s (functionTimeout). "
            f"Orchestrator code must not wait or loop by itself; move the work to an activity."
        )


class FunctionTimeoutError(DurableError, TimeoutError):
    """A function ran longer than `functionTimeout`; `limit` is that time as host.json spells it.

    The text begins like the Functions host's, which callers of entities look for (specs/sdk.md 5.5).
    """

    def __init__(self, function_name: str, limit: str) -> None:
        self.function_name, self.limit = function_name, limit
        super().__init__(
            f"Timeout value of {limit} exceeded by function: Functions.{function_name}. Make it faster, split its work, or "
            f"raise functionTimeout in host.json."
        )


class ActivityProcessDiedError(DurableError):
    """The process of an `executor="process"` activity ended in the middle of a call."""

    def __init__(self, function_name: str) -> None:
        self.function_name = function_name
        super().__init__(
            f"The process that ran activity '{function_name}' ended unexpectedly (killed, out of memory, or os._exit). "
            f"Look at the memory it needs; a retry policy runs it again."
        )


class DeadlyOrchestratorError(OrchestrationError):
    """Workers ended while they played an orchestrator, again and again: it is not played any more.

    Attributes:
        deaths: How often.
    """

    def __init__(self, deaths: int) -> None:
        self.deaths = deaths
        super().__init__(
            f"the worker process died {deaths} times in a row while it played this instance, so it is not played again. "
            f"Look for os._exit, a crash in native code or too little memory; orchestrator code must do nothing but decide."
        )


class DeadlyActivityError(DurableError):
    """Every process that ran an activity died; nobody starts it again."""

    def __init__(self, function_name: str, deaths: int) -> None:
        self.function_name, self.deaths = function_name, deaths
        super().__init__(
            f"activity '{function_name}' was started {deaths} times and its process died each time, so it is not started "
            f'again. Look for os._exit, crashes in native code and memory that runs out; executor="process" keeps the '
            f"host alive."
        )


class DeadlyOperationError(DurableError):
    """Every process that ran an operation of an entity died; nobody starts it again.

    Attributes:
        deaths: How often, as far as it is known.
    """

    def __init__(self, operation: str | None, deaths: int) -> None:
        self.operation, self.deaths = operation, deaths
        super().__init__(
            f"operation '{operation}' was started {deaths} times in a row and its process died each time, so it is not "
            f"started again. Look for os._exit, crashes in native code and memory that runs out."
        )


class HttpCallError(DurableError):
    """A `call_http` request could not be made or did not end well; the text is what the orchestrator sees."""


class ClientError(DurableError):
    """A management call cannot be done."""


class InvalidArgumentError(ClientError, ValueError):
    """A call got a value that cannot be used; `argument` names it."""

    def __init__(self, argument: str, message: str) -> None:
        self.argument = argument
        super().__init__(message)


class ContinuationTokenError(ClientError, ValueError):
    """A query got a token that this task hub has not given out."""

    def __init__(self, token: str) -> None:
        self.token = token
        super().__init__(
            f"'{legible(token)}' is not a continuation token of this hub. Pass that of the page before, or none."
        )


class FunctionNotFoundError(ClientError, LookupError):
    """This app has no function of that kind (`orchestrator`, `activity`, `entity`) and name.

    The text is that of the Durable extension (specs/execution-semantics.md 3.2, specs/http-api.md 5.3).
    """

    def __init__(self, kind: str, name: str, known: Sequence[str] | None = None, message: str | None = None) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known or ())
        if message is not None:
            super().__init__(message)
            return
        text = f"The function '{legible(name)}' doesn't exist, is disabled, or is not an {kind} function."
        if self.known:
            names = ", ".join(f"'{each}'" for each in self.known)
            text += f" Additional info: The following are the known {kind} functions: {names}."
        elif known is not None:
            text += f" Additional info: No {kind} functions are currently registered!"
        super().__init__(text)


class InstanceNotFoundError(ClientError, LookupError):
    """There is no instance of that id in this task hub.

    `message` replaces the text where callers of the 1.x client know another one.
    """

    def __init__(self, instance_id: str, message: str | None = None) -> None:
        self.instance_id = instance_id
        super().__init__(message or f"No instance with ID '{instance_id}' was found.")


class InstanceAlreadyExistsError(ClientError, ValueError):
    """The id is in use by an instance in a status that must not be replaced."""

    def __init__(self, instance_id: str, status: str | None = None) -> None:
        self.instance_id, self.status = instance_id, status
        super().__init__(f"An Orchestration instance with the status {status or 'Running'} already exists.")


class InvalidInstanceStateError(ClientError, ValueError):
    """The instance is in a status in which this cannot be done.

    `status` is empty if the answer of a remote host does not tell it; `message` replaces the text.
    """

    def __init__(self, instance_id: str, status: str, operation: str, message: str | None = None) -> None:
        self.instance_id, self.status, self.operation = instance_id, status, operation
        what = f"Cannot {legible(operation)} the orchestration instance {instance_id}"
        super().__init__(message or f"{what} because instance is in the {status} state.")


class UnexpectedResponseError(ClientError):
    """A management endpoint answered with a status or body that the call has no meaning for."""

    def __init__(self, status_code: int, body: object, message: object) -> None:
        self.status_code, self.body = status_code, body
        super().__init__(message)


class InstanceWaitTimeoutError(ClientError, TimeoutError):
    """The instance had not ended in time; `last_status` is the last status seen."""

    def __init__(self, instance_id: str, seconds: float, last_status: str) -> None:
        self.instance_id, self.seconds, self.last_status = instance_id, seconds, last_status
        what = f"Instance '{instance_id}' was still {last_status} after {seconds:g} s"
        super().__init__(f"{what}. Wait longer, or query its status later.")


class BackendError(DurableError):
    """A task hub cannot do what was asked."""


class BackendUnavailableError(BackendError):
    """The store did not answer or is throttling; trying again may help.

    Attributes:
        is_told: It is part of an outage that the log has a warning about already; whoever meets it need not add one.
    """

    is_told: bool = False


class RequestRefusedError(BackendError):
    """The store refuses what it is asked to do, not for its load: the same request will be refused again.

    Attributes:
        is_too_large: Because of its size.
    """

    is_too_large: bool = False


class LeaseLostError(BackendError):
    """Another worker has what this one held; nothing was written."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} is no longer held by this worker, and nothing was written. Leave it to its new owner.")


class CheckpointConflictError(BackendError):
    """Somebody else has written the instance since this session was locked."""

    def __init__(self, instance_id: str, why: str = "another worker has it") -> None:
        self.instance_id, self.why = instance_id, why
        super().__init__(f"The checkpoint of instance '{instance_id}' was refused: {why}. It will be processed again.")


class PayloadTooLargeError(BackendError, ValueError):
    """A value is too large for the store; nothing was written."""

    def __init__(self, what: str, size_bytes: int, limit_bytes: int) -> None:
        self.what, self.size_bytes, self.limit_bytes = what, size_bytes, limit_bytes
        super().__init__(
            f"{what} has {size_bytes} bytes, more than the {limit_bytes} that can be stored. Keep large data elsewhere and "
            f"pass a reference."
        )


class MissingPayloadError(BackendError):
    """A row or message refers to a blob that is gone."""

    def __init__(self, blob: str) -> None:
        self.blob = blob
        super().__init__(f"The payload blob '{blob}' is missing. It was deleted, or the hub was purged while it was read.")


class DamagedPayloadError(BackendError):
    """A row or message refers to a blob that is not the compressed text it should be."""

    def __init__(self, blob: str, why: str) -> None:
        self.blob, self.why = blob, why
        super().__init__(
            f"The payload blob '{blob}' cannot be read: {why}. It should be gzip of UTF-8 text; something else wrote it."
        )
