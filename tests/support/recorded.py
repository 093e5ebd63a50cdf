"""Histories recorded from the Durable extension, as values (tests/replay/histories)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from durable_ext.codec.wire import event_from_wire
from durable_ext.core.events import EventType, ExecutionStarted, HistoryEvent, OrchestratorCompleted, OrchestratorStarted

HISTORIES = Path(__file__).resolve().parents[1] / "replay" / "histories"
_NAMES = {kind.value: "".join(part.capitalize() for part in kind.name.split("_")) for kind in EventType}
RECEIVED = ("TaskScheduled", "TimerCreated", "SubOrchestrationInstanceCreated", "EventSent")


@dataclass(frozen=True, slots=True)
class RecordedEpisode:
    """What the extension sent at one waking: `past` and the newly `received` events, at the episode's time `began`."""

    past: tuple[HistoryEvent, ...]
    began: OrchestratorStarted
    received: tuple[HistoryEvent, ...]

    @property
    def size(self) -> int:
        """How many events the request had."""
        return len(self.past) + 1 + len(self.received)


@dataclass(frozen=True, slots=True)
class RecordedGeneration:
    """All wakings of one execution id, and for each but the last one what was decided: kind, event id, name."""

    name: str
    started: ExecutionStarted
    episodes: tuple[RecordedEpisode, ...]
    decided: tuple[tuple[tuple[str, int, str | None], ...], ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One recording: its generations in order of their first request, and the final rows by instance id."""

    name: str
    generations: tuple[RecordedGeneration, ...]
    final: dict[str, dict[str, Any]]


def scenarios() -> tuple[str, ...]:
    """Return the names of all recordings."""
    return tuple(sorted(path.stem for path in HISTORIES.glob("*.json")))


def load(name: str) -> Scenario:
    """Read one recording."""
    document = json.loads((HISTORIES / f"{name}.json").read_text(encoding="utf-8"))
    grouped: dict[str, list[tuple[str, list[HistoryEvent]]]] = {}
    for episode in document["episodes"]:
        events = [_event(each) for each in json.loads(episode["request"])["history"]]
        grouped.setdefault(str(_started(events).instance.execution_id), []).append((episode["name"], events))
    final = [document["finalStatus"], *_children(document.get("childStatuses", ()))]
    rows = [json.loads(row) if isinstance(row, str) else row for row in final]
    return Scenario(
        name,
        tuple(_generation(requests) for requests in grouped.values()),
        {row["instanceId"]: row for row in rows},
    )


def _children(rows: dict[str, Any] | Sequence[Any]) -> Sequence[Any]:
    return list(rows.values()) if isinstance(rows, dict) else rows


def _generation(requests: Sequence[tuple[str, list[HistoryEvent]]]) -> RecordedGeneration:
    histories = [events for _, events in requests]
    decided = []
    for now, later in itertools.pairwise(histories):
        new = later[len(now) :]
        end = next(i for i, event in enumerate(new) if isinstance(event, OrchestratorCompleted))
        decided.append(tuple((type(e).__name__, e.event_id, getattr(e, "name", None)) for e in new[:end]))
    return RecordedGeneration(
        requests[0][0], _started(histories[0]), tuple(_episode(events) for events in histories), tuple(decided)
    )


def _episode(events: list[HistoryEvent]) -> RecordedEpisode:
    begin = max(i for i, event in enumerate(events) if isinstance(event, OrchestratorStarted))
    began = events[begin]
    assert isinstance(began, OrchestratorStarted)
    return RecordedEpisode(tuple(events[:begin]), began, tuple(events[begin + 1 :]))


def _event(document: dict[str, Any]) -> HistoryEvent:
    kind = _NAMES[document["EventType"]]
    name = kind if kind == "GenericEvent" else f"{kind}Event"
    return event_from_wire({**document, "$type": f"DurableTask.Core.History.{name}, DurableTask.Core"})


def _started(events: Sequence[HistoryEvent]) -> ExecutionStarted:
    return next(event for event in events if isinstance(event, ExecutionStarted))
