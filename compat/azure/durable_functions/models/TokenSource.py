"""Tokens for call_http."""

from durable_ext import ManagedIdentityTokenSource, TokenSource

__all__ = ["ManagedIdentityTokenSource", "TokenSource"]
