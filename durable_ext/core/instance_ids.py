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
_NO_XML: Final = re.compile("[\ufffe\uffff]")
_SHOWN_CHARACTERS: Final = 200


def check_whole_characters(argument: str, subject: str, text: str) -> None:
    """Refuse a text with half of a character beyond U+FFFF; `subject` is what the text is, as "the instance id".

    Raises:
        InvalidArgumentError: It has one. Keys, names and URLs are UTF-8, so nothing can have this name.
    """
    if not text.isascii() and _HALF_CHARACTER.search(text):
        raise InvalidArgumentError(
            argument,
            f"{subject} {_shown(text)} must not contain lone surrogates: UTF-8 cannot hold half a character. Pass whole "
            f"characters, from a text that was not cut within one and not decoded with errors='surrogateescape'.",
        )


def checked_instance_id(instance_id: str) -> InstanceId:
    """Return the id of an orchestration to be started.

    Raises:
        InvalidArgumentError: It is no text, blank, longer than 256 characters, begins with `@`, or has a character that is
            forbidden. Lengths are counted in UTF-16 code units, as in .NET.
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
    _check_storable("instance_id", "The instance id", instance_id)
    if _length(instance_id) > MAX_INSTANCE_ID_LENGTH:
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
    _check_storable("entity_id", "The entity id", text)
    if _length(text) > MAX_INSTANCE_ID_LENGTH:
        raise InvalidArgumentError("entity_id", "Entity ids (@name@key) must not exceed 256 characters.")
    return entity_id


def existing_entity_id(entity_id: EntityId) -> EntityId:
    """Return the id of an entity that is asked for; other workers may have made ids that this client would not.

    Raises:
        InvalidArgumentError: It is no `EntityId`, or one that nothing can have.
    """
    check_whole_characters("entity_id", "The entity id", checked_entity(entity_id).instance_id)
    return entity_id


def _check_storable(argument: str, subject: str, text: str) -> None:
    check_whole_characters(argument, subject, text)
    if not text.isascii() and _NO_XML.search(text):
        raise InvalidArgumentError(
            argument,
            f"{subject} {_shown(text)} must not contain U+FFFE or U+FFFF: XML, in which Azure Storage lists blobs, cannot "
            f"hold them. They are no characters; leave them out.",
        )


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…")
