"""Messages on their way out of a work item."""

from __future__ import annotations

from dataclasses import dataclass

from support.provider_model.dotnet import ticks
from support.provider_model.envelopes import Envelope


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message and when it is due (ticks; 0 = now)."""

    envelope: Envelope
    due: int = 0
    is_work_item: bool = False


def due_of_signal(name: str) -> int:
    """Return when an event for an entity is due: its name says so after `op@`."""
    return ticks(name[3:]) if name.startswith("op@") else 0
