"""Tasks, under their names of 1.x."""

from durable_ext.core.task_chains import LongTimer as LongTimerTask
from durable_ext.core.task_chains import RetryableTask as RetryAbleTask
from durable_ext.core.tasks import Task as TaskBase
from durable_ext.core.tasks import TaskState, TimerTask
from durable_ext.core.tasks import WhenAll as WhenAllTask
from durable_ext.core.tasks import WhenAny as WhenAnyTask

AtomicTask = TaskBase
CompoundTask = (WhenAllTask, WhenAnyTask)
"""For `isinstance` only."""

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
