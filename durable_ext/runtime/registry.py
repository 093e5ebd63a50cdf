"""Function names and what they stand for; knows no decorators and no files."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from durable_ext.core.misuse import async_generator
from durable_ext.core.payloads import PayloadConverter
from durable_ext.errors import RegistrationError

if TYPE_CHECKING:
    from durable_ext.core.entities.definitions import EntityDefinition
    from durable_ext.core.orchestrators import OrchestratorDefinition

ActivityExecutor = Literal["auto", "thread", "process"]
FunctionKind = Literal["orchestrator", "activity", "entity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityDefinition:
    """A registered activity.

    Attributes:
        name: As registered; looked up in any case.
        call: Takes the decoded input, returns the value or, if `is_async`, an awaitable of it.
        is_async: Runs on the event loop; others run on a thread or, with `executor="process"`, in a process.
        input_type: The input is decoded into this; `None` = plain JSON values.
        executor: `"process"` needs a `call` that can be pickled.
        keeps_1x: Registered under the old import names: failures have the texts of 1.x.
        converter: For its input and result; `None` = the hub's.
    """

    name: str
    call: Callable[[Any], Any]
    is_async: bool
    input_type: Any = None
    executor: ActivityExecutor = "auto"
    keeps_1x: bool = False
    converter: PayloadConverter | None = None

    def __post_init__(self) -> None:
        if self.is_async and self.executor != "auto":
            raise RegistrationError(
                f"Activity '{self.name}' is 'async def' and asks for executor='{self.executor}'. Async activities run on "
                f"the event loop; make it a plain function or drop the executor."
            )


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_T = TypeVar("_T", bound=_Named)


class FunctionRegistry:
    """Orchestrators, activities and entities by name, in any case. Filled before a worker starts, read afterwards."""

    def __init__(self) -> None:
        self._orchestrators: dict[str, OrchestratorDefinition] = {}
        self._activities: dict[str, ActivityDefinition] = {}
        self._entities: dict[str, EntityDefinition] = {}
        self._orchestrator_names: tuple[str, ...] = ()  # asked for at each call of an activity
        self._activity_names: tuple[str, ...] = ()
        self._entity_names: tuple[str, ...] = ()
        self._left: set[tuple[FunctionKind, str]] = set()

    def add_orchestrator(self, definition: OrchestratorDefinition) -> None:
        """Register an orchestrator.

        Raises:
            RegistrationError: The name is empty or taken by another orchestrator, or the function is an async generator.
        """
        if inspect.isasyncgenfunction(inspect.unwrap(definition.function)):
            raise RegistrationError(str(async_generator(definition.name)))
        self._orchestrator_names += (_add(self._orchestrators, definition, "orchestrator"),)

    def add_activity(self, definition: ActivityDefinition) -> None:
        """Register an activity; errors as `add_orchestrator`."""
        self._activity_names += (_add(self._activities, definition, "activity"),)

    def add_entity(self, definition: EntityDefinition) -> None:
        """Register an entity; errors as `add_orchestrator`."""
        self._entity_names += (_add(self._entities, definition, "entity"),)

    def leave_to_others(self, kind: FunctionKind, name: str) -> None:
        """A function of this app that this worker does not serve: what waits for it is left to another worker."""
        self._left.add((kind, name.lower()))

    def is_left(self, kind: FunctionKind, name: str) -> bool:
        """Whether what needs this function is left to another worker."""
        return bool(self._left) and (kind, name.lower()) in self._left

    def orchestrator(self, name: str) -> OrchestratorDefinition | None:
        """Return the orchestrator of that name, `None` if there is none."""
        return self._orchestrators.get(name) or self._orchestrators.get(name.lower())

    def activity(self, name: str) -> ActivityDefinition | None:
        """Return the activity of that name, `None` if there is none."""
        return self._activities.get(name) or self._activities.get(name.lower())

    def entity(self, name: str) -> EntityDefinition | None:
        """Return the entity of that name, `None` if there is none."""
        return self._entities.get(name) or self._entities.get(name.lower())

    @property
    def orchestrator_names(self) -> Sequence[str]:
        """Names as registered, in order."""
        return self._orchestrator_names

    @property
    def activity_names(self) -> Sequence[str]:
        """Names as registered, in order."""
        return self._activity_names

    @property
    def entity_names(self) -> Sequence[str]:
        """Names as registered, in order."""
        return self._entity_names


def _add(known: dict[str, _T], definition: _T, kind: str) -> str:
    key = definition.name.lower()
    if not definition.name.strip():
        raise RegistrationError(f"An {kind} has an empty name. Give it one.")
    if key in known:
        raise RegistrationError(
            f"Two functions are registered as {kind} '{definition.name}' (the other as '{known[key].name}'; case does not "
            f"count). Rename one of them."
        )
    known[key] = definition
    return definition.name
