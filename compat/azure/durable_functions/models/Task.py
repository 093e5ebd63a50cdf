"""Tasks, under their names and constructors of 1.x; tasks of the engine count as instances of these classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from durable_ext.core import task_chains, tasks
from durable_ext.core.tasks import TaskState
from durable_ext.core.timestamps import Ticks, ticks_from_datetime, ticks_to_datetime

from .actions.CompoundAction import CompoundAction
from .actions.CreateTimerAction import CreateTimerAction
from .actions.WhenAllAction import WhenAllAction
from .actions.WhenAnyAction import WhenAnyAction
from .DurableOrchestrationContext import DurableOrchestrationContext
from .ReplaySchema import ReplaySchema
from .RetryOptions import RetryOptions


class _OfTheEngine(type):
    """Tasks that the engine made are instances of the class with the name that 1.x gave them."""

    engine_classes: tuple[type, ...]

    def __new__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any], **options: Any) -> _OfTheEngine:
        made = super().__new__(cls, name, bases, members)
        made.engine_classes = options.get("engine_classes", bases)
        return made

    def __init__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any], **options: Any) -> None:
        super().__init__(name, bases, members)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.engine_classes) or type.__instancecheck__(cls, instance)


class _Attributes:
    """What 1.x keeps of every task."""

    is_played = False
    action_repr: Any = None
    _expected_output_type: Any = None

    @property
    def parent(self) -> Any:
        """The compound that hears of its end."""
        parents = self._parents
        return parents[-1] if parents else None

    @parent.setter
    def parent(self, parent: Any) -> None:
        self._parents: list[Any] | None = None if parent is None else [parent]

    @property
    def _is_scheduled(self) -> bool:
        return bool(self.is_scheduled)

    @property
    def _is_scheduled_flag(self) -> bool:
        return bool(self.is_scheduled)

    def _set_is_scheduled(self, is_scheduled: bool) -> None:
        self.is_scheduled = is_scheduled

    def set_is_played(self, is_played: bool) -> None:
        """Set whether an earlier episode has played its end."""
        self.is_played = is_played

    @property
    def _api_name(self) -> str:
        action = self.action_repr
        if isinstance(action, list) and len(action) == 1:
            action = action[0]
        return type(action).__name__

    def propagate(self) -> None:
        """Tell the compounds that it has ended."""
        for parent in tuple(self._parents or ()):
            parent.child_completed(self)

    def change_state(self, state: TaskState) -> None:
        """Set the state.

        Raises:
            ValueError: Back to RUNNING.
        """
        if state is TaskState.RUNNING:
            raise ValueError("Cannot change Task to the RUNNING state.")
        self.state = state

    def set_value(self, is_error: bool, value: Any) -> None:
        """End the task and tell its compounds.

        Raises:
            TypeError: An error that is no exception.
        """
        error = getattr(value, "result", value)  # a failed task stands for its exception
        if not is_error:
            self.succeed(value)
        elif isinstance(error, BaseException):
            self.fail(error)
        else:
            raise TypeError(f"Task ID {self.id} failed but it's value was not an Exception")


class TaskBase(_Attributes, tasks.Task[Any], metaclass=_OfTheEngine):
    """A task with an id and the action that it stands for."""

    def __init__(self, id_: int | str | None, actions: Any) -> None:
        super().__init__(id_)
        self.action_repr = actions


class AtomicTask(
    TaskBase, engine_classes=(tasks.ActivityTask, tasks.SubOrchestrationTask, tasks.EventTask, tasks.TimerTask)
):
    """A task that is no compound."""


class CompoundTask(
    TaskBase, engine_classes=(tasks.WhenAll, tasks.WhenAny, task_chains.RetryableTask, task_chains.LongTimer)
):
    """A task made of others; for `isinstance`."""


class WhenAllTask(_Attributes, tasks.WhenAll, metaclass=_OfTheEngine):
    """Ends when all children have ended."""

    def __init__(self, task: Sequence[tasks.Task[Any]], replay_schema: Any = None) -> None:
        super().__init__(task, exclusive=True)
        self.action_repr = _actions_of(task, replay_schema, WhenAllAction)


class WhenAnyTask(_Attributes, tasks.WhenAny, metaclass=_OfTheEngine):
    """Ends with the first child."""

    def __init__(self, task: Sequence[tasks.Task[Any]], replay_schema: Any = None) -> None:
        super().__init__(task, exclusive=True)
        self.action_repr = _actions_of(task, replay_schema, WhenAnyAction)


class TimerTask(_Attributes, tasks.TimerTask, metaclass=_OfTheEngine):
    """A timer; `action_repr` is its action."""

    def __init__(self, id_: int | None, action: CreateTimerAction) -> None:
        super().__init__(_ticks(action))
        self.id, self.action_repr = id_, action

    def cancel(self) -> None:
        """Cancel it, and flag its action."""
        super().cancel()
        self.action_repr.is_cancelled = True


class LongTimerTask(_Attributes, task_chains.LongTimer, metaclass=_OfTheEngine):
    """A timer that hops; `pending_tasks` holds the current hop, `action` the final time."""

    pending_tasks: set[TimerTask]

    def __init__(
        self, id_: int | None, action: CreateTimerAction, orchestration_context: DurableOrchestrationContext
    ) -> None:
        replay = orchestration_context._replay
        longest = replay.options.max_timer
        if longest is None:
            raise ValueError("The host of this context names no longest timer, so that no timer is a long one.")
        self.action, self._orchestration_context = action, orchestration_context
        step = replay.options.long_timer_step or longest
        super().__init__(_ticks(action), replay.now, longest=longest, step=step, value=[None], cancels_hops=False)
        self.id, self._replay = id_, replay

    def cancel(self) -> None:
        """Flag the action; the hops go on, as in 1.x."""
        super().cancel()
        self.action.is_cancelled = True

    def try_set_value(self, child: Any) -> None:
        """Take notice of a hop that has fired: hop on, or end."""
        if child.state is TaskState.SUCCEEDED:
            self.child_completed(child)

    def _next_hop(self, now: Ticks) -> tasks.TimerTask:
        engine_hop = super()._next_hop(now)
        hop = TimerTask(None, CreateTimerAction(ticks_to_datetime(engine_hop.fire_at)))
        hop._parents = [self]
        self.pending_tasks = {hop}
        return hop


class RetryAbleTask(_Attributes, task_chains.RetryableTask[Any], metaclass=_OfTheEngine):
    """A task that is tried again; `child` is its first attempt, a task of the context."""

    def __init__(self, child: Any, retry_options: RetryOptions, context: DurableOrchestrationContext) -> None:
        super().__init__(child, retry_options)
        self._replay = context._replay


def _actions_of(children: Sequence[Any], schema: Any, constructor: type[CompoundAction]) -> Any:
    """Return the actions of children that are not scheduled: a list in schema V1, else a compound action."""
    actions: list[Any] = []
    for child in children:
        action = getattr(child, "action_repr", None)
        if isinstance(action, list):
            actions.extend(action)
        elif action is not None and not child.is_scheduled:
            actions.append(action)
    return actions if schema in (None, ReplaySchema.V1) else constructor(actions)


def _ticks(action: CreateTimerAction) -> Ticks:
    return ticks_from_datetime(action.fire_at)  # type: ignore[arg-type]


__all__ = [
    "AtomicTask",
    "CompoundTask",
    "LongTimerTask",
    "RetryAbleTask",
    "TaskBase",
    "TaskState",
    "TimerTask",
    "WhenAllTask",
    "WhenAnyTask",
]
