"""Which control queue an instance belongs to: FNV-1a of its raw UTF-8 id, modulo the partition count.

Source: specs/azure-storage.md 3.1.
"""

from __future__ import annotations

from typing import Final

_START: Final = 0x811C9DC5
_PRIME: Final = 0x01000193
_MASK: Final = 0xFFFFFFFF


def fnv1a(text: str) -> int:
    """Return the 32-bit FNV-1a hash of the UTF-8 bytes of a text."""
    value = _START
    for byte in text.encode("utf-8", "surrogatepass"):
        value = ((value ^ byte) * _PRIME) & _MASK
    return value


def partition_index(instance_id: str, partition_count: int) -> int:
    """Return the index of the control queue that gets an instance's messages."""
    return fnv1a(instance_id) % partition_count
