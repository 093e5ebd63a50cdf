"""DurableOpenAIRunner: `Runner.run_sync` of the agents' package inside an orchestrator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agents import Agent, RunConfig
from agents.run import AgentRunner

from .context import DurableAIAgentContext
from .event_loop import own_event_loop
from .model_invocation_activity import DurableActivityModel


class DurableOpenAIRunner:
    """Runs agents with models that are activities."""

    def __init__(self, context: DurableAIAgentContext, activity_name: str) -> None:
        self._context, self._activity_name = context, activity_name
        self._runner = AgentRunner()

    def run_sync(self, starting_agent: Agent[Any], input: Any, **kwargs: Any) -> Any:
        """Run an agent; see `agents.Runner.run_sync`.

        Raises:
            ValueError: The model is given as an object, not by name.
            YieldException: The agent has to wait.
        """
        given = kwargs.pop("run_config", None) or RunConfig()
        name = given.model if given.model is not None else starting_agent.model
        if name is not None and not isinstance(name, str):
            raise ValueError("For agents that run durably the model must be given by its name, as a string.")
        model = DurableActivityModel(
            name, self._context._task_tracker, self._context._model_retry_options, self._activity_name
        )
        with own_event_loop():
            return self._runner.run_sync(starting_agent, input, run_config=replace(given, model=model), **kwargs)

    def run(self, starting_agent: Agent[Any], input: Any, **kwargs: Any) -> Any:
        """Refuse: orchestrators have no event loop."""
        raise RuntimeError("Durable Functions do not support asynchronous runs.")

    def run_streamed(self, starting_agent: Agent[Any], input: Any, **kwargs: Any) -> Any:
        """Refuse: an activity has one result."""
        raise RuntimeError("Durable Functions do not support streaming.")


__all__ = ["DurableOpenAIRunner"]
