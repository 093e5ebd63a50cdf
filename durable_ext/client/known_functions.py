"""KnownFunctions: the function names of an app, as far as a client refuses others; knows no registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from durable_ext.errors import FunctionNotFoundError


class KnownFunctions:
    """Names by kind (`"orchestrator"`, `"entity"`), as registered; their case does not count."""

    __slots__ = ("_folded", "_names")

    def __init__(self, names: Mapping[str, Sequence[str]]) -> None:
        self._names = names
        self._folded = {kind: frozenset(name.lower() for name in each) for kind, each in names.items()}

    def require(self, kind: str, name: str) -> None:
        """Accept a name of the app.

        Raises:
            FunctionNotFoundError: It has no such function; the text names those that it has.
        """
        if name.lower() not in self._folded[kind]:
            raise FunctionNotFoundError(kind, name, self._names[kind])
