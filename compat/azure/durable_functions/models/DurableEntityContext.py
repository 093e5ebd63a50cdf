"""DurableEntityContext: an entity and the operation that runs."""

from __future__ import annotations

from typing import Any

from durable_ext.codec.serialization import DataConverter
from durable_ext.sdk.out_of_proc_entity import OutOfProcEntityContext

from .._payloads import current_converter
from .utils.df_serialization import df_loads


class DurableEntityContext(OutOfProcEntityContext):
    """The context that the Durable extension's request describes."""

    @classmethod
    def default_converter(cls) -> DataConverter:
        """Return the converter of the mode that is set now."""
        return current_converter()

    def result_text(self, returned: Any) -> str:
        """Return the JSON text of what the operation set; what it returned does not count, as in 1.x."""
        return super().result_text(None)


def from_json_util(json_str: str, expected_type: Any = None) -> Any:
    """Decode a payload."""
    return df_loads(json_str, expected_type)


__all__ = ["DurableEntityContext", "from_json_util"]
