"""Signal: an operation that an entity sends."""

from __future__ import annotations

from durable_ext import EntityId


class Signal:
    """Target, operation and input (JSON text)."""

    def __init__(self, target: EntityId, name: str, input_: str) -> None:
        self._target, self._name, self._input = target, name, input_

    @property
    def target(self) -> EntityId:
        """The entity it is for."""
        return self._target

    @property
    def name(self) -> str:
        """The operation."""
        return self._name

    @property
    def input(self) -> str:
        """JSON text."""
        return self._input


__all__ = ["Signal"]
