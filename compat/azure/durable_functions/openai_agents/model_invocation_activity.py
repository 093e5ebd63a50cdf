"""Model calls as activities: what is sent to one, who calls the model there, and the model that agents see instead."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator
from enum import IntEnum
from typing import Any, Optional, Union

from agents import (
    AgentOutputSchema,
    AgentOutputSchemaBase,
    Handoff,
    Model,
    ModelProvider,
    ModelResponse,
    ModelSettings,
    ModelTracing,
    OpenAIProvider,
    Tool,
)
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from ..models.RetryOptions import RetryOptions
from .handoffs import DurableHandoff
from .task_tracker import TaskTracker
from .tools import DurableTool, convert_tool_to_durable_tool, create_tool_from_durable_tool

_RESPONSE: TypeAdapter[ModelResponse] = TypeAdapter(ModelResponse)
_HANDED_ON = ("conversation_id",)


class DurableAgentOutputSchema(AgentOutputSchemaBase, BaseModel):
    """What the model is told of an output type."""

    output_type_name: Optional[str] = None
    output_schema: Optional[dict[str, Any]] = None
    strict_json_schema: bool

    def is_plain_text(self) -> bool:
        """Whether the output is no JSON object."""
        return self.output_type_name is None or self.output_type_name == "str"

    def name(self) -> str:
        """Name of the output type."""
        return self.output_type_name or "str"

    def json_schema(self) -> dict[str, Any]:
        """JSON schema of the output type.

        Raises:
            ValueError: The output is plain text.
        """
        if self.is_plain_text() or self.output_schema is None:
            raise ValueError("Cannot provide JSON schema for plain text output types")
        return self.output_schema

    def is_strict_json_schema(self) -> bool:
        """Whether the schema is in strict mode."""
        return self.strict_json_schema

    def validate_json(self, json_str: str) -> Any:
        """Refuse: outputs are validated in the orchestrator."""
        raise NotImplementedError("Outputs are validated in the orchestrator, not in the activity that calls the model.")


class ModelTracingLevel(IntEnum):
    """What is traced of a model call."""

    DISABLED = 0
    ENABLED = 1
    ENABLED_WITHOUT_DATA = 2


class DurableModelActivityInput(BaseModel):
    """Input of the activity that calls a model."""

    input: Union[str, list[Any]]
    model_settings: ModelSettings
    tracing: ModelTracingLevel
    model_name: Optional[str] = None
    system_instructions: Optional[str] = None
    tools: list[DurableTool] = Field(default_factory=list)
    output_schema: Optional[DurableAgentOutputSchema] = None
    handoffs: list[DurableHandoff] = Field(default_factory=list)
    previous_response_id: Optional[str] = None
    prompt: Optional[Any] = None

    def to_json(self) -> str:
        """Return the JSON text.

        Raises:
            ValueError: It cannot be serialized.
        """
        try:
            return self.model_dump_json(warnings=False)
        except Exception:  # values that pydantic does not know
            try:
                return json.dumps(self.model_dump(warnings=False), default=str)
            except Exception as error:
                raise ValueError(f"Unable to serialize the input of the model activity: {error}") from error

    @classmethod
    def from_json(cls, json_str: str) -> DurableModelActivityInput:
        """Parse the JSON text."""
        return cls.model_validate_json(json_str)


class ModelInvoker:
    """Calls a model of the provider, by default OpenAI's, inside an activity."""

    def __init__(self, model_provider: ModelProvider | None = None) -> None:
        self._model_provider = model_provider if model_provider is not None else OpenAIProvider()

    async def invoke_model_activity(self, input: DurableModelActivityInput) -> ModelResponse:
        """Call the model and return its response."""
        model = self._model_provider.get_model(input.model_name)
        return await model.get_response(
            system_instructions=input.system_instructions,
            input=input.input,
            model_settings=input.model_settings,
            tools=[create_tool_from_durable_tool(tool) for tool in input.tools],
            output_schema=input.output_schema,
            handoffs=[handoff.to_handoff() for handoff in input.handoffs],
            tracing=ModelTracing(input.tracing),
            previous_response_id=input.previous_response_id,
            prompt=input.prompt,
            **_of_this_version(model),
        )


def _of_this_version(model: Model) -> dict[str, Any]:
    """Return the arguments that newer versions of the agents' package require."""
    known = inspect.signature(model.get_response).parameters
    return {name: None for name in _HANDED_ON if name in known}


class DurableActivityModel(Model):
    """The model that agents see in an orchestrator: every call is an activity."""

    def __init__(
        self,
        model_name: str | None,
        task_tracker: TaskTracker,
        retry_options: RetryOptions | None,
        activity_name: str,
    ) -> None:
        self.model_name, self.task_tracker = model_name, task_tracker
        self.retry_options, self.activity_name = retry_options, activity_name

    async def get_response(
        self,
        system_instructions: str | None,
        input: Any,
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff[Any, Any]],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        prompt: Any,
        conversation_id: str | None = None,
    ) -> ModelResponse:
        """Return the model's response.

        Raises:
            YieldException: The activity has not ended yet.
            TypeError: The output schema is no `AgentOutputSchema`.
        """
        request = DurableModelActivityInput(
            model_name=self.model_name,
            system_instructions=system_instructions,
            input=input,
            model_settings=model_settings,
            tools=[convert_tool_to_durable_tool(tool) for tool in tools],
            output_schema=_durable_schema(output_schema),
            handoffs=[DurableHandoff.from_handoff(handoff) for handoff in handoffs],
            tracing=ModelTracingLevel.DISABLED,  # a replay would trace a call again and again
            previous_response_id=previous_response_id,
            prompt=prompt,
        )
        if self.retry_options:
            answer = self.task_tracker.get_activity_call_result_with_retry(
                self.activity_name, self.retry_options, request.to_json()
            )
        else:
            answer = self.task_tracker.get_activity_call_result(self.activity_name, request.to_json())
        return _response(json.loads(answer))

    def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Refuse: an activity has one result."""
        raise NotImplementedError("Durable model doesn't support streams yet")


def _durable_schema(schema: AgentOutputSchemaBase | None) -> DurableAgentOutputSchema | None:
    if schema is None:
        return None
    if not isinstance(schema, AgentOutputSchema):
        raise TypeError(f"Only AgentOutputSchema is supported by durable models, got {type(schema).__name__}")
    plain = schema.is_plain_text()
    return DurableAgentOutputSchema(
        output_type_name=schema.name(),
        output_schema=None if plain else schema.json_schema(),
        strict_json_schema=schema.is_strict_json_schema(),
    )


def _response(members: dict[str, Any]) -> ModelResponse:
    """Return the response; counts that the versions which recorded it did not know are zero."""
    try:
        return ModelResponse(**members)
    except ValidationError as invalid:
        unknown = [error["loc"] for error in invalid.errors() if error["type"] == "missing" and error["loc"][0] == "usage"]
        if not unknown:
            raise
    for *path, name in unknown:
        place: Any = members
        for step in path:
            place = place[step]
        place[name] = 0
    return ModelResponse(**members)


def response_text(response: ModelResponse) -> str:
    """Return the JSON text of a model's response."""
    return _RESPONSE.dump_json(response, warnings=False).decode()


__all__ = [
    "DurableActivityModel",
    "DurableAgentOutputSchema",
    "DurableModelActivityInput",
    "ModelInvoker",
    "ModelTracingLevel",
]
