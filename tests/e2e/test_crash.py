"""`kill -9` with 200 orchestrations in flight: all finish, none twice, recorded results are never made again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.host_process import FINAL, MANAGEMENT, HostProcess, eventually

INSTANCES = 200
STEPS = 5

APP = """
import asyncio
import os
import uuid
from pathlib import Path

import azure.functions as func
import durable_ext as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
LOG = Path(__file__).parent / "activities.log"


@app.route(route="start/{count}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client) -> func.HttpResponse:
    for number in range(int(req.route_params["count"])):
        await client.start_new("five_steps", f"{req.params.get('prefix', 'i')}-{number}")
    return func.HttpResponse("started")


@app.orchestration_trigger(context_name="context")
def five_steps(context):
    tokens = []
    for step in range(5):
        tokens.append((yield context.call_activity("take_step", f"{context.instance_id} {step}")))
    return tokens


@app.activity_trigger(input_name="step")
async def take_step(step: str) -> str:
    token = uuid.uuid4().hex
    line = f"{step} {token} {os.getpid()}\\n".encode()
    log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, line)
    os.close(log)
    await asyncio.sleep(0.08)
    return token
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of an activity, as the activity itself wrote it down."""

    instance_id: str
    step: int
    token: str
    pid: int


def _runs(app: Path) -> list[Run]:
    log = app / "activities.log"
    if not log.exists():
        return []
    whole_lines = log.read_text().rpartition("\n")[0]  # the last line may be read while it is being written
    rows = [line.split() for line in whole_lines.splitlines()]
    return [Run(instance_id=row[0], step=int(row[1]), token=row[2], pid=int(row[3])) for row in rows]


def _list_all(host: HostProcess) -> list[dict[str, object]]:
    answer = host.get(f"{MANAGEMENT}/instances?showInput=false&top=10000")
    rows: list[dict[str, object]] = answer.json()
    return rows


def _wait_until_all_are_final(host: HostProcess, count: int) -> list[dict[str, object]]:
    def all_final() -> list[dict[str, object]]:
        rows = _list_all(host)
        return rows if len(rows) == count and all(row["runtimeStatus"] in FINAL for row in rows) else []

    rows: list[dict[str, object]] = eventually(all_final, seconds=60, message=f"not all of {count} finished")
    return rows


def _recorded_before_a_crash(runs: list[Run]) -> dict[tuple[str, int], str]:
    """Return the tokens that were in history for sure when their process died.

    A step starts only after the result of the step before is stored: so of two consecutive steps begun by one process,
    the first one's result had been recorded.
    """
    begun: dict[tuple[int, str], dict[int, str]] = defaultdict(dict)
    for run in runs:
        begun[run.pid, run.instance_id][run.step] = run.token
    return {
        (instance_id, step): token
        for (_, instance_id), steps in begun.items()
        for step, token in steps.items()
        if step + 1 in steps
    }


def test_a_host_killed_three_times_finishes_every_orchestration_once(
    make_app: Callable[..., Path], launch: Callable[..., HostProcess]
) -> None:
    app = make_app(APP)
    host = launch(app).wait_until_ready()
    assert host.post(f"/api/start/{INSTANCES}").status == 200

    for runs_at_kill in (150, 400, 700):
        eventually(lambda wanted=runs_at_kill: len(_runs(app)) >= wanted, message=host.output)
        host.kill()
        host = launch(app).wait_until_ready()

    rows = _wait_until_all_are_final(host, INSTANCES)
    runs = _runs(app)
    outputs = {str(row["instanceId"]): row["output"] for row in rows}
    assert {row["runtimeStatus"] for row in rows} == {"Completed"}
    assert len({run.pid for run in runs}) == 4
    made = {(run.instance_id, run.step, run.token) for run in runs}
    for instance_id, tokens in outputs.items():
        assert isinstance(tokens, list)
        assert [(instance_id, step, token) in made for step, token in enumerate(tokens)] == [True] * STEPS
    for (instance_id, step), token in _recorded_before_a_crash(runs).items():
        assert outputs[instance_id][step] == token, f"{instance_id} ran step {step} again"
    for row in rows:
        events = [event["EventType"] for event in host.status(str(row["instanceId"]), "?showHistory=true")["historyEvents"]]
        assert events.count("ExecutionStarted") == events.count("ExecutionCompleted") == 1
        assert events.count("TaskCompleted") == STEPS


def test_recorded_results_are_never_made_again(make_app: Callable[..., Path], launch: Callable[..., HostProcess]) -> None:
    app = make_app(APP)
    host = launch(app).wait_until_ready()
    host.post(f"/api/start/{INSTANCES}")
    eventually(lambda: len(_runs(app)) >= 500, message=host.output)
    host.kill()
    recorded = _recorded_before_a_crash(_runs(app))

    host = launch(app).wait_until_ready()
    _wait_until_all_are_final(host, INSTANCES)

    again = [run for run in _runs(app) if (run.instance_id, run.step) in recorded]
    assert len(recorded) > 50
    assert len(again) == len(recorded)


def test_every_start_that_was_answered_survives_the_kill(
    make_app: Callable[..., Path], launch: Callable[..., HostProcess]
) -> None:
    app = make_app(APP)
    host = launch(app).wait_until_ready()

    answered = [f"a-{number}" for number in range(40) if host.start("five_steps", f"a-{number}").status == 202]
    host.kill()
    host = launch(app).wait_until_ready()

    assert len(answered) == 40
    assert {host.finished(instance_id)["runtimeStatus"] for instance_id in answered} == {"Completed"}


def test_two_hosts_on_one_hub_file_finish_200_orchestrations_together(
    make_app: Callable[..., Path], launch: Callable[..., HostProcess]
) -> None:
    app = make_app(APP)
    one = launch(app).wait_until_ready()
    two = launch(app).wait_until_ready()

    one.post(f"/api/start/{INSTANCES // 2}?prefix=one")
    two.post(f"/api/start/{INSTANCES // 2}?prefix=two")

    rows = _wait_until_all_are_final(one, INSTANCES)
    runs = _runs(app)
    assert {row["runtimeStatus"] for row in rows} == {"Completed"}
    assert len(runs) == INSTANCES * STEPS
    assert len({run.pid for run in runs}) == 2


def test_the_other_host_takes_over_when_one_is_killed(
    make_app: Callable[..., Path], launch: Callable[..., HostProcess]
) -> None:
    app = make_app(APP)
    one = launch(app).wait_until_ready()
    two = launch(app).wait_until_ready()
    one.post(f"/api/start/{INSTANCES // 2}?prefix=one")
    two.post(f"/api/start/{INSTANCES // 2}?prefix=two")

    eventually(lambda: len(_runs(app)) >= 200, message=one.output)
    one.kill()

    rows = _wait_until_all_are_final(two, INSTANCES)
    assert {row["runtimeStatus"] for row in rows} == {"Completed"}
