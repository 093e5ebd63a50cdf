"""The lines around the call of an activity."""

from __future__ import annotations

import inspect
import logging
from datetime import timedelta
from typing import Any

import pytest

from durable_ext.codec.serialization import DataConverter
from durable_ext.hosting.local.invocations import with_call_log
from durable_ext.runtime.registry import ActivityDefinition
from durable_ext.testing.clock import ManualClock


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


def shaky(value: Any) -> Any:
    if value == "other":
        raise KeyError("elsewhere")
    raise OSError(f"no answer, {value}")


async def test_a_failure_at_the_same_place_is_one_line_after_its_first_traceback(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "Function")
    clock = ManualClock()
    activity = ActivityDefinition(name="shaky", call=shaky, is_async=False)
    logged = with_call_log(activity, DataConverter(), clock.monotonic)

    for value in ("first", "second", "other", "third"):
        with pytest.raises((OSError, KeyError)):
            logged(value)
    await clock.advance(timedelta(minutes=2))
    with pytest.raises(OSError, match="fourth"):
        logged("fourth")

    failed = [record for record in caplog.records if "(Failed" in record.getMessage()]
    assert ["Traceback" in record.getMessage() for record in failed] == [True, False, True, False, True]
    assert [record.levelname for record in failed] == ["ERROR", "WARNING", "ERROR", "WARNING", "ERROR"]
    line = shaky.__code__.co_firstlineno + 3
    assert failed[1].getMessage().endswith(f"OSError: no answer, second, at test_call_log.py:{line} in shaky")


async def test_whoever_debugs_sees_every_traceback(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "Function")
    logged = with_call_log(ActivityDefinition(name="shaky", call=shaky, is_async=False), DataConverter())

    for value in ("first", "second"):
        with pytest.raises(OSError, match=value):
            logged(value)

    assert sum("Traceback" in message for message in caplog.messages) == 2


async def test_an_activity_of_the_old_names_fails_with_the_text_of_1x() -> None:
    with pytest.raises(ValueError, match=r"^activity trigger output must be json serializable \("):
        await call(weird, keeps_1x=True)
