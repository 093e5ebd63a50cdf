"""Runs user functions that are not durable, and writes the lines that `func start` writes around each call.

Async functions run on the host's loop, sync ones on a bounded number of threads; both in a context of their own, and for no
longer than `functionTimeout`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from durable_ext.core.payloads import PayloadConverter
from durable_ext.errors import BackendUnavailableError, DurableError
from durable_ext.failure import exception_text, has_user_frames, is_refusal, last_user_frame, user_frames
from durable_ext.hosting.bindings import CallPlan, InvocationContext
from durable_ext.runtime.activity_results import EncodedResult, result_text
from durable_ext.runtime.registry import ActivityDefinition
from durable_ext.runtime.thread_crew import ThreadCrew
from durable_ext.runtime.time_limit import TimeLimit

PROGRAMMATIC: Final = "This function was programmatically called via the host APIs."

_TOLD_SECONDS: Final = 60.0
_MOST_TOLD: Final = 1_000
_EXITS: Final = (SystemExit, KeyboardInterrupt, GeneratorExit)  # would end the host or its loop

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
    """Calls functions by their plan; used from one event loop.

    `make_client` gets plan and invocation id. `threads` run sync functions. `limit` ends a call, `None` = never.
    `client_ready` is awaited before a client is made: whoever calls while the hub opens is not turned away.
    """

    def __init__(
        self,
        make_client: ClientFactory,
        directory: Path,
        *,
        threads: int = 32,
        limit: timedelta | None = None,
        client_ready: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._make_client, self._directory = make_client, str(directory)
        self._client_ready = client_ready
        self._threads, self._limit = ThreadCrew("function", threads), TimeLimit(limit)
        self._running: list[str] = []
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the functions of the calls that run."""
        return tuple(self._running)

    async def wait_until_idle(self) -> None:
        """Return when no call runs."""
        await self._idle.wait()

    def close(self) -> None:
        """Let the threads end; calls that hang on one are left behind."""
        self._threads.close()
        self._limit.close()

    async def call(
        self,
        plan: CallPlan,
        trigger_value: Any,
        *,
        reason: str = PROGRAMMATIC,
        outs: Mapping[str, Any] | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> Any:
        """Run a function and return what it returned; its exceptions are logged and raised on.

        Raises:
            FunctionTimeoutError: It ran longer than the limit.
            FunctionExitError: It raised what would end the host, its event loop or the caller's task.
        """
        context = InvocationContext(plan.name, self._directory, trace)
        arguments: dict[str, Any] = {plan.trigger_name: trigger_value, **(outs or {})}
        if plan.takes_context:
            arguments["context"] = context
        self._running.append(plan.name)
        self._idle.clear()
        try:
            with CallLog(plan.name, reason, context.invocation_id):
                if plan.client is not None:
                    if self._client_ready is not None:
                        await self._client_ready()
                    arguments[str(plan.client["name"])] = self._make_client(plan, context.invocation_id)
                if plan.is_async:
                    return await self._await(plan.name, plan.call(**arguments))
                call = functools.partial(_call, plan.name, plan.call, arguments)
                result = await self._limit.on_thread(self._threads, plan.name, call)
                return await self._await(plan.name, result) if inspect.isawaitable(result) else result
        finally:
            self._running.remove(plan.name)
            if not self._running:
                self._idle.set()

    async def _await(self, name: str, result: Awaitable[Any]) -> Any:
        value, error = await self._limit.outcome(name, result)
        if isinstance(error, (*_EXITS, asyncio.CancelledError)):
            raise FunctionExitError(name, error) from error
        if error is not None:
            raise error
        return value

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


class ToldFailures:
    """Remembers which failures of a function were logged with their traceback a moment ago: retries add a line each."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._told: dict[object, float] = {}

    def is_new(self, error: BaseException) -> bool:
        """Whether no failure of this kind at this place was new within a minute."""
        frames = user_frames(error)
        place = (type(error), tuple((frame.filename, frame.lineno) for frame in frames))
        now = self._monotonic()
        told = self._told.get(place)
        if told is not None and now - told < _TOLD_SECONDS:
            return False
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told[place] = now
        return True


class CallLog:
    """Writes `Executing ...` and `Executed ...` around one call; an exception is logged with the app's own frames.

    With `told` one that is not new is one line, at WARNING: its traceback is in the log, and in the history of the instance.
    At DEBUG every one has its traceback.
    """

    __slots__ = ("_id", "_log", "_name", "_reason", "_started", "_told")

    def __init__(
        self, name: str, reason: str, invocation_id: str | None = None, *, told: ToldFailures | None = None
    ) -> None:
        self._name, self._reason, self._id = name, reason, invocation_id or str(uuid.uuid4())
        self._told = told
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
        if isinstance(error, asyncio.CancelledError):  # by the engine or the host, which have said why
            self._log.warning("Executed 'Functions.%s' (Cancelled, Id=%s, Duration=%dms)", self._name, self._id, elapsed)
            return
        if self._told is not None and not self._told.is_new(error) and not self._log.isEnabledFor(logging.DEBUG):
            line = "Executed 'Functions.%s' (Failed, Id=%s, Duration=%dms) %s"
            self._log.warning(line, self._name, self._id, elapsed, _one_line(error))
            return
        text = user_traceback(error)
        self._log.error("Executed 'Functions.%s' (Failed, Id=%s, Duration=%dms)\n%s", self._name, self._id, elapsed, text)


def _one_line(error: BaseException) -> str:
    """Return type and text of an exception, and the last line of the app's code on its stack."""
    text = f"{type(error).__name__}: {' '.join(exception_text(error).split())}"
    last = last_user_frame(error)
    return text if last is None else f"{text}, at {os.path.basename(last.filename)}:{last.lineno} in {last.name}"


def user_traceback(error: BaseException) -> str:
    """Return the traceback of an exception and its causes, each with its `user_frames`.

    A refusal without lines of the user ends the chain: what it caused quotes it. So does whatever made a store unavailable.
    Without frames only the error is left.
    """
    shown = traceback.TracebackException.from_exception(error)
    link: BaseException | None = error
    part: traceback.TracebackException | None = shown
    while link is not None and part is not None:
        part.stack = user_frames(link)
        explicit = part.__cause__ is not None
        cause = link.__cause__ if explicit else link.__context__
        is_quoted = isinstance(link, BackendUnavailableError) or (
            is_refusal(link) and cause is not None and is_refusal(cause)
        )
        if cause is not None and is_quoted and not has_user_frames(cause):
            part.__cause__ = part.__context__ = None
            break
        link, part = (link.__cause__, part.__cause__) if explicit else (link.__context__, part.__context__)
    is_bare = not shown.stack and shown.__cause__ is None and shown.__context__ is None
    return "".join(shown.format_exception_only() if is_bare else shown.format()).rstrip()


def with_call_log(
    activity: ActivityDefinition, converter: PayloadConverter, monotonic: Callable[[], float] = time.monotonic
) -> Callable[[Any], Any]:
    """Return the activity's call with `Executing` and `Executed` lines around it.

    What it returns is turned into text in between: an activity whose result cannot be stored has failed.
    """
    name, call, reason, told = activity.name, activity.call, "(null)", ToldFailures(monotonic)
    if activity.is_async:

        @functools.wraps(call)
        async def logged_async(value: Any) -> EncodedResult:
            with CallLog(name, reason, told=told):
                result: Awaitable[Any] = call(value)
                return EncodedResult(result_text(activity, await result, converter))

        return logged_async

    @functools.wraps(call)
    def logged(value: Any) -> EncodedResult:
        with CallLog(name, reason, told=told):
            return EncodedResult(result_text(activity, call(value), converter))

    return logged
