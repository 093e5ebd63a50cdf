"""DFApp and Blueprint."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

from azure.functions import AuthLevel, FunctionRegister

import durable_ext

from ..entity import Entity
from ..models.DurableOrchestrationClient import DurableOrchestrationClient
from ..models.RetryOptions import RetryOptions
from ..orchestrator import Orchestrator

_MODEL_ACTIVITY = "run_model"
_MODEL_RETRY = RetryOptions(first_retry_interval_in_milliseconds=2000, max_number_of_attempts=5)


class Blueprint(durable_ext.Blueprint):
    """See `durable_ext.Blueprint`; what is registered here keeps the semantics of 1.x."""

    _legacy: ClassVar[bool] = True
    _orchestrator_class = Orchestrator
    _entity_class = Entity
    _client_class = DurableOrchestrationClient

    def durable_openai_agent_orchestrator(
        self,
        _func: Callable[..., Any] | None = None,
        *,
        model_provider: Any = None,
        model_retry_options: RetryOptions | None = _MODEL_RETRY,
    ) -> Any:
        """Let an orchestrator run OpenAI agents; placed below `orchestration_trigger`, with or without parentheses.

        Args:
            model_provider: Provider of the models, default is OpenAI's; that of the first use counts for the app.
            model_retry_options: For calls of a model; `None` = no retries.

        Raises:
            TypeError: `model_provider` is no `agents.ModelProvider`.
        """

        def decorate(user_function: Callable[..., Any]) -> Callable[..., Any]:
            from ..openai_agents.orchestrator_generator import durable_openai_agent_orchestrator_generator

            self._setup_durable_openai_agent(model_provider, _MODEL_ACTIVITY)

            @functools.wraps(user_function)
            def orchestrate(context: Any) -> Any:
                return durable_openai_agent_orchestrator_generator(
                    user_function, context, model_retry_options, _MODEL_ACTIVITY
                )

            return orchestrate

        if model_provider is not None:
            _check_provider(model_provider)
        return decorate if _func is None else decorate(_func)

    def _setup_durable_openai_agent(self, model_provider: Any, activity_name: str) -> None:
        """Register the activity that calls the model, once for each app."""
        if not self._is_durable_openai_agent_setup:
            self._is_durable_openai_agent_setup = True
            self._create_invoke_model_activity(model_provider, activity_name)

    def _create_invoke_model_activity(self, model_provider: Any, activity_name: str) -> Any:
        @self.activity_trigger(input_name="input", activity=activity_name)
        async def run_model_activity(input: str) -> str:
            from ..openai_agents.orchestrator_generator import durable_openai_agent_activity

            return await durable_openai_agent_activity(input, model_provider)

        return run_model_activity


class DFApp(Blueprint, FunctionRegister):
    """See `durable_ext.DFApp`; what is registered here keeps the semantics of 1.x."""

    def __init__(self, http_auth_level: AuthLevel | str = AuthLevel.FUNCTION) -> None:
        super().__init__(http_auth_level)


def _check_provider(model_provider: Any) -> None:
    from agents import ModelProvider

    if not isinstance(model_provider, ModelProvider):
        raise TypeError("Provided model provider must be of type ModelProvider")


__all__ = ["Blueprint", "DFApp"]
