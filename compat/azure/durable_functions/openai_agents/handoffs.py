"""Handoffs in a form that activities can be told of."""

from __future__ import annotations

from typing import Any

from agents import Agent, Handoff, RunContextWrapper
from pydantic import BaseModel


class DurableHandoff(BaseModel):
    """What the model is told of a handoff."""

    tool_name: str
    tool_description: str
    input_json_schema: dict[str, Any]
    agent_name: str
    strict_json_schema: bool = True

    @classmethod
    def from_handoff(cls, handoff: Handoff[Any, Any]) -> DurableHandoff:
        """Return the form of a handoff that can be serialized."""
        return cls(
            tool_name=handoff.tool_name,
            tool_description=handoff.tool_description,
            input_json_schema=handoff.input_json_schema,
            agent_name=handoff.agent_name,
            strict_json_schema=handoff.strict_json_schema,
        )

    def to_handoff(self) -> Handoff[Any, Any]:
        """Return a handoff that the model can be told of; it is never invoked."""
        return Handoff(
            tool_name=self.tool_name,
            tool_description=self.tool_description,
            input_json_schema=self.input_json_schema,
            agent_name=self.agent_name,
            strict_json_schema=self.strict_json_schema,
            on_invoke_handoff=_nobody,
        )


async def _nobody(ctx: RunContextWrapper[Any], input: str) -> Agent[Any]:
    raise NotImplementedError("Handoffs happen in the orchestrator, not in the activity that calls the model.")


__all__ = ["DurableHandoff"]
