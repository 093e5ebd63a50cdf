"""df_dumps and df_loads: those of `azure.functions` if it has them, else our own (specs/sdk.md 6.2)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from durable_ext.codec.serialization import open_envelope, to_envelope

logger = logging.getLogger(__name__)

try:
    from azure.functions._durable_functions import _get_serialize_default, df_dumps, df_loads
except ImportError:  # azure-functions before 1.26
    _told = False

    def _tell() -> None:
        global _told
        if not _told:
            _told = True
            logger.debug("azure-functions has no df_dumps and df_loads; payload types are not checked.")

    def _get_serialize_default() -> Callable[..., Any] | None:
        return to_envelope

    def df_dumps(value: Any) -> str:
        _tell()
        return json.dumps(value, default=to_envelope)

    def df_loads(s: str, expected_type: type | None = None) -> Any:
        _tell()
        return json.loads(s, object_hook=open_envelope)


__all__ = ["df_dumps", "df_loads"]
