"""Functions as names (specs/sdk.md 2.4, BUG-10, texts M1 and M2)."""

from __future__ import annotations

from typing import Any

import pytest

import durable_ext as df
from durable_ext.errors import FunctionReferenceError
from durable_ext.sdk.discovery import result_type
from durable_ext.sdk.function_names import resolve_function_name

bp = df.Blueprint()


@bp.activity_trigger(input_name="x")
def by_python_name(x: str) -> str:
    return x


@bp.activity_trigger(input_name="x", activity="TriggerName")
def by_trigger_name(x: str) -> int:
    return 1


@bp.function_name("Decorated")
@bp.activity_trigger(input_name="x")
def by_decorator_name(x: str):  # type: ignore[no-untyped-def]
    return x


@bp.orchestration_trigger(context_name="context")
async def orchestrator(context: df.DurableOrchestrationContext) -> dict[str, int]:
    return {}


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (by_python_name, "by_python_name"),
        (by_trigger_name, "TriggerName"),
        (by_decorator_name, "Decorated"),
        ("text", "text"),
    ],
)
def test_a_decorated_activity_stands_for_the_name_it_is_registered_under(function: Any, name: str) -> None:
    assert resolve_function_name(function, "activity") == name


def test_a_decorated_orchestrator_stands_for_its_name() -> None:
    assert resolve_function_name(orchestrator, "orchestrator") == "orchestrator"


def test_a_function_without_decorator_is_refused_with_the_1x_text() -> None:
    with pytest.raises(ValueError, match="received a `Callable` without an associated Azure Functions trigger-type"):
        resolve_function_name(lambda x: x, "activity")


@pytest.mark.parametrize("name", [None, 123])
def test_what_cannot_be_a_name_is_shown(name: Any) -> None:
    with pytest.raises(FunctionReferenceError, match=f"The name of the orchestrator is {name}, but it must be a text"):
        resolve_function_name(name, "orchestrator")


def test_a_function_of_another_kind_is_refused_with_the_1x_text() -> None:
    with pytest.raises(FunctionReferenceError) as refused:
        resolve_function_name(orchestrator, "activity")

    assert str(refused.value) == (
        "Received function with Trigger-type `orchestrationTrigger` but expected `ActivityTrigger`. Ensure your function is "
        "annotated with the `ActivityTrigger` decorator or directly pass in the name of the function as a string."
    )


@pytest.mark.parametrize(
    ("function", "kind", "expected"),
    [
        (by_python_name, "activity", str),
        (by_trigger_name, "activity", int),
        (by_decorator_name, "activity", None),
        (orchestrator, "orchestrator", dict[str, int]),
        ("text", "activity", None),
    ],
)
def test_the_result_type_is_what_the_function_is_annotated_with(function: Any, kind: str, expected: Any) -> None:
    assert result_type(function, kind) == expected
