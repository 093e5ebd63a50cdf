"""The request of call_http."""

from durable_ext import DurableHttpRequest

__all__ = ["DurableHttpRequest"]
