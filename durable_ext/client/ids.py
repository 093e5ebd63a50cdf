"""Ids that a client makes, and the event names that it accepts; knows no store.

Source: specs/azure-storage.md 3.2, specs/http-api.md 5.3, 6.3.
"""

from __future__ import annotations

import uuid

from durable_ext.core.messages import InstanceId
from durable_ext.errors import InvalidArgumentError


def new_instance_id() -> InstanceId:
    """Return a random id of 32 hex digits."""
    return InstanceId(uuid.uuid4().hex)


def checked_event_name(event_name: str) -> str:
    """Return the name of an external event.

    Raises:
        InvalidArgumentError: It is empty, or no text.
    """
    if not event_name or not isinstance(event_name, str):
        raise InvalidArgumentError("event_name", "event_name must be a non-empty string.")
    return event_name


def checked_name(argument: str, name: str) -> str:
    """Return the name of a function or an operation.

    Raises:
        InvalidArgumentError: It is empty, or no text.
    """
    if not name or not isinstance(name, str):
        raise InvalidArgumentError(argument, f"{argument} must be a non-empty string, not {name!r}.")
    return name


def checked_version(version: str) -> str:
    """Return the version that a start names.

    Raises:
        InvalidArgumentError: It is no text.
    """
    if not isinstance(version, str):
        raise InvalidArgumentError("version", f'version must be a string, as "1.0", not {version!r}.')
    return version
