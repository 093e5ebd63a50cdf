"""One event of the history."""

from durable_ext.sdk.history_event import HistoryEvent

__all__ = ["HistoryEvent"]
