"""What the engine knows of an entity function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityDefinition:
    """A registered entity.

    Attributes:
        name: As registered; entity ids find it in any case.
        function: Called with an `EntityContext` once for each operation; may return an awaitable.
        rollback: Whether an operation that raises leaves no trace: state and signals are as before it.
        returns_result: Whether what the function returns is the operation's result when it set none.
        state_type, input_type: Decode state and operation inputs into these when the call names no type.
    """

    name: str
    function: Callable[[Any], Any]
    rollback: bool = True
    returns_result: bool = True
    state_type: Any = None
    input_type: Any = None
