"""How payloads are read and written under these import names: as 1.x does, in its loose or its strict mode."""

from __future__ import annotations

from durable_ext.codec.serialization import DataConverter
from durable_ext.sdk import typing_mode


def current_converter() -> DataConverter:
    """Return the converter of the mode that `AZURE_FUNCTIONS_DURABLE_STRICT_TYPING` says now."""
    return typing_mode.current_converter(native=False)


__all__ = ["current_converter"]
