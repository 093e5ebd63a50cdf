"""Orchestrator: replays the host's request with one orchestrator function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import durable_ext

from .models.DurableOrchestrationContext import DurableOrchestrationContext
from .models.TaskOrchestrationExecutor import TaskOrchestrationExecutor


class Orchestrator(durable_ext.Orchestrator):
    """See `durable_ext.Orchestrator`; contexts are of this package's class."""

    context_class = DurableOrchestrationContext
    legacy = True

    def __init__(self, activity_func: Callable[[Any], Any]) -> None:
        super().__init__(activity_func)
        self.task_orchestration_executor = TaskOrchestrationExecutor()

    def handle(self, context: DurableOrchestrationContext) -> str:  # type: ignore[override]
        """See `durable_ext.Orchestrator.handle`."""
        self.durable_context = context
        return self.task_orchestration_executor.execute(context, context._raw_history, self.fn)


__all__ = ["Orchestrator"]
