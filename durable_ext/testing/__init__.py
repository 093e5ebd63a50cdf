"""What tests of apps and of backends are written with; the backend contract is in `durable_ext.testing.contract`."""

from durable_ext.testing.clock import ManualClock
from durable_ext.testing.entity_operation import (
    EntitySignalAction,
    EntityTestResult,
    OrchestrationStartAction,
    execute_entity,
)
from durable_ext.testing.eventually import eventually
from durable_ext.testing.generator_wrapper import orchestrator_generator_wrapper
from durable_ext.testing.history import HistoryBuilder, RecordedHistory
from durable_ext.testing.replay import Decided, ReplayedInstance, replay_history
from durable_ext.testing.task_hub import RunningTaskHub, run_task_hub

__all__ = [
    "Decided",
    "EntitySignalAction",
    "EntityTestResult",
    "HistoryBuilder",
    "ManualClock",
    "OrchestrationStartAction",
    "RecordedHistory",
    "ReplayedInstance",
    "RunningTaskHub",
    "eventually",
    "execute_entity",
    "orchestrator_generator_wrapper",
    "replay_history",
    "run_task_hub",
]
