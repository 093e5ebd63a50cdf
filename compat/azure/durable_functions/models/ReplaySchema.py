"""ReplaySchema: versions of the protocol between host and SDK."""

from enum import Enum


class ReplaySchema(Enum):
    """Schema versions by their number in the JSON."""

    V1 = 0
    V2 = 1
    V3 = 2


__all__ = ["ReplaySchema"]
