"""Hubs written by us are handed to the .NET provider in the middle, and its to us: one stops after its n-th write.

No .NET runs here: its worker is the model in `tests/support/provider_model`, which `test_provider_model.py` holds to the
recorded hubs.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from azure_hub import AzureHub, run_azure_hub
from azurite import Azurite, running_azurite
from frozen_hub import FrozenHub, load_hub
from interop_app import ActivityRuns
from support.freezing import Freezer, FrozenState
from support.mixed_app import mixed_registry
from support.mixed_worker import message_text
from support.provider_model.client import ProviderClient
from support.provider_model.event_schema import Event
from support.provider_model.ledger import Ledger, deliveries
from support.provider_model.mixed_app import mixed_app
from support.provider_model.stopping import StoppedHub, merged, stopped_before
from support.provider_model.storage import MemoryStorage
from support.provider_model.worker import ProviderWorker

from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import StorageTransport, open_lean_transport
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import EventRaised, TaskCompleted, TaskFailed, TaskScheduled
from durable_ext.core.messages import InstanceId
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite

HOURS = 2 * 3600.0
PATIENCE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """An orchestrator of the recorded app, what a client does with it, and what it must come to.

    Attributes:
        started: What ends the id of an orchestration that nobody waits for.
    """

    orchestrator: str
    given: Any = None
    output: Any = None
    status: str = "Completed"
    events: Sequence[tuple[str, Any]] = ()
    activities: Sequence[Any] = ()
    entities: Mapping[str, Any] = field(default_factory=dict)
    started: str = ""
    name: str = ""


HELLO = ["Tokyo", "Seattle", "London", "Paris", "Berlin"]
LONG = [*HELLO, *(f"City{i}" for i in range(5, 24))]  # see the app in interop/README.md
SCENARIOS = [
    Handover(orchestrator="HelloSequence", given=5, output=[f"Hello {c}!" for c in HELLO], activities=HELLO),
    Handover(
        orchestrator="HelloSequence",
        given=24,
        output=[f"Hello {c}!" for c in LONG],
        activities=LONG,
        name="HelloSequenceLong",
    ),
    Handover(
        orchestrator="FanOut",
        given=3,
        output=[f"Hello City{i}!" for i in range(3)],
        activities=[f"City{i}" for i in range(3)],
    ),
    Handover(
        orchestrator="FanOut",
        given=52,
        output=[f"Hello City{i}!" for i in range(52)],
        activities=[f"City{i}" for i in range(52)],
        name="FanOutWide",
    ),
    Handover(
        orchestrator="SubOrch",
        given=2,
        output=[["Hello Tokyo!", "Hello Seattle!"]] * 2,
        activities=HELLO[:2],
    ),
    Handover(orchestrator="TimerOnce", given=1, output="done"),
    Handover(orchestrator="EventOrTimer", given=3600, output={"ok": 1}, events=[("Approval", {"ok": 1})]),
    Handover(orchestrator="WaitEvent", output=7, events=[("Approval", 7)]),
    Handover(orchestrator="Eternal", given=2, output=2, activities=["round0", "round1", "round2"]),
    Handover(
        orchestrator="Shrink",
        given=[2, 2],
        output=["Hello step1.0!", "Hello step1.1!"],
        activities=["step2.0", "step2.1", "step1.0", "step1.1"],
    ),
    Handover(orchestrator="CatchFail", output="caught", activities=["caught"]),
    Handover(orchestrator="SubFail", given="deep", status="Failed", activities=["deep"]),
    Handover(orchestrator="Retry", given=1, status="Failed", activities=["retry"]),
    Handover(orchestrator="SetStatus", given={"stage": 1}, output="ok", events=[("Go", None)], activities=["status"]),
    Handover(orchestrator="Race", given=4, activities=[f"City{i}" for i in range(4)]),
    Handover(orchestrator="Big", given=50_000, output="x" * 50_000, activities=[50_000, "x" * 50_000]),
    Handover(orchestrator="CallCounter", given="k", output=5, entities={"k": 5}),
    Handover(orchestrator="SignalCounter", given="k", output="signalled", entities={"k": 111}),
    Handover(orchestrator="LockCounter", given="k", output=10, events=[("Release", 0)], entities={"k": 10}),
    Handover(
        orchestrator="ToldThenWorks",
        output=["Hello Rome!", "Hello after!"],
        events=[("Approval", "Rome")],
        activities=["Rome", "after"],
    ),
    Handover(
        orchestrator="Relayed", given="k", output="relayed", activities=["Tokyo"], entities={"k": 7}, started="-started"
    ),
]
QUICK = {"HelloSequence", "SubOrch", "Eternal", "CallCounter", "ToldThenWorks"}
QUICK_BACK = {"HelloSequence", "Eternal", "CallCounter"}
MODES = {
    "on": WorkerSettings(local_activities="on", local_activity_spill=timedelta(hours=1)),
    "spilled": WorkerSettings(local_activities="on", local_activity_spill=timedelta(0)),
    "batched": WorkerSettings(local_activities="batched", local_activity_spill=timedelta(hours=1)),
    "off": WorkerSettings(local_activities="off"),
}


def _cases() -> list[Any]:
    return [
        pytest.param(
            scenario,
            mode,
            id=f"{scenario.name or scenario.orchestrator}-{mode}",
            marks=[] if scenario.orchestrator in QUICK and not scenario.name and mode == "on" else [pytest.mark.slow],
        )
        for scenario in SCENARIOS
        for mode in MODES
    ]


@pytest.fixture(scope="module")
def azurite() -> Iterator[Azurite]:
    with running_azurite() as running:
        yield running


@pytest.fixture
async def transport(azurite: Azurite) -> AsyncIterator[StorageTransport]:
    opened = open_lean_transport(account_from_connection_string(azurite.connection_string))
    yield opened
    await opened.close()


def _settings(azurite: Azurite, task_hub: str) -> AzureStorageSettings:
    return AzureStorageSettings(
        connection=azurite.connection_string,
        task_hub=task_hub,
        max_queue_polling_interval=timedelta(milliseconds=300),
        use_app_lease=False,
    )


@pytest.mark.parametrize("newest_first", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["in-order", "reversed"])
@pytest.mark.parametrize(("scenario", "mode"), _cases())
async def test_the_provider_goes_on_after_each_of_our_writes(
    azurite: Azurite, transport: StorageTransport, task_hub: str, scenario: Handover, mode: str, newest_first: bool
) -> None:
    settings, runs = _settings(azurite, task_hub), ActivityRuns()
    freezer = Freezer(transport, settings.names, newest_first=newest_first)
    async with run_azure_hub(settings, mixed_registry(runs), worker_settings=MODES[mode], interceptor=freezer) as hub:
        await _play(scenario, hub, freezer)
    ours = {argument for _, argument in runs.all}

    bad = [
        f"after write {number} ({state.after}){', all at once' if hurry else ''}: {reason}"
        for number, state in enumerate(freezer.states, 1)
        for hurry in (False, True)
        for reason in _model_goes_on(scenario, state, ours, hurry=hurry)
    ]

    assert len(freezer.states) > 3
    assert not bad, f"{len(bad)} of {len(freezer.states)} states:\n" + "\n".join(bad[:20])


async def _play(scenario: Handover, hub: AzureHub, freezer: Freezer) -> None:
    freezer.armed = True
    await hub.client.start(scenario.orchestrator, scenario.given, instance_id="main")
    freezer.told.add("start")
    for name, value in scenario.events:
        await eventually(lambda: _is_running(hub), within=PATIENCE)
        await hub.client.raise_event("main", name, value)
        freezer.told.add(name)
    status = await hub.client.wait_for_completion("main", timeout=PATIENCE)
    assert status.runtime_status.value == scenario.status
    if scenario.started:
        await eventually(partial(_exists, hub, f"main{scenario.started}"), within=PATIENCE)
        await hub.client.wait_for_completion(f"main{scenario.started}", timeout=PATIENCE)
    for key, value in scenario.entities.items():
        await eventually(partial(_entity_is, hub, key, value), within=PATIENCE)
    freezer.told.add("end")


async def _is_running(hub: AzureHub) -> bool:
    status = await hub.client.get_status("main")
    return status is not None and status.runtime_status.value == "Running"


async def _entity_is(hub: AzureHub, key: str, value: Any) -> bool:
    return bool((await hub.client.read_entity(EntityId("counter", key))).state == value)


def _model_goes_on(scenario: Handover, state: FrozenState, ours: set[Any], *, hurry: bool) -> Iterator[str]:
    """Let the model take over and say what is wrong at the end; in a `hurry`, all messages come back at once, one by one."""
    if "start" not in state.told:
        return  # nobody was told that it has started
    content = _all_at_once(state.content) if hurry else state.content
    storage, app = MemoryStorage(content, redelivered=True), mixed_app()
    worker = ProviderWorker(storage, storage.hub, app, get_at_most=1 if hurry else 32)
    client = ProviderClient(worker)
    for name, value in scenario.events:
        if name not in state.told:
            worker.run(120)  # a client waits until it is running
            client.raise_event("main", name, value)
    worker.run(HOURS)
    yield from worker.complaints
    yield from wrong_end(
        scenario, worker, ours | {argument for _, argument in app.ran}, Ledger([*state.sent, *storage.sent])
    )
    yield from doubled_events(scenario, state.content, worker.tables.load("main").events)


def _all_at_once(content: Mapping[str, Any]) -> dict[str, Any]:
    """Let what the dead worker held come back now; timers keep their time."""
    queues = {
        queue: [one if "TimerFiredEvent" in one["text"] else {**one, "delaySeconds": 0} for one in messages]
        for queue, messages in content["queues"].items()
    }
    return {**content, "queues": queues}


def is_right(scenario: Handover, output: Any, most: int) -> bool:
    """An output that tells what an entity has may tell what it was asked twice (see `most_of`)."""
    if scenario.entities and isinstance(scenario.output, int):
        return isinstance(output, int) and scenario.output <= output <= most
    return bool(output == scenario.output)


def most_of(ledger: Ledger, key: str) -> int:
    """Return what a counter has if each different request that was ever sent to it was carried out once.

    A request that was sent, but whose episode was not stored, is sent again as another one (8.10). The same one may come
    twice, but counts once (10.6).
    """
    return sum(ledger.amounts(f"@counter@{key}"))


def doubled_events(scenario: Handover, frozen: Mapping[str, Any], events: Iterable[Event]) -> Iterator[str]:
    """Yield which events of clients came more often than they had to."""
    for name, _ in scenario.events:
        count = sum(event.kind == "EventRaised" and event["Name"] == name for event in events)
        if count > deliveries(frozen, "main", name):
            yield f"{name} came {count} times"


def wrong_end(scenario: Handover, worker: ProviderWorker, ran: set[Any], ledger: Ledger) -> Iterator[str]:
    """Yield what is wrong with the end of the instance as the tables tell it."""
    instance_id = "main"
    row = worker.tables.instance_row(instance_id)
    if row is None or row.get("RuntimeStatus") != scenario.status or not row.get("Name") or not row.get("CreatedTime"):
        yield f"row {row}"
        return
    if scenario.output is not None:
        output = json.loads(worker.tables.payload_of(row, "Output") or "null")
        if not is_right(scenario, output, max((most_of(ledger, key) for key in scenario.entities), default=0)):
            yield f"output {str(output)[:300]}"
    events = worker.tables.load(instance_id).events
    scheduled = {one.event_id for one in events if one.kind == "TaskScheduled"}
    answered = {one["TaskScheduledId"] for one in events if one.kind in ("TaskCompleted", "TaskFailed")}
    if not scheduled <= answered:
        yield f"activities without result: {scheduled - answered}"
    if not set(scenario.activities) <= ran:
        yield f"never ran: {set(scenario.activities) - ran}"
    if scenario.started:
        started = worker.tables.instance_row(f"main{scenario.started}")
        if started is None or started.get("RuntimeStatus") != "Completed":
            yield f"started: {started}"
    for key, value in scenario.entities.items():
        found = worker.tables.instance_row(f"@counter@{key}")
        text = worker.tables.payload_of(found, "Input") if found is not None else None
        state = json.loads(text or "{}").get("state")
        if state is None or not value <= json.loads(state) <= most_of(ledger, key):
            yield f"entity {key}, of at most {most_of(ledger, key)}: {text}"


@pytest.mark.parametrize("mode", ["on", pytest.param("off", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(
            one,
            id=one.name or one.orchestrator,
            marks=[] if one.orchestrator in QUICK_BACK else [pytest.mark.slow],
        )
        for one in SCENARIOS
        if one.name != "FanOutWide"  # 200 instances of 52 activities each
    ],
)
async def test_our_worker_goes_on_after_each_write_of_the_provider(
    azurite: Azurite, transport: StorageTransport, task_hub: str, scenario: Handover, mode: str
) -> None:
    """All states lie in one hub: each is that of an instance of its own."""
    left = _stopped_at_every_write(scenario)
    await load_hub(FrozenHub("model", merged([one.content for one in left])), transport, task_hub)
    runs, ledger = ActivityRuns(), Ledger(text for one in left for text in one.sent)

    async def note(call: StorageCall, send: Send) -> HttpAnswer:
        if (text := message_text(call)) is not None:
            ledger.note_message(text)
        return await send()

    settings = _settings(azurite, task_hub)
    async with run_azure_hub(settings, mixed_registry(runs), worker_settings=MODES[mode], interceptor=note) as hub:
        for number, one in enumerate(left, 1):
            for name, value in scenario.events:
                if name not in one.told:
                    await hub.client.raise_event(f"main-{number}", name, value)
        for number, one in enumerate(left, 1):
            await _check_our_end(scenario, hub, number, one, ledger)

    assert len(left) > 3
    assert set(scenario.activities) <= {argument for _, argument in runs.all}.union(*(one.ran for one in left))


def _stopped_at_every_write(scenario: Handover) -> list[StoppedHub]:
    left: list[StoppedHub] = []
    for write in itertools.count(1):
        given = f"k{write}" if scenario.given == "k" else scenario.given
        stopped = stopped_before(write, scenario.orchestrator, f"main-{write}", given, scenario.events)
        if stopped is None:
            return left
        left.append(stopped)
    raise AssertionError("it never ends")


async def _check_our_end(scenario: Handover, hub: AzureHub, number: int, stopped: StoppedHub, ledger: Ledger) -> None:
    status = await hub.client.wait_for_completion(f"main-{number}", timeout=PATIENCE)
    assert status.runtime_status.value == scenario.status, f"stopped before write {number}: {status}"
    if scenario.output is not None:
        most = max((most_of(ledger, f"{key}{number}") for key in scenario.entities), default=0)
        assert is_right(scenario, status.output, most), f"stopped before write {number}: {status.output}"
    events = await hub.backend.instances.get_history(InstanceId(f"main-{number}"))
    scheduled = {event.event_id for event in events if isinstance(event, TaskScheduled)}
    answered = {event.task_scheduled_id for event in events if isinstance(event, (TaskCompleted, TaskFailed))}
    assert scheduled <= answered, f"stopped before write {number}: {events}"
    for name, _ in scenario.events:
        came = sum(isinstance(event, EventRaised) and event.name == name for event in events)
        assert came <= deliveries(stopped.content, f"main-{number}", name), f"stopped before write {number}: {events}"
    if scenario.started:
        one = f"main-{number}{scenario.started}"
        await eventually(partial(_exists, hub, one), one, within=PATIENCE)
        assert (await hub.client.wait_for_completion(one, timeout=PATIENCE)).runtime_status.value == "Completed"
    for key, value in scenario.entities.items():
        is_so = partial(_entity_is_at_least, hub, f"{key}{number}", value)
        await eventually(is_so, f"{key}{number}", within=PATIENCE)
        state = (await hub.client.read_entity(EntityId("counter", f"{key}{number}"))).state
        assert state <= most_of(ledger, f"{key}{number}"), f"stopped before write {number}"


async def _entity_is_at_least(hub: AzureHub, key: str, value: Any) -> bool:
    return bool(((await hub.client.read_entity(EntityId("counter", key))).state or 0) >= value)


async def _exists(hub: AzureHub, instance_id: str) -> bool:
    return await hub.client.get_status(instance_id) is not None
