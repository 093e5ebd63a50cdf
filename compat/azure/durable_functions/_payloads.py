"""How payloads are read and written under these import names: as 1.x does, in its loose or its strict mode."""

from __future__ import annotations

import os

from durable_ext.codec.serialization import DataConverter

_LOOSE, _STRICT = DataConverter(native=False), DataConverter(native=False, strict=True)


def current_converter() -> DataConverter:
    """Return the converter of the mode that `AZURE_FUNCTIONS_DURABLE_STRICT_TYPING` says now."""
    wanted = os.environ.get("AZURE_FUNCTIONS_DURABLE_STRICT_TYPING", "").strip().lower()
    return _STRICT if wanted in ("1", "true", "yes") else _LOOSE


__all__ = ["current_converter"]
