"""Tasks, under their names and constructors of 1.x; tasks of the engine count as instances of these classes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from durable_ext.core import task_chains, tasks
from durable_ext.core.entity_calls import EntityCallTask
from durable_ext.core.tasks import TaskState
from durable_ext.core.timestamps import Ticks, ticks_from_datetime, ticks_to_datetime

from ._task_attributes import CompoundAttributes, OfTheEngine, TaskAttributes
from .actions.CompoundAction import CompoundAction
from .actions.CreateTimerAction import CreateTimerAction
from .actions.WhenAllAction import WhenAllAction
from .actions.WhenAnyAction import WhenAnyAction
from .ReplaySchema import ReplaySchema
from .RetryOptions import RetryOptions

if TYPE_CHECKING:
    from .DurableOrchestrationContext import DurableOrchestrationContext


class TaskBase(TaskAttributes, tasks.Task[Any], metaclass=OfTheEngine):
    """A task with an id and the action that it stands for."""

    __slots__ = ()

    def __init__(self, id_: int | str | None, actions: Any) -> None:
        super().__init__(id_)
        self.action_repr = actions


class AtomicTask(
    TaskBase,
    engine_classes=(
        tasks.ActivityTask,
        tasks.SubOrchestrationTask,
        tasks.EventTask,
        tasks.TimerTask,
        EntityCallTask,
        task_chains.HttpPollTask,
    ),
):
    """A task that is no compound."""

    __slots__ = ()


class CompoundTask(
    TaskBase, engine_classes=(tasks.WhenAll, tasks.WhenAny, task_chains.RetryableTask, task_chains.LongTimer)
):
    """A task made of others; for `isinstance`."""

    __slots__ = ()


class WhenAllTask(CompoundAttributes, TaskAttributes, tasks.WhenAll, metaclass=OfTheEngine):
    """Ends when all children have ended."""

    __slots__ = ()

    def __init__(self, task: Sequence[tasks.Task[Any]], replay_schema: Any = None) -> None:
        super().__init__(task, exclusive=True)
        self.action_repr = _actions_of(task, replay_schema, WhenAllAction)


class WhenAnyTask(CompoundAttributes, TaskAttributes, tasks.WhenAny, metaclass=OfTheEngine):
    """Ends with the first child."""

    __slots__ = ()

    def __init__(self, task: Sequence[tasks.Task[Any]], replay_schema: Any = None) -> None:
        super().__init__(task, exclusive=True)
        self.action_repr = _actions_of(task, replay_schema, WhenAnyAction)


class TimerTask(TaskAttributes, tasks.TimerTask, metaclass=OfTheEngine):
    """A timer; `action_repr` is its action."""

    __slots__ = ()

    def __init__(self, id_: int | None, action: CreateTimerAction) -> None:
        super().__init__(_ticks(action))
        self.id, self.action_repr = id_, action

    def cancel(self) -> None:
        """Cancel it, and flag its action."""
        super().cancel()
        self._get_action().is_cancelled = True


class LongTimerTask(CompoundAttributes, TaskAttributes, task_chains.LongTimer, metaclass=OfTheEngine):
    """A timer that hops; `pending_tasks` holds the current hop, `action` the final time."""

    __slots__ = ()

    _orchestration_context: DurableOrchestrationContext
    action: CreateTimerAction

    def __init__(
        self, id_: int | None, action: CreateTimerAction, orchestration_context: DurableOrchestrationContext
    ) -> None:
        replay = orchestration_context._replay
        longest = replay.options.max_timer
        if longest is None:
            raise ValueError("The host of this context names no longest timer, so that no timer is a long one.")
        self._remember(orchestration_context, action)
        step = replay.options.long_timer_step or longest
        super().__init__(_ticks(action), replay.now, longest=longest, step=step, value=[None], cancels_hops=False)
        self.id, self._replay = id_, replay
        self._take_hop()

    def _remember(self, context: DurableOrchestrationContext, action: CreateTimerAction) -> None:
        self._orchestration_context, self.action = context, action

    def _take_hop(self) -> None:
        hop = as_1x(self.first_hop, self._orchestration_context)
        self.__dict__["children"] = [*self.__dict__.get("children", ()), hop]
        self.__dict__["pending_tasks"] = {hop}

    @property
    def children(self) -> list[Any]:  # type: ignore[override]
        """The hops so far."""
        return list(self.__dict__["children"])

    @property
    def pending_tasks(self) -> set[Any]:
        """The current hop."""
        pending: set[Any] = self.__dict__["pending_tasks"]
        return pending

    @property
    def _max_short_timer_duration(self) -> timedelta:
        return self._longest

    @property
    def _long_timer_interval(self) -> timedelta:
        return self._step

    def cancel(self) -> None:
        """Flag the action; the hops go on, as in 1.x."""
        super().cancel()
        self.action.is_cancelled = True

    def try_set_value(self, child: Any) -> None:
        """Take notice of a hop that has fired: hop on, or end."""
        if child.state is TaskState.SUCCEEDED:
            self.child_completed(child)

    def get_next_timer_task(self, final_fire_time: datetime, current_time: datetime) -> TimerTask:
        """Return the hop that leads on from a time."""
        in_reach = final_fire_time - current_time <= self._longest
        return TimerTask(None, CreateTimerAction(final_fire_time if in_reach else current_time + self._step))

    def add_new_child(self, child_timer: TimerTask) -> None:
        """Wait for a further hop."""
        child_timer.parent = self
        self.__dict__["children"] = [*self.children, child_timer]
        self.pending_tasks.add(child_timer)
        child_timer.open(self._orchestration_context._replay)

    def _next_hop(self, now: Ticks) -> tasks.TimerTask:
        hop = super()._next_hop(now)
        if "children" in self.__dict__:
            self._hop = hop
            self._take_hop()
        return hop


class RetryAbleTask(CompoundAttributes, TaskAttributes, task_chains.RetryableTask[Any], metaclass=OfTheEngine):
    """A task that is tried again; `child` is its first attempt, a task of the context."""

    __slots__ = ()

    def __init__(self, child: Any, retry_options: RetryOptions, context: DurableOrchestrationContext) -> None:
        super().__init__(child, retry_options)
        as_1x(child, context)
        child._parents = [self]
        self._replay = context._replay
        self.__dict__["_context"] = context
        self.id = -1

    @property
    def children(self) -> list[Any]:  # type: ignore[override]
        """The link that runs or ran last: an attempt, or the timer before the next one."""
        return [self._timer if self.is_waiting_on_timer else self.attempt]

    @property
    def id_(self) -> str:
        """Text made of the ids of its links."""
        return f"{[child.id for child in self.children]}_retryable_proxy"

    @property
    def is_waiting_on_timer(self) -> bool:
        """Whether it waits before the next attempt."""
        return self._timer is not None and not self._timer.is_completed

    @property
    def error(self) -> BaseException | None:
        """Why the last attempt failed."""
        return self._error

    @property
    def actions(self) -> Any:
        """The action of the call."""
        action = self.action_repr
        return action.compound_tasks[0] if isinstance(action, WhenAllAction) else action


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


class _CompletedTask(AtomicTask):
    __slots__ = ()


class _ActivityTask(AtomicTask, tasks.ActivityTask[Any]):
    __slots__ = ()


class _SubOrchestrationTask(AtomicTask, tasks.SubOrchestrationTask[Any]):
    __slots__ = ()


class _EventTask(AtomicTask, tasks.EventTask[Any]):
    __slots__ = ()


class _EntityCallTask(AtomicTask, EntityCallTask[Any]):
    __slots__ = ()


class _HttpPollTask(AtomicTask, task_chains.HttpPollTask):
    __slots__ = ()


_FORMS: Final[dict[type[Any], type[Any]]] = {
    tasks.Task: _CompletedTask,
    tasks.ActivityTask: _ActivityTask,
    tasks.SubOrchestrationTask: _SubOrchestrationTask,
    tasks.EventTask: _EventTask,
    tasks.TimerTask: TimerTask,
    EntityCallTask: _EntityCallTask,
    task_chains.HttpPollTask: _HttpPollTask,
    task_chains.RetryableTask: RetryAbleTask,
    task_chains.LongTimer: LongTimerTask,
    tasks.WhenAll: WhenAllTask,
    tasks.WhenAny: WhenAnyTask,
}


def as_1x(task: Any, context: DurableOrchestrationContext) -> Any:
    """Turn a task that the engine made into one with the class and the attributes of 1.x, and return it."""
    form = _FORMS.get(task.__class__)
    if form is None:  # one of these classes already
        return task
    task.__class__ = form
    task.__dict__["_context"] = context
    if form is LongTimerTask:
        task._remember(context, CreateTimerAction(ticks_to_datetime(task.fire_at)))
        task._replay = context._replay
        task._take_hop()
    elif form is RetryAbleTask:
        task.id = -1
    return task


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
