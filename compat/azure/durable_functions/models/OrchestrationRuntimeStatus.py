"""Runtime statuses."""

from durable_ext import OrchestrationRuntimeStatus

__all__ = ["OrchestrationRuntimeStatus"]
