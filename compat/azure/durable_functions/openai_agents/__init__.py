"""OpenAI agents as orchestrators: model calls and tools become activities. Needs the packages openai-agents and pydantic."""

from .context import DurableAIAgentContext

__all__ = ["DurableAIAgentContext"]
