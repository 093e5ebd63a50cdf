"""DecisionObserver: who hears of an orchestration's decisions as its user wrote them, before they become events."""

from __future__ import annotations

from typing import Any, Protocol

from durable_ext.core.tasks import Task, TimerTask
from durable_ext.core.timestamps import Ticks


class DecisionObserver(Protocol):
    """Hears of decisions in the words of the user's calls, in order; for the out-of-process protocol."""

    def yielded(self, task: Task[Any]) -> None:
        """A task was yielded that is not, or not wholly, scheduled yet; its ids are not assigned."""
        ...

    def hopped(self, timer: TimerTask) -> None:
        """A long timer opened a further hop."""
        ...

    def signalled(self, target: str, operation: str, text: str, due: Ticks | None) -> None:
        """An entity was signalled, at `due` if given; `text` is the SDK text of the input."""
        ...

    def continued(self, text: str) -> None:
        """`continue_as_new` was called with this SDK text."""
        ...
