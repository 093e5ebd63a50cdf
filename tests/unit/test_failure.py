"""What is recorded of exceptions, however odd their classes are."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from durable_ext.codec.serialization import DataConverter, open_envelope
from durable_ext.core.instance_ids import checked_instance_id
from durable_ext.errors import DurableError
from durable_ext.failure import FailureDetails, exception_text, failure_from_exception, user_frames


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def _messages(failure: FailureDetails | None) -> list[str]:
    found = []
    while failure is not None:
        found.append(failure.error_message)
        failure = failure.inner_failure
    return found


def test_causes_are_recorded_from_the_outside_in() -> None:
    error = ValueError("outer")
    error.__cause__ = KeyError("inner")

    assert _messages(failure_from_exception(error)) == ["outer", "'inner'"]


def test_an_exception_that_cannot_make_its_text_is_recorded_by_its_class() -> None:
    assert "Mute" in exception_text(Mute())
    assert "Mute" in failure_from_exception(Mute()).error_message


def test_a_circle_of_causes_ends_where_it_begins() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first

    assert _messages(failure_from_exception(first)) == ["first", "second"]


def test_a_long_chain_of_causes_is_cut() -> None:
    error: Exception = ValueError("0")
    for number in range(1, 5000):
        link = ValueError(str(number))
        link.__cause__ = error
        error = link

    assert _messages(failure_from_exception(error)) == [str(number) for number in range(4999, 4966, -1)]


def test_a_failure_is_caused_by_its_own_class_and_those_of_its_causes() -> None:
    error = ValueError("outer")
    error.__cause__ = KeyError("inner")
    failure = failure_from_exception(error)

    assert failure.is_caused_by(ValueError)
    assert failure.is_caused_by("KeyError")
    assert not failure.is_caused_by(TypeError)
    assert failure.message == "outer"


def _read_a_payload() -> None:
    open_envelope({"__class__": "No", "__module__": "no.such.module", "__data__": None})


def _ask_for_a_bad_id() -> None:
    checked_instance_id("@x")


def _stack_of(call: Callable[[], object]) -> str:
    with pytest.raises((DurableError, TypeError, ValueError)) as caught:
        call()
    return failure_from_exception(caught.value).stack_trace or ""


def test_the_stack_of_a_refusal_ends_in_the_users_code() -> None:
    stack = _stack_of(_ask_for_a_bad_id)

    assert 'checked_instance_id("@x")' in stack
    assert os.path.join("durable_ext", "client") not in stack


def _loop() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


@pytest.mark.parametrize("value", [{1}, object(), _loop()], ids=["set", "object", "endless"])
def test_the_stack_of_a_value_that_json_cannot_hold_ends_where_it_was_passed(value: object) -> None:
    def pass_it() -> None:
        DataConverter().to_text(value)

    stack = _stack_of(pass_it)

    assert stack.rstrip().splitlines()[-1].strip().strip("^~ ") in ("", "DataConverter().to_text(value)")
    assert "serialization.py" not in stack
    assert "encoder.py" not in stack


def test_what_python_runs_before_the_users_code_is_no_part_of_it() -> None:
    def breaks() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken") as caught, ThreadPoolExecutor(1) as pool:
        pool.submit(breaks).result()

    names = [frame.name for frame in user_frames(caught.value)]
    assert names[-1] == "breaks"
    assert "run" in names  # what Python runs between two frames of the user's stays
    assert names[0] == "test_what_python_runs_before_the_users_code_is_no_part_of_it"


async def test_an_error_out_of_a_task_begins_in_the_users_code() -> None:
    async def breaks() -> None:
        raise ValueError("broken")

    error = await asyncio.gather(asyncio.to_thread(functools.partial(asyncio.run, breaks())), return_exceptions=True)

    assert isinstance(error[0], ValueError)
    assert [frame.name for frame in user_frames(error[0])] == ["breaks"]


def test_other_errors_keep_their_inner_frames() -> None:
    stack = _stack_of(_read_a_payload)

    assert "open_envelope({" in stack
    assert "serialization.py" in stack


def test_a_recorded_name_with_its_module_counts_by_its_last_part() -> None:
    failure = FailureDetails(error_type="System.InvalidOperationException", error_message="x")

    assert failure.is_caused_by("InvalidOperationException")
    assert failure.is_caused_by("System.InvalidOperationException")
