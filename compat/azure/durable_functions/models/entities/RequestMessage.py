"""RequestMessage: a request to an entity, as history has it."""

from __future__ import annotations

import json
from typing import Any


class RequestMessage:
    """The members of the request; `entity_id`-less, as the host writes it."""

    def __init__(
        self,
        id_: str,
        name: str | None = None,
        signal: bool | None = None,
        input_: str | None = None,
        arg: Any = None,
        parent: str | None = None,
        lockset: list[Any] | None = None,
        pos: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.id, self.name, self.signal, self.input, self.arg = id_, name, signal, input_, arg
        self.parent, self.lockset, self.pos = parent, lockset, pos

    @classmethod
    def from_json(cls, json_str: str) -> RequestMessage:
        """Read the JSON text of a request."""
        members = json.loads(json_str)
        members["id_"] = members.pop("id")
        return cls(**members)


__all__ = ["RequestMessage"]
