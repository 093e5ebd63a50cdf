"""Which instance ids, entity keys and event names a client accepts; knows no store.

Source: specs/azure-storage.md 3.2, specs/http-api.md 5.3, 6.3.
"""

from __future__ import annotations

import re
import uuid
from typing import Final

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.messages import InstanceId
from durable_ext.errors import InvalidArgumentError

MAX_INSTANCE_ID_LENGTH: Final = 256
_FORBIDDEN: Final = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")


def new_instance_id() -> InstanceId:
    """Return a random id of 32 hex digits."""
    return InstanceId(uuid.uuid4().hex)


def checked_instance_id(instance_id: str) -> InstanceId:
    """Return the id of an orchestration to be started.

    Raises:
        InvalidArgumentError: It is blank, longer than 256 characters, begins with `@`, or has a forbidden character.
    """
    if not instance_id or instance_id.isspace():
        raise InvalidArgumentError("instance_id", "Orchestration instance ids must not be empty.")
    if instance_id[0] == "@":
        raise InvalidArgumentError("instance_id", "Orchestration instance ids must not start with @.")
    if _FORBIDDEN.search(instance_id):
        raise InvalidArgumentError(
            "instance_id", "Orchestration instance ids must not contain /, \\, #, ?, or control characters."
        )
    if len(instance_id) > MAX_INSTANCE_ID_LENGTH:
        raise InvalidArgumentError("instance_id", "Instance ID lengths must not exceed 256 characters.")
    return InstanceId(instance_id)


def checked_entity_id(entity_id: EntityId) -> EntityId:
    """Return the id of an entity to be signalled.

    Raises:
        InvalidArgumentError: Its key has a forbidden character, or the whole id more than 256 characters.
    """
    if _FORBIDDEN.search(entity_id.key):
        raise InvalidArgumentError("entity_key", "Entity keys must not contain /, \\, #, ?, or control characters.")
    if len(entity_id.instance_id) > MAX_INSTANCE_ID_LENGTH:
        raise InvalidArgumentError("entity_id", "Entity ids (@name@key) must not exceed 256 characters.")
    return entity_id


def checked_event_name(event_name: str) -> str:
    """Return the name of an external event.

    Raises:
        InvalidArgumentError: It is empty.
    """
    if not event_name:
        raise InvalidArgumentError("event_name", "event_name must be a non-empty string.")
    return event_name
