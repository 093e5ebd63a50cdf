"""Pairs what history recorded with what the code decides now; the sole raiser of NonDeterminismError."""

from __future__ import annotations

from typing import Any, Final, Union

from durable_ext.core.actions import SendEvent
from durable_ext.core.events import (
    EventSent,
    HistoryEvent,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TimerCreated,
)
from durable_ext.core.tasks import ActivityTask, SubOrchestrationTask, TimerTask
from durable_ext.errors import NonDeterminismError

_REWOUND: Final = (
    "This instance was rewound, and what its code did after a step had failed (in except and finally blocks, or by giving "
    "entity locks back) is still in its history, where a rewind leaves it. Such an instance cannot go on: start a new one."
)

Decision = Union[ActivityTask[Any], SubOrchestrationTask[Any], TimerTask, SendEvent]
"""What waits in a replay to be found in history or to become an action."""


def is_same(event: HistoryEvent, decision: Decision | None) -> bool:
    """Whether a recorded event is that of a decision: kind and name, case aside; inputs and times are not compared."""
    if isinstance(event, TaskScheduled):
        return isinstance(decision, ActivityTask) and decision.name.casefold() == event.name.casefold()
    if isinstance(event, SubOrchestrationInstanceCreated):
        return isinstance(decision, SubOrchestrationTask) and decision.name.casefold() == event.name.casefold()
    if isinstance(event, TimerCreated):
        return isinstance(decision, TimerTask)
    return isinstance(event, EventSent) and isinstance(decision, SendEvent) and _kind(decision.name) == _kind(event.name)


def _kind(event_name: str) -> str:
    # The time in the name of a delayed request is computed from when it was sent, so it is no part of the kind.
    return event_name.partition("@")[0]


def diverged(
    event: HistoryEvent, decision: Decision | None, *, instance_id: str, routine: object, was_rewound: bool
) -> NonDeterminismError:
    """Return the error that names event, recorded, decided and the line where the code waits."""
    return NonDeterminismError(
        instance_id=instance_id,
        event_id=event.event_id,
        recorded=_recorded(event),
        decided=None if decision is None else _decided(decision),
        location=source_location(routine),
        advice=_REWOUND if was_rewound else None,
    )


def _recorded(event: HistoryEvent) -> str:
    name = getattr(event, "name", None)
    return f"{type(event).__name__} '{name}'" if name is not None else type(event).__name__


def _decided(decision: Decision) -> str:
    if isinstance(decision, ActivityTask):
        return f"activity '{decision.name}'"
    if isinstance(decision, SubOrchestrationTask):
        return f"sub-orchestration '{decision.name}'"
    if isinstance(decision, TimerTask):
        return "a timer"
    return f"event '{decision.name}' to '{decision.target}'"


def source_location(routine: object) -> str | None:
    """Return `file:line` where a generator or coroutine is suspended, the innermost one it waits for; `None` if it ended."""
    found: str | None = None
    while routine is not None:
        frame = getattr(routine, "gi_frame", None) or getattr(routine, "cr_frame", None)
        if frame is None or frame.f_code.co_filename == _OWN_FILE:
            break
        found = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        routine = getattr(routine, "gi_yieldfrom", None) or getattr(routine, "cr_await", None)
    return found


_OWN_FILE = ActivityTask.__await__.__code__.co_filename
