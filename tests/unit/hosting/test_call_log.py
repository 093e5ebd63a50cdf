"""The lines around the call of an activity."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import pytest

from durable_ext.codec.serialization import DataConverter
from durable_ext.hosting.local.invocations import with_call_log
from durable_ext.runtime.registry import ActivityDefinition


def weird(value: Any) -> Any:
    return {1}


async def weird_too(value: Any) -> Any:
    return [object()]


async def call(function: Any, *, keeps_1x: bool = False) -> Any:
    activity = ActivityDefinition(
        name=function.__name__, call=function, is_async=inspect.iscoroutinefunction(function), keeps_1x=keeps_1x
    )
    result = with_call_log(activity, DataConverter())("input")
    return await result if activity.is_async else result


@pytest.mark.parametrize(("function", "returned"), [(weird, "a set"), (weird_too, "a list")])
async def test_an_activity_whose_result_json_cannot_hold_has_failed(
    caplog: pytest.LogCaptureFixture, function: Any, returned: str
) -> None:
    caplog.set_level(logging.INFO, "Function")

    with pytest.raises(TypeError, match=f"activity '{function.__name__}' is {returned}, which JSON cannot hold"):
        await call(function)

    assert caplog.messages[0].startswith(f"Executing 'Functions.{function.__name__}'")
    assert caplog.messages[1].startswith(f"Executed 'Functions.{function.__name__}' (Failed")
    assert "which JSON cannot hold" in caplog.messages[1]
    assert "Traceback" not in caplog.messages[1]
    assert len(caplog.messages[1].splitlines()) == 2


async def test_an_activity_of_the_old_names_fails_with_the_text_of_1x() -> None:
    with pytest.raises(ValueError, match=r"^activity trigger output must be json serializable \("):
        await call(weird, keeps_1x=True)
