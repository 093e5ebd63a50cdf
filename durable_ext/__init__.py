"""Durable Functions for Python without the .NET extension."""
