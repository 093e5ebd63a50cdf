"""Waiting in tests: a condition with a deadline and a message instead of a sleep."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar, Union, overload

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[Union[T, None]]],
    message: str = ...,
    *,
    within: timedelta = ...,
    every: timedelta = ...,
) -> T: ...


@overload
async def eventually(
    condition: Callable[[], Union[T, None]], message: str = ..., *, within: timedelta = ..., every: timedelta = ...
) -> T: ...


async def eventually(
    condition: Callable[[], Any],
    message: str = "the condition did not become true",
    *,
    within: timedelta = timedelta(seconds=10),
    every: timedelta = timedelta(milliseconds=5),
) -> Any:
    """Ask `condition` (sync or async) every so often until it returns something true, and return that.

    Raises:
        AssertionError: It was still false at the deadline; the text is `message` and the last value.
    """
    deadline = time.monotonic() + within.total_seconds()
    while True:
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"{message} within {within.total_seconds():g} s; last value: {value!r}")
        await asyncio.sleep(every.total_seconds())
