"""Lets the model work on many instances and stop at another write of each: one hub that holds every half-done state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from support.provider_model.client import ProviderClient
from support.provider_model.mixed_app import mixed_app
from support.provider_model.storage import MemoryStorage, StoppedError
from support.provider_model.worker import ProviderWorker

HUB: Final = "Model"
_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class StoppedHub:
    """What a killed worker leaves.

    Attributes:
        content: The frozen hub.
        told: Names of the events that a client has sent.
        ran: The arguments of the activities that ran.
        sent: Every message that was put.
    """

    content: dict[str, Any]
    told: set[str]
    ran: set[Any]
    sent: list[str]


def empty_hub(partitions: int = 4) -> dict[str, Any]:
    """Return a frozen hub in which nothing was ever started."""
    queues = [f"{HUB.lower()}-workitems", *(f"{HUB.lower()}-control-{index:02}" for index in range(partitions))]
    return {
        "about": {},
        "hub": HUB,
        "frozenAt": "2026-11-21T10:00:00+00:00",
        "queues": {queue: [] for queue in queues},
        "tables": {f"{HUB}History": [], f"{HUB}Instances": []},
        "containers": {},
    }


def stopped_before(
    write: int, orchestrator: str, instance_id: str, given: Any, events: Sequence[tuple[str, Any]]
) -> StoppedHub | None:
    """Start an instance and kill the worker before its n-th write; `None` if it has no such write."""
    storage, app = MemoryStorage(empty_hub()), mixed_app()
    worker = ProviderWorker(storage, HUB, app)
    client, told = ProviderClient(worker), set[str]()
    client.start(orchestrator, instance_id, given)
    storage.dies_before = storage.writes + write
    try:
        for name, value in events:
            worker.run(_SECONDS)
            client.raise_event(instance_id, name, value)
            told.add(name)
        worker.run(_SECONDS)
    except StoppedError:
        return StoppedHub(storage.freeze(), told, {argument for _, argument in app.ran}, storage.sent)
    return None


def merged(hubs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one frozen hub with all instances of several; what the dead held is back at once, timers keep their time."""
    whole = empty_hub()
    for hub in hubs:
        for queue, messages in hub["queues"].items():
            for one in messages:
                is_timer = "TimerFiredEvent" in one["text"] and not one["dequeueCount"]
                delay = one["delaySeconds"] if is_timer else 0
                whole["queues"][queue].append({**one, "delaySeconds": delay})
        for table, rows in hub["tables"].items():
            whole["tables"][table] += rows
        for container, blobs in hub["containers"].items():
            whole["containers"].setdefault(container, {}).update(blobs)
    return whole
