"""Which name a function given instead of a name stands for; the `NameResolver` of `core`.

Source: specs/sdk.md 2.4, BUG-10, appendix A (M1, M2).
"""

from __future__ import annotations

from typing import Any, Final, cast

from azure.functions.decorators.function_app import Function, FunctionBuilder

from durable_ext.errors import FunctionReferenceError
from durable_ext.runtime.registry import FunctionKind
from durable_ext.sdk.triggers import ActivityTrigger, EntityTrigger, OrchestrationTrigger

_TRIGGERS: Final[dict[FunctionKind, tuple[type, str]]] = {
    "activity": (ActivityTrigger, "activity"),
    "orchestrator": (OrchestrationTrigger, "orchestration"),
    "entity": (EntityTrigger, "entity_name"),
}
_NO_TRIGGER: Final = (
    "The `call_activity` API received a `Callable` without an associated Azure Functions trigger-type. Please ensure "
    "you're using the Python programming model V2 and that your activity function is annotated with the "
    "`activity_trigger`decorator. Otherwise, provide in the name of the activity as a string."
)


def resolve_function_name(reference: object, kind: str) -> str:
    """Return the name under which a decorated function is registered.

    Args:
        reference: A name, or what a decorator of `DFApp`, `Blueprint` or `azure.functions.FunctionApp` returned.
        kind: `"activity"`, `"orchestrator"` or `"entity"`.

    Raises:
        FunctionReferenceError: It was not decorated, or is of another kind.
    """
    if isinstance(reference, str):
        return reference
    if isinstance(reference, FunctionBuilder):
        function = reference._function
    elif isinstance(reference, Function):
        function = reference
    elif callable(reference):
        raise FunctionReferenceError(_NO_TRIGGER)
    else:
        raise FunctionReferenceError(
            f"The name of the {kind} is {reference!r}, but it must be a text or a function that a decorator has registered."
        )
    trigger = function.get_trigger()
    expected, name_attribute = _TRIGGERS[cast("FunctionKind", kind)]
    if not isinstance(trigger, expected):
        found = "None" if trigger is None else trigger.get_binding_name()
        wanted = expected.__name__
        raise FunctionReferenceError(
            f"Received function with Trigger-type `{found}` but expected `{wanted}`. Ensure your function is annotated with "
            f"the `{wanted}` decorator or directly pass in the name of the function as a string."
        )
    return registered_name(function, getattr(trigger, name_attribute))


def registered_name(function: Any, explicit: str | None) -> str:
    """Return the trigger's own name if it has one, else that of `@function_name`, else the Python name."""
    return explicit or str(function.get_function_name())


def durable_name(function: Function) -> tuple[FunctionKind, str] | None:
    """Return kind and name of an indexed durable function, `None` for one with another trigger."""
    trigger = function.get_trigger()
    for kind, (expected, name_attribute) in _TRIGGERS.items():
        if isinstance(trigger, expected):
            return kind, registered_name(function, getattr(trigger, name_attribute, None))
    return None
