"""What is played on a hub that our worker shares with the model of the .NET worker, and what must come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_CITIES: Final = ["Tokyo", "Seattle", "London", "Paris", "Berlin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One orchestration: what it is given and what must come of it.

    Attributes:
        told: What a client does once it runs: `raise_event` (name, value), `suspend`, `resume`, `terminate` (reason).
        runs: How often each activity of its tree runs, by argument.
        amounts: What it adds to counters, by key.
        locked: What counters have more by it that it reads and sets under a lock.
    """

    orchestrator: str
    given: Any
    output: Any = None
    status: str = "Completed"
    told: Sequence[tuple[str, ...] | tuple[str, str, Any]] = ()
    runs: Mapping[Any, int] = field(default_factory=dict)
    amounts: Mapping[str, int] = field(default_factory=dict)
    locked: Mapping[str, int] = field(default_factory=dict)


def every_kind(key: str) -> list[Task]:
    """Return one task of each kind; entity keys begin with `key`."""
    counter, first, second = f"{key}-shared", f"{key}-a", f"{key}-b"
    return [
        Task(orchestrator="HelloSequence", given=5, output=[f"Hello {c}!" for c in _CITIES], runs=dict.fromkeys(_CITIES, 1)),
        Task(
            orchestrator="FanOut",
            given=8,
            output=[f"Hello City{i}!" for i in range(8)],
            runs={f"City{i}": 1 for i in range(8)},
        ),
        Task(orchestrator="SubOrch", given=1, output=[["Hello Tokyo!"]] * 2, runs={"Tokyo": 2}),
        Task(orchestrator="Family", given=3, output=[["Hello Tokyo!"]] * 3, runs={"Tokyo": 3}),
        Task(orchestrator="TimerOnce", given=1, output="done"),
        Task(orchestrator="EventOrTimer", given=1, output="timeout"),
        Task(
            orchestrator="Collect",
            given=3,
            output=[1, 2, 3],
            told=[("raise_event", "Item", 1), ("raise_event", "Item", 2), ("raise_event", "Item", 3)],
        ),
        Task(orchestrator="Eternal", given=3, output=3, runs={"round0": 1, "round1": 1, "round2": 1, "round3": 1}),
        Task(orchestrator="CatchFail", given=None, output="caught", runs={"caught": 1}),
        Task(orchestrator="Retry", given=1, status="Failed", runs={"retry": 3}),
        Task(
            orchestrator="SetStatus",
            given={"stage": 1},
            output="ok",
            told=[("suspend", "wait"), ("raise_event", "Go", None), ("resume", "go on")],
            runs={"status": 1},
        ),
        Task(orchestrator="WaitEvent", given=None, output="enough", status="Terminated", told=[("terminate", "enough")]),
        Task(orchestrator="Tally", given=[counter, 4], output=4, amounts={counter: 8}),
        Task(orchestrator="Guarded", given=[first, second], output="done", locked={first: 1, second: 1}),
        Task(orchestrator="Guarded", given=[second, first], output="done", locked={first: 1, second: 1}),
        Task(orchestrator="SignalCounter", given=f"{key}-s", output="signalled", amounts={f"{key}-s": 111}),
    ]
