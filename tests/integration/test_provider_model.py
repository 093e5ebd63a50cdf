"""The model of the .NET worker makes of recorded hubs what the real one made of them: so its word counts."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from frozen_hub import FrozenHub, frozen_hubs
from support.provider_model.client import ProviderClient
from support.provider_model.recorded_app import recorded_app
from support.provider_model.storage import MemoryStorage
from support.provider_model.worker import App, ProviderWorker

RECORDED = frozen_hubs()
LOCAL = frozen_hubs("local_activities")
# Texts of failures after loading imitate the recorder (interop README).
STATUS_ONLY = {"failure-queued", "sub-failure-queued", "retry-back-off", "s18-retry-timer-trigger"}
NAMED_OTHERWISE = {"s04g-race"}  # the recorder notes "1" for "winner 1"
HOURS = 2 * 3600.0


def _worker_of(frozen: FrozenHub) -> tuple[ProviderWorker, App, MemoryStorage]:
    storage, app = MemoryStorage(frozen.content, redelivered=frozen.name.startswith("s13")), recorded_app()
    return ProviderWorker(storage, frozen.hub, app), app, storage


def _play(frozen: FrozenHub) -> tuple[ProviderWorker, App]:
    worker, app, _ = _worker_of(frozen)
    client = ProviderClient(worker)
    for step in frozen.about["then"]:
        if step["do"] == "raiseEvent":
            client.raise_event(step["instanceId"], step["name"], step["input"])
        elif step["do"] == "signalEntity":
            client.signal(step["entityId"], step["operation"], step["input"])
        elif step["do"] == "resume":
            client.resume(step["instanceId"], step["reason"])
        elif step["do"] == "rewind":
            client.rewind(step["instanceId"], step["reason"])
        elif step["do"] == "sleep":
            worker.run(3)
        elif step.get("replaceRunning"):
            client.start(step["name"], step["instanceId"], step["input"])
    worker.run(HOURS)
    return worker, app


def _check_ends(frozen: FrozenHub, worker: ProviderWorker) -> None:
    assert worker.complaints == []
    for instance in frozen.about["instances"]:
        row, expected = worker.tables.instance_row(instance["instanceId"]), instance["expected"]
        if expected is None or row is None:
            assert row == expected
            continue
        assert row["RuntimeStatus"] == expected["runtimeStatus"], instance["instanceId"]
        if frozen.name not in STATUS_ONLY:
            assert _as_expected(worker.tables.payload_of(row, "Output"), expected.get("output"))
    for entity in frozen.about.get("entities", ()):
        wanted = entity.get("expectedStateAfterThen", entity["expectedState"])
        row = worker.tables.instance_row(entity["id"])
        state = json.loads(worker.tables.payload_of(row, "Input") or "{}").get("state") if row else None
        assert json.loads(state or "null") == json.loads(wanted or "null"), entity["id"]


def _as_expected(text: str | None, expected: Any) -> bool:
    if isinstance(expected, Mapping):
        found = text or ""
        return (len(found), hashlib.sha256(found.encode()).hexdigest()) == (expected["chars"], expected["sha256"])
    return bool(text == expected)


@pytest.mark.parametrize("frozen", [pytest.param(one, id=one.name) for one in RECORDED])
def test_the_model_finishes_a_recorded_hub_as_the_provider_did(frozen: FrozenHub) -> None:
    worker, _ = _play(frozen)

    _check_ends(frozen, worker)


@pytest.mark.parametrize("frozen", [pytest.param(one, id=one.name) for one in LOCAL])
def test_the_model_makes_of_a_local_state_what_the_provider_made(frozen: FrozenHub) -> None:
    """Also where that is nothing: what was stuck is stuck, what ran twice runs twice."""
    worker, app = _play(frozen)

    _check_ends(frozen, worker)
    recorded = frozen.about["observed"]["activityRuns"]
    runs = Counter(f"{name}({value})" for name, value in app.ran)
    if "distinct" in recorded:
        assert (len(runs), max(runs.values())) == (recorded["distinct"], recorded["maximumEach"])
    elif frozen.name in NAMED_OTHERWISE:
        assert runs.total() == sum(recorded.values())
    else:
        assert runs == recorded


def _history_columns(storage: MemoryStorage, instance_id: str) -> list[tuple[Any, ...]]:
    columns = ("EventType", "Reason", "EventId", "OrchestrationStatus", "TaskScheduledId", "Name")
    return [tuple(row.get(one) for one in columns) for row, _ in storage.rows("History", instance_id)]


def test_a_rewind_of_the_model_leaves_the_rows_of_the_recorded_one() -> None:
    before, after = (next(one for one in RECORDED if one.name == name) for name in ("rewind-before", "rewind-after"))
    worker, _, storage = _worker_of(before)
    for instance_id in ("flaky-1", "parent-1"):
        ProviderClient(worker).rewind(instance_id, "repaired")

    recorded = MemoryStorage(after.content)
    for instance_id in ("flaky-1", "parent-1"):
        assert _history_columns(storage, instance_id) == _history_columns(recorded, instance_id)
    assert sum(map(len, storage.queues.values())) == sum(map(len, recorded.queues.values())) == 2


def test_a_purge_of_the_model_leaves_nothing_of_an_instance() -> None:
    frozen = next(one for one in RECORDED if one.name == "large-finished")
    worker, _, storage = _worker_of(frozen)
    ids = [str(one["instanceId"]) for one in frozen.about["instances"]]

    assert all(ProviderClient(worker).purge(one) for one in ids)

    assert not storage.tables["History"]
    assert not storage.tables["Instances"]
    assert not storage.blobs[worker.tables.container]
