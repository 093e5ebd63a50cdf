"""The durable client binding."""

from durable_ext.sdk.bindings import DurableOrchestrationBindings

__all__ = ["DurableOrchestrationBindings"]
