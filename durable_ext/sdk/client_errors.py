"""Errors of the durable client, with the texts of azure-functions-durable 1.7.0 (specs/sdk.md 2.11, 5.8)."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from durable_ext.core.call_arguments import check_text
from durable_ext.errors import ClientError, InstanceNotFoundError, InvalidInstanceStateError, UnexpectedResponseError


def instance_not_found(instance_id: str, *, quoted: bool = False) -> InstanceNotFoundError:
    """Return the error of a missing instance; some calls of 1.x quote the id in its text, others do not."""
    shown = f"'{instance_id}'" if quoted else instance_id
    return InstanceNotFoundError(instance_id, f"No instance with ID {shown} found.")


def instance_gone(instance_id: str) -> InvalidInstanceStateError:
    """Return the error of an event for an instance that has ended."""
    text = f"Instance with ID {instance_id} is gone: either completed or failed"
    return InvalidInstanceStateError(instance_id, "", "raise event for", text)


def not_rewindable(instance_id: str) -> InvalidInstanceStateError:
    """Return the error of a rewind of an instance that has not failed."""
    text = "The rewind operation is only supported on failed orchestration instances."
    return InvalidInstanceStateError(instance_id, "", "rewind", text)


def unexpected(status: int, body: Any) -> ClientError:
    """Return the error of an answer that the call has no meaning for."""
    return UnexpectedResponseError(status, body, f"The operation failed with an unexpected status code {status}")


def checked_start_id(instance_id: Any, version: Any) -> str | None:
    """Return the instance id of `start_new` as text (1.x took a UUID as well); a wrong id or version is refused.

    Raises:
        ArgumentTypeError: One of them is neither a text nor `None`.
    """
    if isinstance(instance_id, UUID):
        instance_id = str(instance_id)
    if instance_id is not None:
        check_text("start_new", "instance_id", instance_id, "a text, or None; the input is client_input")
    if version is not None:
        check_text("start_new", "version", version, 'a text, as "1.0", or None')
    return cast("str | None", instance_id)


def checked_id(call: str, instance_id: Any, *, is_1x: bool) -> str:
    """Return the id of an instance that is asked for as text; 1.x put whatever it got into a URL.

    Raises:
        ArgumentTypeError: It is no text, nor a UUID.
    """
    if is_1x or isinstance(instance_id, UUID):
        return str(instance_id)
    check_text(call, "instance_id", instance_id, "the instance id as a text")
    return cast(str, instance_id)
