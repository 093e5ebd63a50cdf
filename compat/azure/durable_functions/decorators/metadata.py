"""Triggers and bindings."""

from durable_ext.sdk.triggers import ActivityTrigger, EntityTrigger, OrchestrationTrigger
from durable_ext.sdk.triggers import DurableClientInput as DurableClient

__all__ = ["ActivityTrigger", "DurableClient", "EntityTrigger", "OrchestrationTrigger"]
