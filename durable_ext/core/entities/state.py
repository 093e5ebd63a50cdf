"""EntityState: the state of an entity while a batch runs, as text until it is asked for; knows no operations."""

from __future__ import annotations

from typing import Any

from durable_ext.core.payloads import PayloadConverter


class EntityState:
    """State text and, once decoded, the live value, which user code may change in place.

    A state that nobody touched keeps its text, so that what another worker wrote is never rewritten.
    One owner, the batch; used from one thread at a time.
    """

    __slots__ = ("_converter", "_decoded", "_touched", "_value", "exists", "text")

    def __init__(self, *, exists: bool, text: str | None, converter: PayloadConverter) -> None:
        self.exists, self.text = exists, text
        self._converter = converter
        self._value: Any = None
        self._decoded = self._touched = False

    def get(self, expected_type: Any = None) -> Any:
        """Return the live value, `None` if there is no state; later types are ignored once it is decoded."""
        if not self._decoded:
            self._value = None if self.text is None else self._converter.from_text(self.text, expected_type)
            self._decoded = True
        self._touched = self._touched or self.text is not None
        return self._value

    def set(self, value: Any) -> None:
        """Replace the live value; the entity exists from now on."""
        self._value, self._decoded, self._touched, self.exists = value, True, True, True

    def delete(self) -> None:
        """Forget the state; the entity no longer exists."""
        self.restore(exists=False, text=None)

    def restore(self, *, exists: bool, text: str | None) -> None:
        """Go back to an earlier state; what the live value became is lost."""
        self.exists, self.text = exists, text
        self._value, self._decoded, self._touched = None, False, False

    def settle(self) -> None:
        """Bring the text up to date with the live value.

        Raises:
            TypeError: The value cannot be serialized; the text is still that of before.
        """
        if self._touched:
            self.text = self._converter.to_text(self._value)
            self._touched = False
