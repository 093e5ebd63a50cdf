"""How long activities that a store has fetched ahead may lie there; the same for every store."""

from __future__ import annotations

from typing import Final

QUICK_SECONDS: Final = 0.5
"""Those that are taken so soon let the store fetch more at once."""
UNTAKEN_SECONDS: Final = 2.0
"""Those that nobody takes in that time are given back: all slots are busy, and other workers may have free ones."""
