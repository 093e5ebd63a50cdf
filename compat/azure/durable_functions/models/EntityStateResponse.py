"""State of an entity."""

from durable_ext import EntityStateResponse

__all__ = ["EntityStateResponse"]
