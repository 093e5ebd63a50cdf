"""The client."""

from durable_ext import DurableOrchestrationClient

__all__ = ["DurableOrchestrationClient"]
