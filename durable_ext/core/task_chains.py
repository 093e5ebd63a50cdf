"""Tasks that are chains of other tasks: retries, timers longer than the hub's, HTTP polling.

Their links take the next id at the moment the event before them is processed (specs/sdk.md 4.3, 4.8, 4.9).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from durable_ext.core.http_call import DurableHttpRequest, retry_after_ticks
from durable_ext.core.orchestrators import HTTP_ACTIVITY_NAME
from durable_ext.core.retry import RetryOptions, after_failure
from durable_ext.core.tasks import ActivityTask, SubOrchestrationTask, Task, TaskState, TimerTask
from durable_ext.core.timestamps import Ticks, reachable, ticks_add
from durable_ext.errors import TaskFailedError

if TYPE_CHECKING:
    from durable_ext.core.replay import Replay

T = TypeVar("T")
_RUNNING: Final = TaskState.RUNNING


class RetryableTask(Task[T]):
    """A call that is tried again when it fails: attempt, timer, attempt, … (specs/sdk.md 4.8).

    Attributes:
        attempt: The attempt that runs or ran last.
        retry_options: As given.
        num_attempts: Attempts opened so far.
    """

    __slots__ = ("_error", "_first_at", "_replay", "_timer", "_try_again", "attempt", "num_attempts", "retry_options")

    def __init__(self, attempt: ActivityTask[T] | SubOrchestrationTask[T], retry_options: RetryOptions) -> None:
        super().__init__()
        self.attempt = attempt
        self.retry_options = retry_options
        self.num_attempts = 1
        self._timer: TimerTask | None = None
        self._try_again = False
        self._error: BaseException | None = None
        self._replay: Replay | None = None
        self._first_at = Ticks(0)

    def open(self, replay: Replay) -> None:
        if not self.is_scheduled:
            self.is_scheduled = True
            self._replay = replay
            self._first_at = replay.now
            self._try(self.attempt, replay)

    def _try(self, attempt: ActivityTask[T] | SubOrchestrationTask[T], replay: Replay) -> None:
        self.attempt = attempt
        attempt._parents = [self]
        attempt.open(replay)

    def child_completed(self, child: Task[Any]) -> None:
        """Go on with the next link, or end."""
        replay = self._replay
        assert replay is not None  # children exist only after `open`
        if child is self._timer:
            if self._try_again:
                self.num_attempts += 1
                self._try(self.attempt.again(), replay)
            else:
                assert self._error is not None  # the timer follows a failure
                self.fail(self._error)
        elif child.state is TaskState.FAILED:
            self._attempt_failed(child.result, replay)
        else:
            self.succeed(child.result)

    def _attempt_failed(self, error: BaseException, replay: Replay) -> None:
        failure = error.failure if isinstance(error, TaskFailedError) else None
        step = after_failure(
            self.retry_options,
            attempt=self.num_attempts,
            first_attempt_at=self._first_at,
            now=replay.now,
            non_retriable=failure is not None and failure.is_non_retriable,
        )
        self._error, self._try_again = error, step.try_again
        if step.fire_at is None:
            self.fail(error)
            return
        self._timer = TimerTask(step.fire_at)
        self._timer._parents = [self]
        self._timer.open(replay)


class LongTimer(Task[Any]):
    """A timer longer than the hub's longest: hops until the time is reached (specs/sdk.md 4.9).

    `value` is what it ends with: `None`, or 1.x's `[None]`.
    """

    __slots__ = ("_cancelled", "_hop", "_longest", "_reaches_hops", "_replay", "_step", "_value", "fire_at")

    def __init__(
        self, fire_at: Ticks, now: Ticks, *, longest: timedelta, step: timedelta, value: Any, cancels_hops: bool
    ) -> None:
        super().__init__()
        self.fire_at = fire_at
        self._longest, self._step, self._value, self._reaches_hops = longest, step, value, cancels_hops
        self._cancelled = False
        self._replay: Replay | None = None
        self._hop = self._next_hop(now)

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def is_canceled(self) -> bool:
        """Return the same as `is_cancelled`, by its 1.x name."""
        return self._cancelled

    @property
    def first_hop(self) -> TimerTask:
        """The hop that is opened first; the current one once it was opened."""
        return self._hop

    def cancel(self) -> None:
        """Stop waiting for it; its current hop no longer keeps the orchestration open.

        Raises:
            ValueError: It has fired already.
        """
        if self.state is not _RUNNING:
            raise ValueError("Cannot cancel a completed task.")
        self._cancelled = True
        # compat: 1.x flags a timer that is never sent, so its hops go on (specs/sdk.md 7, row 15).
        if self._reaches_hops:
            self._hop.cancel()

    def _next_hop(self, now: Ticks) -> TimerTask:
        in_reach = self.fire_at <= ticks_add(now, self._longest)
        hop = TimerTask(self.fire_at if in_reach else ticks_add(now, self._step))
        hop._parents = [self]
        return hop

    def open(self, replay: Replay) -> None:
        if not self.is_scheduled:
            self.is_scheduled = True
            self._replay = replay
            self._hop.open(replay)

    def child_completed(self, child: Task[Any]) -> None:
        """Hop on, or end if the time is reached."""
        replay = self._replay
        assert replay is not None  # hops are opened by `open`
        if replay.now >= self.fire_at:
            self.succeed(self._value)
            return
        self._hop = self._next_hop(replay.now)
        if self._cancelled and self._reaches_hops:
            self._hop.cancel()
        self._hop.open(replay)
        replay.hopped(self._hop)


class HttpPollTask(Task[Any]):
    """`call_http` with polling: asks the `Location` of a 202 again until it answers otherwise (execution-semantics 11.4)."""

    __slots__ = ("_call", "_default_wait", "_replay", "_timer", "request")

    def __init__(
        self,
        request: DurableHttpRequest,
        call: Callable[[DurableHttpRequest], ActivityTask[Any]],
        default_wait: timedelta,
    ) -> None:
        super().__init__()
        self.request = request
        self._call = call
        self._default_wait = default_wait
        self._timer: TimerTask | None = None
        self._replay: Replay | None = None

    def open(self, replay: Replay) -> None:
        if not self.is_scheduled:
            self.is_scheduled = True
            self._replay = replay
            self._ask(replay)

    def _ask(self, replay: Replay) -> None:
        leg = self._call(self.request)
        leg._parents = [self]
        leg.open(replay)

    def child_completed(self, child: Task[Any]) -> None:
        """Poll after the timer, wait after a 202, end otherwise."""
        replay = self._replay
        assert replay is not None  # legs are opened by `open`
        if child is self._timer:
            self._ask(replay)
        elif child.state is TaskState.FAILED:
            self.fail(child.result)
        elif isinstance(child.result, dict) and child.result.get("statusCode") == 202:
            self._wait(child.result, replay)
        else:
            self.succeed(child.result)

    def _wait(self, answer: dict[str, Any], replay: Replay) -> None:
        headers = {str(name).lower(): value for name, value in (answer.get("headers") or {}).items()}
        try:
            self.request = self.request.polling(headers.get("location"))
            wait = retry_after_ticks(headers.get("retry-after"), replay.now)
            due = ticks_add(replay.now, self._default_wait) if wait is None else reachable(replay.now + wait)
        except ValueError as error:
            self.fail(error)
            return
        longest = replay.options.max_timer
        self._timer = TimerTask(due if longest is None else min(due, ticks_add(replay.now, longest)))
        self._timer._parents = [self]
        self._timer.open(replay)


def http_activity(text: str) -> ActivityTask[Any]:
    """Return the task of one HTTP request whose JSON text is given."""
    return ActivityTask(HTTP_ACTIVITY_NAME, None, text)
