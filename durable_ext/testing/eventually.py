"""Waiting in tests: a condition with a deadline and a message instead of a sleep."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar, Union

T = TypeVar("T")


async def eventually(
    condition: Callable[[], Union[T, Awaitable[Union[T, None]], None]],
    message: str = "the condition did not become true",
    *,
    within: timedelta = timedelta(seconds=10),
    every: timedelta = timedelta(milliseconds=5),
) -> T:
    """Ask `condition` (sync or async) every so often until it returns something true, and return that.

    Raises:
        AssertionError: It was still false at the deadline; the text is `message` and the last value.
    """
    deadline = time.monotonic() + within.total_seconds()
    while True:
        answer = condition()
        value: T | None = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"{message} within {within.total_seconds():g} s; last value: {value!r}")
        await asyncio.sleep(every.total_seconds())
