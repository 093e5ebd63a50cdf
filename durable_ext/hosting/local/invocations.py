"""Runs user functions that are not durable, and writes the lines that `func start` writes around each call.

Async functions run on the host's loop, sync ones in a bounded pool; both in a context of their own.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
import os
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import durable_ext
from durable_ext.core.payloads import PayloadConverter
from durable_ext.errors import DurableError
from durable_ext.hosting.bindings import CallPlan, InvocationContext
from durable_ext.runtime.activity_results import EncodedResult, result_text
from durable_ext.runtime.registry import ActivityDefinition

_PACKAGE: Final = str(Path(durable_ext.__file__).parent)
_STANDARD_LIBRARY: Final = str(Path(os.__file__).parent)
PROGRAMMATIC: Final = "This function was programmatically called via the host APIs."

_EXITS: Final = (SystemExit, KeyboardInterrupt, GeneratorExit)

ClientFactory = Callable[[CallPlan, str], Any]


class FunctionExitError(DurableError, RuntimeError):
    """A function raised what would end the host or its event loop; only the call ends.

    Attributes:
        function_name: The function.
    """

    def __init__(self, function_name: str, error: BaseException) -> None:
        self.function_name = function_name
        super().__init__(
            f"Function '{function_name}' raised {type(error).__name__}. Return, or raise an ordinary exception: a function "
            f"cannot end the host."
        )


class Invoker:
    """Calls functions by their plan. `pool` runs sync functions; `make_client` gets plan and invocation id."""

    def __init__(self, pool: ThreadPoolExecutor, make_client: ClientFactory, directory: Path) -> None:
        self._pool, self._make_client, self._directory = pool, make_client, str(directory)
        self._running, self._idle = 0, asyncio.Event()
        self._idle.set()

    async def wait_until_idle(self) -> None:
        """Return when no call runs."""
        await self._idle.wait()

    async def call(
        self,
        plan: CallPlan,
        trigger_value: Any,
        *,
        reason: str = PROGRAMMATIC,
        outs: Mapping[str, Any] | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> Any:
        """Run a function and return what it returned; its exceptions are logged and raised on."""
        context = InvocationContext(plan.name, self._directory, trace)
        arguments: dict[str, Any] = {plan.trigger_name: trigger_value, **(outs or {})}
        if plan.takes_context:
            arguments["context"] = context
        self._running += 1
        self._idle.clear()
        try:
            with CallLog(plan.name, reason, context.invocation_id):
                if plan.client is not None:
                    arguments[str(plan.client["name"])] = self._make_client(plan, context.invocation_id)
                if plan.is_async:
                    return await _await(plan.name, plan.call(**arguments))
                run = contextvars.copy_context().run
                result = await asyncio.get_running_loop().run_in_executor(
                    self._pool, lambda: run(_call, plan.name, plan.call, arguments)
                )
                return await _await(plan.name, result) if inspect.isawaitable(result) else result
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    @staticmethod
    def report(name: str, problem: str) -> None:
        """Log what is wrong with the outcome of a call."""
        logging.getLogger(f"Function.{name}").error(problem)


def _call(name: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call on a thread; a future would hand on `SystemExit` to the loop, and not take a `StopIteration` at all."""
    try:
        return function(**arguments)
    except (*_EXITS, StopIteration, asyncio.CancelledError) as error:
        raise FunctionExitError(name, error) from error


async def _await(name: str, result: Awaitable[Any]) -> Any:
    try:
        return await result
    except _EXITS as error:
        raise FunctionExitError(name, error) from error


class CallLog:
    """Writes `Executing ...` and `Executed ...` around one call; an exception is logged with the app's own frames."""

    __slots__ = ("_id", "_log", "_name", "_reason", "_started")

    def __init__(self, name: str, reason: str, invocation_id: str | None = None) -> None:
        self._name, self._reason, self._id = name, reason, invocation_id or str(uuid.uuid4())
        self._log = logging.getLogger(f"Function.{name}")
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.monotonic()
        self._log.info("Executing 'Functions.%s' (Reason='%s', Id=%s)", self._name, self._reason, self._id)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        elapsed = int((time.monotonic() - self._started) * 1000)
        if error is None:
            self._log.info("Executed 'Functions.%s' (Succeeded, Id=%s, Duration=%dms)", self._name, self._id, elapsed)
            return
        text = "cancelled" if isinstance(error, asyncio.CancelledError) else user_traceback(error)
        self._log.error("Executed 'Functions.%s' (Failed, Id=%s, Duration=%dms)\n%s", self._name, self._id, elapsed, text)


def user_traceback(error: BaseException) -> str:
    """Return the traceback of an exception without the frames of this package that lead to the app's code."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).rstrip()


def _is_ours(filename: str) -> bool:
    return filename.startswith((_PACKAGE, _STANDARD_LIBRARY))


def with_call_log(activity: ActivityDefinition, converter: PayloadConverter) -> Callable[[Any], Any]:
    """Return the activity's call with `Executing` and `Executed` lines around it.

    What it returns is turned into text in between: an activity whose result cannot be stored has failed.
    """
    name, call, reason = activity.name, activity.call, "(null)"
    if activity.is_async:

        @functools.wraps(call)
        async def logged_async(value: Any) -> EncodedResult:
            with CallLog(name, reason):
                result: Awaitable[Any] = call(value)
                return EncodedResult(result_text(activity, await result, converter))

        return logged_async

    @functools.wraps(call)
    def logged(value: Any) -> EncodedResult:
        with CallLog(name, reason):
            return EncodedResult(result_text(activity, call(value), converter))

    return logged
