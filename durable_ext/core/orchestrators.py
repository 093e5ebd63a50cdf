"""What core has to know of an orchestrator function and of the hub that it runs on; knows no registry."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from durable_ext.core.versioning import ANY_VERSION, WorkerVersion

if TYPE_CHECKING:
    from durable_ext.core.context import OrchestrationContext
    from durable_ext.core.payloads import PayloadConverter

NameResolver = Callable[[object, str], str]
"""Turns what user code gave instead of a name into one; the second argument is one of the kinds below."""

ResultTypeResolver = Callable[[object, str], Any]
"""Returns the result type that a function (or name) of a kind promises, `None` if it promises none."""

ACTIVITY_KIND: Final = "activity"
ORCHESTRATOR_KIND: Final = "orchestrator"

HTTP_ACTIVITY_NAME: Final = "BuiltIn::HttpActivity"
BUILT_IN_PREFIX: Final = "BuiltIn::"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorDefinition:
    """A registered orchestrator: a generator function, an `async def`, or a plain function of the context.

    `fixes` overrides `ReplayOptions.fixes`; functions registered through the old import names have it off. So do `converter`
    and `resolve_type` the hub's, where they are not `None`: payloads and result types of those functions are as in 1.x.
    """

    name: str
    function: Callable[[OrchestrationContext], Any]
    input_type: Any = None
    fixes: bool | None = None
    converter: PayloadConverter | None = None
    resolve_type: ResultTypeResolver | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """How orchestrations replay on one hub.

    Attributes:
        max_timer: Longest single timer, `None` = any; longer ones hop in steps of `long_timer_step`.
        long_timer_step: Length of a hop; `None` = `max_timer`.
        store_inputs: Recorded TaskScheduled and SubOrchestrationInstanceCreated keep their input.
        max_actions: Most tasks, timers, sub-orchestrations and sent events of one generation.
        deliver_in_order: The store delivers in order, so entity requests need no ordering stamps.
        fixes: Corrections that change a replay (the "R" rows of specs/sdk.md 7); off under the old import names.
        reorder_window: How late an entity request may overtake another; zero = no stamps.
        http_poll_interval: Wait between two polls of `call_http` if the answer names none.
        worker_version: Which versions run here, and the version of children whose call names none.
    """

    max_timer: timedelta | None = None
    long_timer_step: timedelta | None = None
    store_inputs: bool = False
    max_actions: int = 100_000
    deliver_in_order: bool = False
    fixes: bool = True
    reorder_window: timedelta = timedelta(minutes=30)
    http_poll_interval: timedelta = timedelta(seconds=30)
    worker_version: WorkerVersion = ANY_VERSION


def function_name(function: object, kind: str) -> str:
    """Return the name of a plain function: the default `NameResolver`.

    Raises:
        ValueError: It is neither a text nor a named function.
    """
    name = str.__str__(function) if isinstance(function, str) else getattr(function, "__name__", None)
    if not isinstance(name, str) or not name:
        raise ValueError(f"{function!r} is not the name of an {kind} function. Pass its name or the decorated function.")
    return name


def no_result_type(function: object, kind: str) -> Any:
    """Promise no result type: the default `ResultTypeResolver`."""
    return None


def unknown_function_text(name: str, kind: str, known: Collection[str]) -> str:
    """Return the text of specs/execution-semantics.md 3.2 for a function that is not registered.

    `kind` is the word in the text: activity, orchestrator or entity.
    """
    if known:
        names = ", ".join(f"'{other}'" for other in sorted(known))
        info = f"The following are the known {kind} functions: {names}."
    else:
        info = f"No {kind} functions are currently registered!"
    article = "a" if kind[0] not in "aeio" else "an"
    return f"The function '{name}' doesn't exist, is disabled, or is not {article} {kind} function. Additional info: {info}"


def is_registered(name: str, known: Collection[str]) -> bool:
    """Whether a name is among the registered ones; case does not matter."""
    if name in known:
        return True
    folded = name.casefold()
    return any(other.casefold() == folded for other in known)
