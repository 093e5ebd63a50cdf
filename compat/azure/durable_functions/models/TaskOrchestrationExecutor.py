"""TaskOrchestrationExecutor: replays a context with an orchestrator function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .DurableOrchestrationContext import DurableOrchestrationContext
from .history.HistoryEvent import HistoryEvent
from .history.HistoryEventType import HistoryEventType

_RESULTS: Final = frozenset(
    {
        HistoryEventType.TASK_COMPLETED,
        HistoryEventType.TASK_FAILED,
        HistoryEventType.SUB_ORCHESTRATION_INSTANCE_COMPLETED,
        HistoryEventType.SUB_ORCHESTRATION_INSTANCE_FAILED,
        HistoryEventType.TIMER_FIRED,
        HistoryEventType.EVENT_RAISED,
    }
)


class TaskOrchestrationExecutor:
    """Runs orchestrations, one after the other.

    Attributes:
        context, output, exception: Of the last one.
        current_task: What its code waits for, `None` before it has waited.
        generator: What the orchestrator function returned.
    """

    def __init__(self) -> None:
        self.initialize()

    def initialize(self) -> None:
        """Forget the last run."""
        self.context: DurableOrchestrationContext | None = None
        self.output: Any = None
        self.exception: BaseException | None = None
        self.current_task: Any = None
        self.generator: Any = None
        self._state: str | None = None

    def execute(self, context: DurableOrchestrationContext, history: Any, fn: Callable[[Any], Any]) -> str:
        """Return the state JSON; `history` is that of the context."""
        self.initialize()
        self.context = context

        def start(given: Any) -> Any:
            self.generator = fn(given)
            return self.generator

        context.replay_history(start)
        self.current_task = context._replay._current
        return self.get_orchestrator_state_str()

    def process_event(self, event: HistoryEvent) -> None:
        """Play one more event with `context` and, from ExecutionStarted on, `generator`; both are set by the caller."""
        context = self._required_context()
        context.replay_event(event, lambda given: self.generator)
        self.current_task = context._replay._current

    def get_orchestrator_state_str(self) -> str:
        """Return the state JSON of what was played, after which nothing more can be.

        Raises:
            OutOfProcError: The orchestration failed; the text ends with the state JSON.
        """
        if self._state is None:
            context = self._required_context()
            try:
                self._state = context.finish()
            except Exception as failure:
                self.exception = failure.__cause__
                raise
            finally:
                self.output = context._replay.output
        return self._state

    def is_task_completion_event(self, event_type: int) -> bool:
        """Whether events of a type end tasks."""
        return event_type in _RESULTS

    @property
    def orchestrator_returned(self) -> bool:
        """Whether the function has returned."""
        return self.context is not None and self.context._replay.ended and self.context._replay.error is None

    @property
    def orchestration_invocation_succeeded(self) -> bool:
        """Whether the function has neither failed nor is waiting."""
        return self.context is not None and self.exception is None and self.context._replay.ended

    @property
    def has_execution_completed(self) -> bool:
        """Whether the function has returned, raised, or continued as new."""
        return self.context is not None and (self.context._replay.ended or self.context.will_continue_as_new)

    def _required_context(self) -> DurableOrchestrationContext:
        if self.context is None:
            raise ValueError("There is no context to replay. Call execute(), or set `context` first.")
        return self.context


__all__ = ["TaskOrchestrationExecutor"]
