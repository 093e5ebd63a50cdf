"""Options of automatic retries."""

from durable_ext import RetryOptions

__all__ = ["RetryOptions"]
