"""Entity ids."""

from durable_ext import EntityId

__all__ = ["EntityId"]
