"""Result of a purge."""

from durable_ext import PurgeHistoryResult

__all__ = ["PurgeHistoryResult"]
