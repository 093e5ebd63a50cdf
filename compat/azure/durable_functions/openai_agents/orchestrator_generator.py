"""The orchestrator around a function that runs agents, and the activity that calls their model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import Any

from agents import ModelProvider
from agents.run import set_default_agent_runner

from ..models.RetryOptions import RetryOptions
from .context import DurableAIAgentContext
from .model_invocation_activity import DurableModelActivityInput, ModelInvoker, response_text
from .runner import DurableOpenAIRunner
from .task_tracker import TaskTracker
from .usage_telemetry import UsageTelemetry


async def durable_openai_agent_activity(input: str, model_provider: ModelProvider | None) -> str:
    """Call the model and return the JSON text of its response."""
    invoker = ModelInvoker(model_provider=model_provider)
    return response_text(await invoker.invoke_model_activity(DurableModelActivityInput.from_json(input)))


def durable_openai_agent_orchestrator_generator(
    func: Callable[[Any], Any],
    durable_orchestration_context: Any,
    model_retry_options: RetryOptions | None,
    activity_name: str,
) -> Generator[Any, Any, str | None]:
    """Return the generator that runs `func` with a context for agents."""
    UsageTelemetry.log_usage_once()
    tracker = TaskTracker(durable_orchestration_context)
    context = DurableAIAgentContext(durable_orchestration_context, tracker, model_retry_options)
    runner: Any = DurableOpenAIRunner(context, activity_name)

    def run() -> Any:
        set_default_agent_runner(runner)
        returned = func(context)
        return _on_runner(returned, runner) if inspect.isgenerator(returned) else returned

    return tracker.execute_orchestrator_function(run)


def _on_runner(generator: Generator[Any, Any, Any], runner: Any) -> Generator[Any, Any, Any]:
    """Run a generator; the process's runner is this one whenever its code runs, whatever other instances do between."""
    try:
        task = next(generator)
        while True:
            try:
                result = yield task
            except Exception as error:  # a failed task: it is raised where the orchestrator waits for it
                set_default_agent_runner(runner)
                task = generator.throw(error)
            else:
                set_default_agent_runner(runner)
                task = generator.send(result)
    except StopIteration as ended:
        return ended.value


__all__ = ["durable_openai_agent_activity", "durable_openai_agent_orchestrator_generator"]
