"""Numbers of the history events."""

from durable_ext.core.events import EventType as HistoryEventType

__all__ = ["HistoryEventType"]
