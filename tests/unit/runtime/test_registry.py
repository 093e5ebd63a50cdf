from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from durable_ext.core.orchestrators import OrchestratorDefinition
from durable_ext.errors import ConfigurationError, RegistrationError
from durable_ext.runtime.registry import ActivityDefinition, FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings


def activity(name: str, **more: Any) -> ActivityDefinition:
    return ActivityDefinition(name=name, call=str, is_async=False, **more)


@pytest.mark.parametrize("name", ["SayHello", "sayhello", "SAYHELLO"])
def test_functions_are_found_in_any_case(name: str) -> None:
    registry = FunctionRegistry()
    registry.add_activity(activity("SayHello"))

    found = registry.activity(name)

    assert found is not None
    assert found.name == "SayHello"


def test_the_same_name_twice_is_refused_with_both_spellings() -> None:
    registry = FunctionRegistry()
    registry.add_activity(activity("SayHello"))

    with pytest.raises(RegistrationError, match=r"'sayHello'.*'SayHello'"):
        registry.add_activity(activity("sayHello"))


def test_an_activity_and_an_orchestrator_may_have_the_same_name() -> None:
    registry = FunctionRegistry()
    registry.add_activity(activity("hello"))
    registry.add_orchestrator(OrchestratorDefinition(name="hello", function=lambda context: None))

    assert registry.activity_names == registry.orchestrator_names == ("hello",)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(RegistrationError, match="empty name"):
        FunctionRegistry().add_activity(activity(" "))


def test_an_unknown_name_is_none() -> None:
    registry = FunctionRegistry()

    assert registry.activity("nobody") is registry.orchestrator("nobody") is registry.entity("nobody") is None


def test_an_async_activity_cannot_have_a_process() -> None:
    with pytest.raises(RegistrationError, match="executor='process'"):
        ActivityDefinition(name="a", call=str, is_async=True, executor="process")


def test_a_worker_without_slots_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_concurrent_activities is 0"):
        WorkerSettings(max_concurrent_activities=0)


def test_an_orchestrator_that_both_awaits_and_yields_is_refused() -> None:
    async def both(context: object) -> AsyncIterator[int]:
        yield 1

    with pytest.raises(RegistrationError, match="'both' is an async generator"):
        FunctionRegistry().add_orchestrator(OrchestratorDefinition(name="both", function=both))
