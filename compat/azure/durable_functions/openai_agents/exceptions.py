"""What ends a run of an agent that has to wait."""

from __future__ import annotations

from typing import Any


class YieldException(BaseException):
    """The agent waits for `task`; no `Exception`, so that agents and tools let it through."""

    def __init__(self, task: Any) -> None:
        super().__init__("The orchestration waits for an activity.")
        self.task = task


__all__ = ["YieldException"]
