"""DurableEntityContext: an entity and the operation that runs."""

from __future__ import annotations

from typing import Any

from durable_ext.sdk.out_of_proc_entity import OutOfProcEntityContext

from .utils.df_serialization import df_loads


class DurableEntityContext(OutOfProcEntityContext):
    """The context that the Durable extension's request describes."""


def from_json_util(json_str: str, expected_type: Any = None) -> Any:
    """Decode a payload."""
    return df_loads(json_str, expected_type)


__all__ = ["DurableEntityContext", "from_json_util"]
