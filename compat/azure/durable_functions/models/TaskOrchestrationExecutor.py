"""TaskOrchestrationExecutor: replays a context with an orchestrator function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .DurableOrchestrationContext import DurableOrchestrationContext


class TaskOrchestrationExecutor:
    """Runs orchestrations; `context`, `output` and `exception` are those of the last one."""

    def __init__(self) -> None:
        self.context: DurableOrchestrationContext | None = None
        self.output: Any = None
        self.exception: BaseException | None = None

    def execute(self, context: DurableOrchestrationContext, history: Any, fn: Callable[[Any], Any]) -> str:
        """Return the state JSON; `history` is that of the context."""
        self.context = context
        self.output = self.exception = None
        try:
            return context.run(fn)
        except Exception as failure:
            self.exception = failure.__cause__
            raise
        finally:
            self.output = context._replay.output

    @property
    def orchestration_invocation_succeeded(self) -> bool:
        """Whether the function has neither failed nor is waiting."""
        return self.context is not None and self.exception is None and self.context._replay.ended

    @property
    def has_execution_completed(self) -> bool:
        """Whether the function has returned, raised, or continued as new."""
        return self.context is not None and (self.context._replay.ended or self.context.will_continue_as_new)


__all__ = ["TaskOrchestrationExecutor"]
