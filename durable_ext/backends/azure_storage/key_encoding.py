"""Instance ids as table keys: the characters that keys cannot hold, escaped as KeySanitation.cs does.

Source: specs/azure-storage.md 3.3. Not idempotent: escape exactly once.
"""

from __future__ import annotations

import re
from typing import Final

_SHIFT: Final = 0xC0
_PAIRS: Final = {"^": "^^", "/": "^0", "\\": "^1", "#": "^2", "?": "^3"}
_UNPAIRS: Final = {escaped[1]: char for char, escaped in _PAIRS.items()}
_UNSAFE: Final = re.compile("[\\^/\\\\#?\x00-\x1f\x7f-\x9f]")
_ESCAPE: Final = re.compile("\\^(.)", re.DOTALL)


def escape_key(instance_id: str) -> str:
    """Return the PartitionKey of an instance id."""
    if _UNSAFE.search(instance_id) is None:
        return instance_id
    return _UNSAFE.sub(lambda found: _PAIRS.get(found[0]) or f"^{chr(ord(found[0]) + _SHIFT)}", instance_id)


def unescape_key(key: str) -> str:
    """Return the instance id of a PartitionKey."""
    if "^" not in key:
        return key
    return _ESCAPE.sub(lambda found: _unescaped(found[1]), key)


def _unescaped(char: str) -> str:
    if char in _UNPAIRS:
        return _UNPAIRS[char]
    return chr(ord(char) - _SHIFT) if ord(char) >= _SHIFT else char
