"""RuntimeState: the history of one generation, folded into what it says about the instance; runs no user code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from durable_ext.core.events import (
    ContinueAsNew,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    HistoryEvent,
    OrchestrationStatus,
    OrchestratorCompleted,
)
from durable_ext.core.messages import ExecutionId

_PENDING: Final = OrchestrationStatus.PENDING
_RUNNING: Final = OrchestrationStatus.RUNNING
_SUSPENDED: Final = OrchestrationStatus.SUSPENDED

# What is not here changes nothing: a second start, suspending twice, events after the end.
_NEXT: Final[dict[tuple[OrchestrationStatus, type[HistoryEvent]], OrchestrationStatus | None]] = {
    (_PENDING, ExecutionStarted): _RUNNING,
    (_RUNNING, ExecutionSuspended): _SUSPENDED,
    (_SUSPENDED, ExecutionResumed): _RUNNING,
    (_RUNNING, ExecutionCompleted): None,  # the event's own status
    (_SUSPENDED, ExecutionCompleted): None,
    (_RUNNING, ContinueAsNew): None,
    (_SUSPENDED, ContinueAsNew): None,
}


_TURNS: Final = frozenset({ExecutionSuspended, ExecutionCompleted, ContinueAsNew})  # without them nothing is resumed


class RuntimeState:
    """One owner at a time: the session that plays the instance.

    Attributes:
        events: All events, in order.
        started: The ExecutionStarted, `None` before it came.
        completed: The event that ended the generation.
        status: PENDING before the start.
    """

    __slots__ = ("completed", "events", "started", "status")

    def __init__(self, history: Iterable[HistoryEvent] = ()) -> None:
        self.events: list[HistoryEvent] = []
        self.started: ExecutionStarted | None = None
        self.completed: ExecutionCompleted | ContinueAsNew | None = None
        self.status = _PENDING
        self.extend(history)

    def append(self, event: HistoryEvent) -> None:
        """Add one event."""
        self.events.append(event)
        fold = _FOLD.get(event.__class__)
        if fold is not None:
            fold(self, event)

    def extend(self, events: Iterable[HistoryEvent]) -> None:
        """Add events in order."""
        for event in events:
            self.events.append(event)
            fold = _FOLD.get(event.__class__)
            if fold is not None:
                fold(self, event)

    def reopen(self) -> None:
        """Take back that the last episode is over: what follows belongs to it.

        Raises:
            ValueError: The history does not end with OrchestratorCompleted.
        """
        if not self.events or self.events[-1].__class__ is not OrchestratorCompleted:
            raise ValueError("Only an episode that ends the history can go on, and this history ends otherwise.")
        self.events.pop()

    @property
    def execution_id(self) -> ExecutionId | None:
        """Execution id of this generation."""
        return self.started.instance.execution_id if self.started is not None else None

    @property
    def name(self) -> str | None:
        """Name of the orchestrator or entity."""
        return self.started.name if self.started is not None else None

    @property
    def input(self) -> str | None:
        """Recorded input text."""
        return self.started.input if self.started is not None else None

    @property
    def output(self) -> str | None:
        """Recorded result text of an ended generation."""
        return self.completed.result if self.completed is not None else None

    @property
    def is_terminal(self) -> bool:
        """Whether it is over for good."""
        return self.status.is_terminal

    def _started(self, event: ExecutionStarted) -> None:
        if self.started is None:
            self.started = event
            self._move(event)

    def _completed(self, event: ExecutionCompleted | ContinueAsNew) -> None:
        key = (self.status, event.__class__)
        if key in _NEXT:
            self.completed = event
            self.status = event.status

    def _move(self, event: HistoryEvent) -> None:
        status = _NEXT.get((self.status, event.__class__))
        if status is not None:
            self.status = status


_FOLD: Final[dict[type[HistoryEvent], Callable[..., None]]] = {
    ExecutionStarted: RuntimeState._started,
    ExecutionCompleted: RuntimeState._completed,
    ContinueAsNew: RuntimeState._completed,
    ExecutionSuspended: RuntimeState._move,
    ExecutionResumed: RuntimeState._move,
}


def started_in(history: Sequence[HistoryEvent]) -> ExecutionStarted | None:
    """Return the start that a history was made by; `None` if it holds none."""
    return next((event for event in history if isinstance(event, ExecutionStarted)), None)


def status_of(history: Sequence[HistoryEvent]) -> OrchestrationStatus:
    """Return the status that a history stands for: what `RuntimeState` says, at less than half of its cost.

    Each load of a running instance asks, and most histories have neither turn nor end.
    """
    if _TURNS.isdisjoint(map(type, history)):
        return OrchestrationStatus.PENDING if started_in(history) is None else OrchestrationStatus.RUNNING
    return RuntimeState(history).status
