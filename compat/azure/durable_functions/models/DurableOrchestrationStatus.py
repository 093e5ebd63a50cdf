"""Status of an instance."""

from durable_ext import DurableOrchestrationStatus

__all__ = ["DurableOrchestrationStatus"]
