"""TaskTracker: which activities an agent has called, and what they answered (specs/sdk.md 2.22).

An agent cannot be stopped in the middle of its event loop, so it is run again from its start until it needs an answer that
is not there yet. The n-th call gets the n-th recorded completion; in a run after that, what the first run was answered.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Generator
from typing import Any

from durable_ext.core.events import TaskCompleted
from durable_ext.core.tasks import Task

from ..models.history.HistoryEventType import HistoryEventType
from .exceptions import YieldException


class TaskTracker:
    """Counts the activity calls of one orchestration and orders what it yields."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._calls = 0
        self._tasks_to_yield: list[Any] = []
        self._answers: dict[int, _Answer] = {}
        self._yielded: list[_Answer] = []
        self._position = 0

    def get_activity_call_result(self, activity_name: str, input: Any) -> Any:
        """Return the result of an activity.

        Raises:
            YieldException: It is not there yet.
        """
        return self._get_activity_result_or_raise(self._context.call_activity(activity_name, input))

    def get_activity_call_result_with_retry(self, activity_name: str, retry_options: Any, input: Any) -> Any:
        """Return the result of an activity that is tried again if it fails; see `get_activity_call_result`."""
        return self._get_activity_result_or_raise(
            self._context.call_activity_with_retry(activity_name, retry_options, input)
        )

    def record_activity_call(self) -> None:
        """Count a call that the orchestrator yields itself."""
        self._calls += 1

    def execute_orchestrator_function(self, func: Callable[[], Any]) -> Generator[Any, Any, str | None]:
        """Run the orchestrator function until it returns; yield its tasks in order and return its serialized output."""
        while True:
            self._calls, self._position = 0, 0
            self._tasks_to_yield.clear()
            try:
                returned = func()
                if inspect.isgenerator(returned):
                    returned = yield from self._drive(returned)
                yield from self._yield_and_clear_tasks()
                return self._durable_serializer(returned)
            except YieldException as waiting:
                call = self._calls
                yield from self._yield_and_clear_tasks()
                self._answers[call] = yield from self._answer_of(waiting.task)
                if not isinstance(waiting.task, Task):
                    return None  # compat: 1.x, whose replays start over each time, ends here; tests with doubles see it

    def _get_activity_result_or_raise(self, task: Any) -> Any:
        self._calls += 1
        known = self._answers.get(self._calls)
        if known is not None:
            self._tasks_to_yield.append(task)
            return known.value()
        completions = _completions(self._context.histories)
        if len(completions) < self._calls:
            raise YieldException(task)
        self._tasks_to_yield.append(task)
        return json.loads(completions[self._calls - 1])

    def _drive(self, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Run an orchestrator that yields tasks of its own between runs of agents."""
        try:
            task = next(generator)
            while True:
                yield from self._yield_and_clear_tasks()
                answer = yield from self._answer_of(task)
                task = generator.send(answer.result) if answer.error is None else generator.throw(answer.error)
        except StopIteration as ended:
            return ended.value

    def _yield_and_clear_tasks(self) -> Generator[Any, Any, None]:
        for task in self._tasks_to_yield:
            yield from self._answer_of(task)
        self._tasks_to_yield.clear()

    def _answer_of(self, task: Any) -> Generator[Any, Any, _Answer]:
        """Yield a task, unless a run before this one has yielded it in the same place."""
        position = self._position
        self._position += 1
        if position < len(self._yielded):
            return self._yielded[position]
        try:
            answer = _Answer((yield task))
        except Exception as error:  # a failed activity: the agent's tool, or the user's code, is told
            answer = _Answer(None, error)
        self._yielded.append(answer)
        return answer

    @staticmethod
    def _durable_serializer(obj: Any) -> str:
        if isinstance(obj, str):
            return obj
        for name in ("to_json", "model_dump_json"):
            method = getattr(obj, name, None)
            if callable(method):
                return str(method())
        return json.dumps(obj)


class _Answer:
    """What a yield gave: a result or an error."""

    __slots__ = ("error", "result")

    def __init__(self, result: Any, error: Exception | None = None) -> None:
        self.result, self.error = result, error

    def value(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


def _completions(histories: Any) -> list[str]:
    """Return the results of all completed activities, as the host sent them or as the engine has them."""
    found = []
    for event in histories:
        if isinstance(event, TaskCompleted):
            found.append(event.result or "null")
        elif getattr(event, "event_type", None) == HistoryEventType.TASK_COMPLETED:
            found.append(event.Result)
    return found


__all__ = ["TaskTracker"]
