"""Decorators of the v2 programming model."""
