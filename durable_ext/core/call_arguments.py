"""What context calls accept: a wrong value is refused where it is passed, not when the engine comes to use it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import EventSent, HistoryEvent, SubOrchestrationInstanceCreated
from durable_ext.core.instance_ids import checked_entity_id, checked_instance_id
from durable_ext.errors import ArgumentTypeError, InvalidArgumentError


def check_text(call: str, argument: str, value: Any, example: str) -> None:
    """Refuse what is no text.

    Raises:
        ArgumentTypeError: It is something else; `example` says what to pass.
    """
    if not isinstance(value, str):
        raise ArgumentTypeError(call, argument, value, example)


def check_entity(call: str, entity: Any) -> None:
    """Refuse what is no `EntityId`.

    Raises:
        ArgumentTypeError: It is something else.
    """
    if not isinstance(entity, EntityId):
        raise ArgumentTypeError(call, "entityId", entity, 'an EntityId, as EntityId("Counter", "key")')


def check_operation(call: str, entity: Any, operation: Any, histories: Sequence[HistoryEvent]) -> None:
    """Refuse an entity that is no `EntityId`, or an operation that is no text.

    Raises:
        ValueError: There is no entity id.
        ArgumentTypeError: See above.
        InvalidArgumentError: The entity's id cannot be used, and is not in `histories`.
    """
    if not entity:
        raise ValueError("entity_id cannot be empty")
    check_entity(call, entity)
    check_text(call, "operationName", operation, "the operation's name")
    _check_entity_ids((entity,), histories)


def checked_entities(call: str, entities: Any, histories: Sequence[HistoryEvent]) -> tuple[EntityId, ...]:
    """Return the entities of an iterable.

    Raises:
        ArgumentTypeError: It is no iterable, or something in it is no `EntityId`.
        InvalidArgumentError: As for `check_operation`.
    """
    wanted = 'a list of EntityId, as [EntityId("Counter", "key")]'
    if not isinstance(entities, Iterable):
        raise ArgumentTypeError(call, "entities", entities, wanted)
    found = tuple(entities)
    for entity in found:
        if not isinstance(entity, EntityId):
            raise ArgumentTypeError(call, "entities", entity, wanted)
    _check_entity_ids(found, histories)
    return found


def check_child_id(instance_id: str, taken: Iterable[str | None], histories: Sequence[HistoryEvent]) -> None:
    """Refuse an id that a sub-orchestration must not or cannot have; `taken` are those of the instance and its parent.

    Raises:
        ValueError: It is taken, or an entity's.
        InvalidArgumentError: It cannot be used, and is not in `histories`.
    """
    if instance_id.casefold() in {each.casefold() for each in taken if each is not None}:
        raise ValueError(
            "The instance ID of a sub-orchestration must be different than the instance ID of a parent orchestration."
        )
    if instance_id.startswith("@"):
        raise ValueError(f"Orchestration instance IDs must not start with '@', which marks entities: '{instance_id}'.")
    try:
        checked_instance_id(instance_id)
    except InvalidArgumentError:
        if not _is_recorded((instance_id,), histories):
            raise


def _check_entity_ids(entities: Sequence[EntityId], histories: Sequence[HistoryEvent]) -> None:
    try:
        for entity in entities:
            checked_entity_id(entity)
    except InvalidArgumentError:
        if not _is_recorded([entity.instance_id for entity in entities], histories):
            raise


def _is_recorded(instance_ids: Sequence[str], histories: Sequence[HistoryEvent]) -> bool:
    """Whether another worker has accepted one of these ids here: what is in history has to replay."""
    return any(
        isinstance(event, (SubOrchestrationInstanceCreated, EventSent)) and event.instance_id in instance_ids
        for event in histories
    )
