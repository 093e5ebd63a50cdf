"""Which converter payloads get where no host of ours has read the settings: 1.x's strict or loose typing mode.

Under the Durable extension an app is called without a host of ours, and 1.x reads the switch at every call
(specs/sdk.md 6.2). So this is the one module besides `hosting.settings` that looks into the environment.
"""

from __future__ import annotations

import os
from typing import Final

from durable_ext.codec.serialization import DataConverter

STRICT_TYPING_SETTING: Final = "AZURE_FUNCTIONS_DURABLE_STRICT_TYPING"

_NATIVE: Final = (DataConverter(), DataConverter(strict=True))
_AS_1X: Final = (DataConverter(native=False), DataConverter(native=False, strict=True))


def is_switched_on(value: str) -> bool:
    """Whether a setting's text switches strict typing on."""
    return value.strip().lower() in ("1", "true", "yes")


def current_converter(*, native: bool = True) -> DataConverter:
    """Return the converter of the mode that is set now; `native=False` reads and writes payloads exactly as 1.x does."""
    loose, strict = _NATIVE if native else _AS_1X
    return strict if is_switched_on(os.environ.get(STRICT_TYPING_SETTING, "")) else loose
