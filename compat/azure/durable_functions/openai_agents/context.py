"""DurableAIAgentContext: the orchestration context as code around agents sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from agents import RunContextWrapper, Tool
from agents.function_schema import function_schema
from agents.tool import FunctionTool

from ..models.RetryOptions import RetryOptions
from .task_tracker import TaskTracker

_DEFAULT_RETRY = RetryOptions(first_retry_interval_in_milliseconds=2000, max_number_of_attempts=5)


class DurableAIAgentContext:
    """Everything of the orchestration context, and tools that are activities."""

    def __init__(self, context: Any, task_tracker: TaskTracker, model_retry_options: RetryOptions | None) -> None:
        self._context, self._task_tracker = context, task_tracker
        self._model_retry_options = model_retry_options

    def call_activity(self, name: Any, input_: Any = None) -> Any:
        """See `DurableOrchestrationContext.call_activity`."""
        task = self._context.call_activity(name, input_)
        self._task_tracker.record_activity_call()
        return task

    def call_activity_with_retry(self, name: Any, retry_options: RetryOptions, input_: Any = None) -> Any:
        """See `DurableOrchestrationContext.call_activity_with_retry`."""
        task = self._context.call_activity_with_retry(name, retry_options, input_)
        self._task_tracker.record_activity_call()
        return task

    def create_activity_tool(
        self,
        activity_func: Callable[..., Any],
        *,
        description: str | None = None,
        retry_options: RetryOptions | None = _DEFAULT_RETRY,
    ) -> Tool:
        """Return a tool for agents that runs an activity of the app.

        Args:
            activity_func: What the activity decorators returned.
            description: What the model is told; default is the function's docstring.
            retry_options: `None` = no retries.

        Raises:
            ValueError: It is no function of the app.
        """
        function: Any = getattr(activity_func, "_function", None)
        if function is None:
            raise ValueError("The provided function is not a valid Azure Function.")
        trigger = function._trigger
        explicit = getattr(trigger, "activity", None) if trigger is not None else None
        name = explicit if explicit is not None else function._name
        input_name = getattr(trigger, "name", None)
        tracker = self._task_tracker

        async def run_activity(ctx: RunContextWrapper[Any], input: str) -> Any:
            value = _named_argument(input, input_name)
            if retry_options:
                return tracker.get_activity_call_result_with_retry(name, retry_options, value)
            return tracker.get_activity_call_result(name, value)

        schema = function_schema(
            func=function._func,
            docstring_style=None,
            description_override=description,
            use_docstring_info=True,
            strict_json_schema=True,
        )
        return FunctionTool(
            name=schema.name,
            description=schema.description or "",
            params_json_schema=schema.params_json_schema,
            on_invoke_tool=run_activity,
            strict_json_schema=True,
        )

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(self._context, name)
        except AttributeError:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'") from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._context)})


def _named_argument(text: str, input_name: Any) -> Any:
    """Return the argument that the activity's parameter gets of the model's JSON, else the text itself."""
    try:
        arguments = json.loads(text)
    except (ValueError, TypeError):
        return text
    return arguments[input_name] if isinstance(arguments, dict) and input_name in arguments else text


__all__ = ["DurableAIAgentContext"]
