"""How many activities this worker keeps for itself, so that those that it cannot begin soon are not hidden from others."""

from __future__ import annotations

from collections.abc import Sequence

from durable_ext.backends.protocol import OutgoingActivity
from durable_ext.core.messages import TaskMessage
from durable_ext.runtime.services import OrchestrationServices


def outgoing(
    messages: Sequence[TaskMessage], services: OrchestrationServices, *, claims: bool
) -> tuple[OutgoingActivity, ...]:
    """Return activities for a checkpoint: with `claims` those that this worker knows and has room for run here.

    Any thread may call it. Sessions that store at the same time may claim the same room: what does not begin is released
    by the dispatcher.
    """
    room, knows = _room(services) if claims else 0, services.runner.knows
    activities = []
    for message in messages:
        run_here = room > 0 and knows(message.event.name)  # type: ignore[attr-defined]
        room -= run_here
        activities.append(OutgoingActivity(message=message, run_here=run_here))
    return tuple(activities)


def _room(services: OrchestrationServices) -> int:
    """Return how many activities begin at once, and one more for each slot, so that none is idle while more are fetched."""
    slots = services.activity_slots
    return slots.limit + slots.free - services.activities.waiting
