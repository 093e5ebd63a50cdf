"""FunctionContext: what the host gave besides the known members."""

from __future__ import annotations

from typing import Any


class FunctionContext:
    """Keyword arguments as attributes."""

    def __init__(self, **kwargs: Any) -> None:
        self.__dict__.update(kwargs)


__all__ = ["FunctionContext"]
