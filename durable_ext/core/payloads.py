"""How core turns user values into text and back: a port that `codec` fills, because core may not know JSON.

Forms (specs/execution-semantics.md 3.1, 6, 7; specs/sdk.md 6.3). "SDK text" is the JSON text of a value, e.g. `"Tokyo"`.
"""

from __future__ import annotations

from typing import Any, Protocol

from durable_ext.failure import refusal


class PayloadConverter(Protocol):
    """User values ↔ recorded text."""

    def to_text(self, value: Any) -> str:
        """Return the SDK text of a value (1.x envelope for custom objects).

        Raises:
            TypeError: The value cannot be serialized; the text names its class.
        """
        ...

    def from_text(self, text: str, expected_type: Any = None) -> Any:
        """Decode SDK text; type hints (dataclass, enum, datetime, UUID, Decimal, TypedDict, pydantic) are honoured."""
        ...

    def output_text(self, value: Any) -> str:
        """Return an orchestration's output as the compact JSON that history records; `TypeError` as `to_text`."""
        ...

    def wrap_argument(self, text: str) -> str:
        """Return a JSON array with the text as its one string: `"Tokyo"` → `["\\"Tokyo\\""]` (activity messages)."""
        ...

    def unwrap_argument(self, payload: str | None) -> str | None:
        """Undo `wrap_argument`; `ValueError` if the payload is not an array with one element.

        An element that is not a string (written by other languages) is returned as its JSON text.
        """
        ...

    def wrap_text(self, text: str) -> str:
        """Return the text as a JSON string: sub-orchestration inputs, client start inputs, client events."""
        ...

    def unwrap_input(self, recorded: str | None) -> str | None:
        """Return the SDK text of a recorded ExecutionStarted.Input: one JSON string level off if it is one, else itself.

        A recorded JSON string whose content is not JSON (plain HTTP start with a bare string) is returned as recorded.
        """
        ...


def not_json(kind: str, name: str, value: object, error: TypeError) -> TypeError:
    """Return the error of a function whose return value cannot be serialized; it quotes what the converter says.

    `kind` is the word in the text: activity or orchestrator.
    """
    type_name = type(value).__name__
    article = "an" if type_name[:1].lower() in tuple("aeiou") else "a"
    text = (
        f"The return value of {kind} '{name}' is {article} {type_name}, which JSON cannot hold: {error}. Return dict, list, "
        f"str, int, float, bool or None, a dataclass, or an object with to_json and from_json."
    )
    return refusal(TypeError(text))
