"""ResponseMessage: the answer of an entity, as history has it."""

from __future__ import annotations

import json
from typing import Any


class ResponseMessage:
    """Result text and whether it is an error."""

    def __init__(self, result: str, is_exception: bool = False) -> None:
        self.result, self.is_exception = result, is_exception
        if isinstance(result, str) and result.strip().startswith("Timeout value of"):
            self.is_exception = True
            self.result = json.dumps(result)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> ResponseMessage:
        """Read a parsed answer."""
        return cls(d["result"], "exceptionType" in d)


__all__ = ["ResponseMessage"]
