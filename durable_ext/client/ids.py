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
        InvalidArgumentError: It is empty.
    """
    if not event_name:
        raise InvalidArgumentError("event_name", "event_name must be a non-empty string.")
    return event_name
