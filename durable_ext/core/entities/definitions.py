"""What the engine knows of an entity function."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from durable_ext.core.orchestrators import unknown_function_text
from durable_ext.core.payloads import PayloadConverter


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityDefinition:
    """A registered entity.

    Attributes:
        name: As registered; entity ids find it in any case.
        function: Called with an `EntityContext` once for each operation; may return an awaitable.
        rollback: Whether an operation that raises leaves no trace: state and signals are as before it. `None` = as the
            worker's setting says.
        returns_result: Whether what the function returns is the operation's result when it set none.
        converter: For its state, inputs, results and signals; `None` = the hub's.
        state_type, input_type: Decode state and operation inputs into these when the call names no type.
    """

    name: str
    function: Callable[[Any], Any]
    rollback: bool | None = None
    returns_result: bool = True
    converter: PayloadConverter | None = None
    state_type: Any = None
    input_type: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityOptions:
    """How entities work on one hub.

    Attributes:
        deliver_in_order: The store delivers each message once and in order: no stamps, and no memory of requests but of
            lock requests whose release came while their lock was not held.
        reorder_window: How late a request may overtake another, and how long a sender's stamps are remembered.
        max_batch: Most operations between two commits, `None` = all that wait.
        max_delay: Longest delay of one message, `None` = any; longer ones go in hops of `delay_step`.
        rollback: Whether a failed operation leaves no trace, where the definition does not say.
        default_version: Version of the orchestrations that entities start.
    """

    deliver_in_order: bool = False
    reorder_window: timedelta = timedelta(minutes=30)
    max_batch: int | None = None
    max_delay: timedelta | None = None
    delay_step: timedelta | None = None
    rollback: bool = True
    default_version: str = ""

    @property
    def sorting_window(self) -> timedelta:
        """The window of the message sorter; zero turns it off."""
        return timedelta(0) if self.deliver_in_order else self.reorder_window


def missing_entity(name: str, known: Collection[str]) -> EntityDefinition:
    """Return a definition that fails every operation with the text for a function that is not registered."""

    def refuse(context: object) -> NoReturn:
        raise LookupError(unknown_function_text(name, "entity", known))

    return EntityDefinition(name=name, function=refuse)
