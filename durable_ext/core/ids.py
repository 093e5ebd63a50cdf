"""Deterministic ids: the same at every replay, and the same as other workers make (specs/sdk.md 4.6)."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Final

from durable_ext.core.messages import ExecutionId
from durable_ext.core.timestamps import Ticks, ticks_to_round_trip_iso

_SDK_NAMESPACE: Final = uuid.UUID("5bf3dc27-d91d-5ea7-9c3e-9f1f2ae7c309")
_ENGINE_NAMESPACE: Final = uuid.UUID("9e952959-5e33-4daf-827f-2fa12937b875")
_FOLLOWERS: Final = 64
_GENERATION_NAMESPACE: Final = uuid.UUID("b4e0c5a4-0f5b-5d2e-9a58-6c0a1d3f7e21")


def deterministic_uuid(instance_id: str, at: datetime, counter: int) -> str:
    """Return what `new_uuid` of the 1.x SDK returns: a lower-case UUID with dashes."""
    return str(uuid.uuid5(_SDK_NAMESPACE, f"{instance_id}_{at.strftime('%Y-%m-%dT%H:%M:%S.%fZ')}_{counter}"))


def deterministic_guid(instance_id: str, at: datetime, counter: int) -> uuid.UUID:
    """Return what `new_guid` of the 1.x SDK returns; not the same as `deterministic_uuid`."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{instance_id}_{at}_{counter}")


def entity_request_id(instance_id: str, at: Ticks, counter: int) -> str:
    """Return the id that the Durable extension gives an entity request (specs/execution-semantics.md 13).

    Its time has seven digits without trailing zeros trimmed, as .NET's round-trip format has them.
    """
    return str(uuid.uuid5(_ENGINE_NAMESPACE, f"{instance_id}_{ticks_to_round_trip_iso(at)}_{counter}"))


def asked_again_id(request_id: str, times: int) -> str:
    """Return the id of an entity request that rewinds have undone so many times; the entity knows the former ones."""
    return str(uuid.uuid5(_ENGINE_NAMESPACE, f"{request_id}_{times}")) if times else request_id


def next_execution_id(execution_id: ExecutionId) -> ExecutionId:
    """Return the id of the generation that continues another one as new: the same if that has to be played again.

    What it has sent already (starts of children, requests to entities) is then a copy, and its receivers drop it.
    """
    return ExecutionId(uuid.uuid5(_GENERATION_NAMESPACE, execution_id).hex)


def is_same_execution(one: str | None, other: str | None, *, if_unknown: bool) -> bool:
    """Whether two execution ids name one generation, whatever the case of their letters.

    Args:
        if_unknown: The answer where one of them, or both, is missing or empty.
    """
    return one.lower() == other.lower() if one and other else if_unknown


def continues(execution_id: ExecutionId | None, earlier: ExecutionId | None) -> bool:
    """Whether a generation is one of the first that followed another by continue-as-new."""
    if not execution_id or not earlier:
        return False
    for _ in range(_FOLLOWERS):
        earlier = next_execution_id(earlier)
        if earlier == execution_id:
            return True
    return False
