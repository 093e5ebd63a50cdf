"""TaskOrchestrationExecutor: replays a context with an orchestrator function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .DurableOrchestrationContext import DurableOrchestrationContext


class TaskOrchestrationExecutor:
    """Runs orchestrations; keeps nothing between them."""

    def execute(self, context: DurableOrchestrationContext, history: Any, fn: Callable[[Any], Any]) -> str:
        """Return the state JSON; `history` is that of the context."""
        return context.run(fn)


__all__ = ["TaskOrchestrationExecutor"]
