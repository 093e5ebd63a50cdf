"""Which ids of instances and entities can be used, by clients and by orchestrators; knows no store.

Source: specs/azure-storage.md 3.2, specs/http-api.md 5.3, 6.3.
"""

from __future__ import annotations

import re
from typing import Final

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.messages import InstanceId
from durable_ext.errors import InvalidArgumentError

MAX_INSTANCE_ID_LENGTH: Final = 256
_FORBIDDEN: Final = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")
_HALF_CHARACTER: Final = re.compile("[\ud800-\udfff]")


def checked_instance_id(instance_id: str) -> InstanceId:
    """Return the id of an orchestration to be started.

    Raises:
        InvalidArgumentError: It is no text, blank, longer than 256 characters, begins with `@`, or has a character that is
            forbidden.
    """
    if not isinstance(instance_id, str):
        raise InvalidArgumentError(
            "instance_id",
            f"Orchestration instance ids must be texts, not {instance_id!r}. Pass an input as the argument for it.",
        )
    if not instance_id or instance_id.isspace():
        raise InvalidArgumentError("instance_id", "Orchestration instance ids must not be empty.")
    if instance_id[0] == "@":
        raise InvalidArgumentError("instance_id", "Orchestration instance ids must not start with @.")
    if _FORBIDDEN.search(instance_id):
        raise InvalidArgumentError(
            "instance_id", "Orchestration instance ids must not contain /, \\, #, ?, or control characters."
        )
    if _HALF_CHARACTER.search(instance_id):
        raise InvalidArgumentError("instance_id", "Orchestration instance ids must not contain lone surrogates.")
    if len(instance_id) > MAX_INSTANCE_ID_LENGTH:
        raise InvalidArgumentError("instance_id", "Instance ID lengths must not exceed 256 characters.")
    return InstanceId(instance_id)


def checked_entity(entity_id: EntityId) -> EntityId:
    """Return the id of an entity.

    Raises:
        InvalidArgumentError: It is something else.
    """
    if not isinstance(entity_id, EntityId):
        raise InvalidArgumentError(
            "entity_id", f'The entity must be an EntityId, not {entity_id!r}. Pass EntityId("Counter", "key").'
        )
    return entity_id


def checked_entity_id(entity_id: EntityId) -> EntityId:
    """Return the id of an entity to be signalled.

    Raises:
        InvalidArgumentError: It is no `EntityId`, has a forbidden character, or more than 256 characters.
    """
    text = checked_entity(entity_id).instance_id
    if _FORBIDDEN.search(text):
        raise InvalidArgumentError("entity_key", "Entity keys must not contain /, \\, #, ?, or control characters.")
    if _HALF_CHARACTER.search(text):
        raise InvalidArgumentError("entity_key", "Entity keys must not contain lone surrogates.")
    if len(text) > MAX_INSTANCE_ID_LENGTH:
        raise InvalidArgumentError("entity_id", "Entity ids (@name@key) must not exceed 256 characters.")
    return entity_id
