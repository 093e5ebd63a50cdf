"""Tasks: what orchestrator code waits for, and how the end of one reaches those that wait for it.

A task is *opened* when it is yielded, alone or inside a compound: only then does it get its id (specs/sdk.md 4.3).
Tasks belong to one replay and are touched on the orchestrator thread only.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from durable_ext.core.actions import ScheduleActivity, ScheduleTimer, StartSubOrchestration
from durable_ext.core.messages import InstanceId
from durable_ext.core.orchestrators import BUILT_IN_PREFIX
from durable_ext.core.timestamps import Ticks

if TYPE_CHECKING:
    from durable_ext.core.replay import Replay

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class TaskState(Enum):
    """Where a task is; the two last are final."""

    RUNNING = 0
    SUCCEEDED = 1
    FAILED = 2


_RUNNING: Final = TaskState.RUNNING
_SUCCEEDED: Final = TaskState.SUCCEEDED
_FAILED: Final = TaskState.FAILED


class Task(Generic[T_co]):
    """Something that an orchestrator can `yield` (generators) or `await` (`async def`).

    Attributes:
        id: Sequence number once opened, the event name of an event wait, `None` otherwise.
        state: See `TaskState`.
        result: The value, the exception instance of a failed task, `None` while running.
        is_scheduled: Whether it was opened.
    """

    # The dictionary is made when it is written to: only the names of 1.x keep more of a task than this.
    __slots__ = ("__dict__", "_parents", "id", "is_scheduled", "result", "state")

    def __init__(self, task_id: int | str | None = None) -> None:
        self.id = task_id
        self.state = _RUNNING
        self.result: Any = None
        self.is_scheduled = False
        self._parents: list[Any] | None = None

    @property
    def is_completed(self) -> bool:
        """Whether it has ended, successfully or not."""
        return self.state is not _RUNNING

    @property
    def is_failed(self) -> bool:
        """Whether it has failed; `result` is the exception then."""
        return self.state is _FAILED

    def get_result(self) -> T_co:
        """Return the value of an ended task.

        Raises:
            RuntimeError: It has not ended yet.
            Exception: It has failed: its exception.
        """
        if self.state is _RUNNING:
            raise RuntimeError("The task has not completed. Yield (or await) it before its result is read.")
        if self.state is _FAILED:
            raise self.result
        return cast("T_co", self.result)

    def __await__(self) -> Generator[Task[T_co], Any, T_co]:
        value = yield self
        return cast("T_co", value)

    def open(self, replay: Replay) -> None:
        """Take an id and become a decision of this episode, unless that has happened before."""
        self.is_scheduled = True

    def succeed(self, value: Any) -> None:
        """End with a value and tell the compounds that contain this; an ended task stays as it is."""
        if self.state is _RUNNING:
            self.result = value
            self.state = _SUCCEEDED
            if self._parents is not None:
                for parent in tuple(self._parents):
                    parent.child_completed(self)

    def fail(self, error: BaseException) -> None:
        """End with an exception, as `succeed` with a value."""
        if self.state is _RUNNING:
            self.result = error
            self.state = _FAILED
            if self._parents is not None:
                for parent in tuple(self._parents):
                    parent.child_completed(self)


def completed_task(value: Any = None) -> Task[Any]:
    """Return a task that has ended already; yielding it goes on at once."""
    task: Task[Any] = Task()
    task.is_scheduled = True
    task.state = _SUCCEEDED
    task.result = value
    return task


def failed_task(error: BaseException) -> Task[Any]:
    """Return a task that has failed already: yielding it raises its error at that place."""
    task: Task[Any] = Task()
    task.is_scheduled = True
    task.state = _FAILED
    task.result = error
    return task


class ActivityTask(Task[T]):
    """A call of an activity. `argument` is serialized at once unless it is immutable (`text` is `None` then)."""

    __slots__ = ("argument", "expected_type", "name", "text")

    def __init__(self, name: str, argument: Any, text: str | None, expected_type: Any = None) -> None:
        self.id: int | str | None = None
        self.state = _RUNNING
        self.result: Any = None
        self.is_scheduled = False
        self._parents = None
        self.name = name
        self.argument = argument
        self.text = text
        self.expected_type = expected_type

    def open(self, replay: Replay) -> None:
        if not self.is_scheduled:
            self.is_scheduled = True
            replay.schedule(self)

    def again(self) -> ActivityTask[T]:
        """Return a fresh task for the next attempt of a retry."""
        return ActivityTask(self.name, self.argument, self.text, self.expected_type)

    def decide(self, replay: Replay) -> ScheduleActivity:
        """Return the decision to run it."""
        text = self.text if self.text is not None else replay.converter.to_text(self.argument)
        # compat: built-in activities get the request itself, not a text that contains it (execution-semantics.md 11.1).
        built_in = self.name.startswith(BUILT_IN_PREFIX)
        payload = f"[{text}]" if built_in else replay.converter.wrap_argument(text)
        return ScheduleActivity(task_id=cast("int", self.id), name=self.name, input=payload)


class SubOrchestrationTask(Task[T]):
    """A call of another orchestrator; `instance_id` `None` or empty = one is made from execution id and task id."""

    __slots__ = ("argument", "expected_type", "instance_id", "name", "text", "version")

    def __init__(
        self,
        name: str,
        argument: Any,
        text: str | None,
        *,
        instance_id: str | None = None,
        version: str | None = None,
        expected_type: Any = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.argument = argument
        self.text = text
        self.instance_id = instance_id
        self.version = version
        self.expected_type = expected_type

    def open(self, replay: Replay) -> None:
        if not self.is_scheduled:
            self.is_scheduled = True
            replay.schedule(self)

    def again(self) -> SubOrchestrationTask[T]:
        """Return a fresh task for the next attempt of a retry; a given instance id is used again."""
        return SubOrchestrationTask(
            self.name,
            self.argument,
            self.text,
            instance_id=self.instance_id,
            version=self.version,
            expected_type=self.expected_type,
        )

    def decide(self, replay: Replay) -> StartSubOrchestration:
        """Return the decision to start it."""
        text = self.text if self.text is not None else replay.converter.to_text(self.argument)
        return StartSubOrchestration(
            task_id=cast("int", self.id),
            name=self.name,
            instance_id=InstanceId(self.instance_id) if self.instance_id else None,
            input=replay.converter.wrap_text(text),
            version=self.version if self.version is not None else replay.options.worker_version.version,
        )


class TimerTask(Task[None]):
    """A durable timer. Cancel one that is no longer needed: an orchestration does not end before its timers do."""

    __slots__ = ("_cancelled", "_replay", "expected_type", "fire_at")

    def __init__(self, fire_at: Ticks) -> None:
        super().__init__()
        self.fire_at = fire_at
        self.expected_type = None
        self._cancelled = False
        self._replay: Replay | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def is_canceled(self) -> bool:
        """Return the same as `is_cancelled`, as long timers spell it too."""
        return self._cancelled

    def cancel(self) -> None:
        """Stop waiting for it. The task stays RUNNING and ends if the timer fires all the same.

        Raises:
            ValueError: It has fired already.
        """
        if self.state is not _RUNNING:
            raise ValueError("Cannot cancel a completed task.")
        if not self._cancelled:
            self._cancelled = True
            if self._replay is not None:
                self._replay.timer_cancelled(self)

    def open(self, replay: Replay) -> None:
        if not self.is_scheduled:
            self.is_scheduled = True
            self._replay = replay
            replay.schedule(self)
            if self._cancelled:
                replay.timer_cancelled(self)

    def decide(self, replay: Replay) -> ScheduleTimer:
        """Return the decision to create it."""
        return ScheduleTimer(task_id=cast("int", self.id), fire_at=self.fire_at, canceled=self._cancelled)


class EventTask(Task[T]):
    """A wait for an external event; takes no id and leaves no event. Among several waits the newest is served first."""

    __slots__ = ("expected_type", "name")

    def __init__(self, name: str, expected_type: Any = None) -> None:
        super().__init__(name)
        self.name = name
        self.expected_type = expected_type

    def open(self, replay: Replay) -> None:
        if not self.is_scheduled:
            self.is_scheduled = True
            replay.wait_for_event(self)


class WhenAll(Task[list[Any]]):
    """Ends when all children succeeded, or with the first failure; the value is the list in the children's order."""

    __slots__ = ("_pending", "children")

    def __init__(self, children: Sequence[Task[Any]], *, exclusive: bool = False, empty: Any = None) -> None:
        super().__init__(-1)
        self.children = children
        running = adopt(self, children, exclusive=exclusive)
        self._pending = len(running)
        for child in children:
            if child.state is _FAILED:
                self.fail(child.result)
                return
        if not children:
            self.succeed(empty)
        elif not running:
            self.succeed([child.result for child in children])

    @property
    def pending(self) -> int:
        """How many children are running."""
        return self._pending

    def open(self, replay: Replay) -> None:
        self.is_scheduled = True
        for child in self.children:
            child.open(replay)

    def child_completed(self, child: Task[Any]) -> None:
        """Count one child; called once for each that was running."""
        if self.state is not _RUNNING:
            return
        if child.state is _FAILED:
            self.fail(child.result)
            return
        self._pending -= 1
        if not self._pending:
            self.succeed([each.result for each in self.children])


class WhenAny(Task[Task[Any]]):
    """Ends with the child that ended first, failed or not; never fails itself."""

    __slots__ = ("children",)

    def __init__(self, children: Sequence[Task[Any]], *, exclusive: bool = False) -> None:
        super().__init__(-1)
        self.children = children
        for child in children:
            check_task(child)
        winner = next((child for child in children if child.state is not _RUNNING), None)
        if winner is not None or not children:
            self.succeed(winner)
        else:
            adopt(self, children, exclusive=exclusive)

    def open(self, replay: Replay) -> None:
        self.is_scheduled = True
        for child in self.children:
            child.open(replay)

    def child_completed(self, child: Task[Any]) -> None:
        """Take the first child as the result and let go of the others, which later compounds may hold."""
        for other in self.children:
            if other.state is _RUNNING and other._parents is not None and self in other._parents:
                other._parents.remove(self)
        self.succeed(child)


def check_task(candidate: object) -> None:
    """Refuse what is no task.

    Raises:
        TypeError: It is none; the text says what it is.
    """
    if not isinstance(candidate, Task):
        raise TypeError(
            f"{candidate!r} is not a durable task. Only what call_activity, call_sub_orchestrator, create_timer, "
            f"wait_for_external_event, call_entity, call_http, task_all and task_any return can be waited for."
        )


def adopt(parent: Any, children: Sequence[Task[Any]], *, exclusive: bool) -> list[Task[Any]]:
    """Let `parent` hear of the end of each running child, once even if it is listed twice; return these children.

    `exclusive` takes the children away from earlier compounds, as 1.x does (specs/sdk.md 7, row 4).
    """
    running: dict[int, Task[Any]] = {}
    for child in children:
        check_task(child)
        if child.state is _RUNNING and id(child) not in running:
            running[id(child)] = child
            if exclusive or child._parents is None:
                child._parents = [parent]
            else:
                child._parents.append(parent)
    return list(running.values())
