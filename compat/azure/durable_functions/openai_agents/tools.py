"""Tools in a form that activities can be told of: callables stay behind."""

from __future__ import annotations

from typing import Any, Union

from agents import (
    CodeInterpreterTool,
    FileSearchTool,
    FunctionTool,
    HostedMCPTool,
    ImageGenerationTool,
    RunContextWrapper,
    Tool,
    UserError,
    WebSearchTool,
)
from openai.types.responses.tool_param import Mcp
from pydantic import BaseModel

BUILT_IN_TOOL_TYPES = (FileSearchTool, WebSearchTool, ImageGenerationTool, CodeInterpreterTool)


class DurableFunctionTool(BaseModel):
    """What the model is told of a function tool."""

    name: str
    description: str
    params_json_schema: dict[str, Any]
    strict_json_schema: bool = True


class DurableMCPToolConfig(BaseModel):
    """A hosted MCP server."""

    tool_config: Mcp


DurableTool = Union[
    DurableFunctionTool,
    FileSearchTool,
    WebSearchTool,
    ImageGenerationTool,
    CodeInterpreterTool,
    DurableMCPToolConfig,
]


def convert_tool_to_durable_tool(tool: Tool) -> DurableTool:
    """Return the form of a tool that can be serialized.

    Raises:
        ValueError: Its kind cannot run in an activity.
    """
    if isinstance(tool, BUILT_IN_TOOL_TYPES):
        return tool
    if isinstance(tool, HostedMCPTool):
        return DurableMCPToolConfig(tool_config=tool.tool_config)
    if isinstance(tool, FunctionTool):
        return DurableFunctionTool(
            name=tool.name,
            description=tool.description,
            params_json_schema=tool.params_json_schema,
            strict_json_schema=tool.strict_json_schema,
        )
    raise ValueError(f"Unsupported tool type: {type(tool).__name__}")


def create_tool_from_durable_tool(durable_tool: DurableTool) -> Tool:
    """Return a tool that the model can be told of; it is never invoked, because that happens in the orchestrator.

    Raises:
        UserError: The kind is unknown.
    """
    if isinstance(durable_tool, BUILT_IN_TOOL_TYPES):
        return durable_tool
    if isinstance(durable_tool, DurableMCPToolConfig):
        return HostedMCPTool(tool_config=durable_tool.tool_config)
    if isinstance(durable_tool, DurableFunctionTool):
        return FunctionTool(
            name=durable_tool.name,
            description=durable_tool.description,
            params_json_schema=durable_tool.params_json_schema,
            on_invoke_tool=_nothing,
            strict_json_schema=durable_tool.strict_json_schema,
        )
    raise UserError(f"Unknown tool type: {type(durable_tool).__name__}")


async def _nothing(ctx: RunContextWrapper[Any], input: str) -> str:
    return ""


__all__ = [
    "BUILT_IN_TOOL_TYPES",
    "DurableFunctionTool",
    "DurableMCPToolConfig",
    "DurableTool",
    "convert_tool_to_durable_tool",
    "create_tool_from_durable_tool",
]
