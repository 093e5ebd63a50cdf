"""What users do wrong, over HTTP on a real host: each has a defined outcome and the host goes on."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.host_process import MANAGEMENT, HostProcess, eventually, request, resident_mb

APP = """
import datetime
import time

import azure.functions as func
import durable_ext as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


@app.orchestration_trigger(context_name="context")
def call(context):
    name, argument = context.get_input()
    return (yield context.call_activity(name, argument))


@app.orchestration_trigger(context_name="context")
def catch(context):
    name, argument = context.get_input()
    try:
        yield context.call_activity(name, argument)
    except df.TaskFailedError as error:
        return {"caught": str(error).partition("\\n")[0]}


@app.orchestration_trigger(context_name="context")
def echo(context):
    return context.get_input()


@app.orchestration_trigger(context_name="context")
def measure(context):
    text = yield context.call_activity("make_text", context.get_input())
    return len(text)


@app.orchestration_trigger(context_name="context")
def returns_a_set(context):
    return {1, 2}


@app.orchestration_trigger(context_name="context")
def returns_nan(context):
    return [float("nan"), float("inf")]


@app.orchestration_trigger(context_name="context")
def raises(context):
    raise ValueError("no good: \\u00fc\\u4e16\\U0001f600")


@app.orchestration_trigger(context_name="context")
def yields_a_number(context):
    yield 42


@app.orchestration_trigger(context_name="context")
async def awaits_a_sleep(context):
    import asyncio
    await asyncio.sleep(1)


@app.orchestration_trigger(context_name="context")
def big_status(context):
    context.set_custom_status("x" * 100_000)
    return "done"


@app.orchestration_trigger(context_name="context")
def loops_for_ever(context):
    while True:
        time.sleep(0.01)


@app.activity_trigger(input_name="x")
def fails(x: object) -> str:
    raise RuntimeError(f"could not do {x}")


@app.activity_trigger(input_name="x")
def fails_silently(x: object) -> str:
    raise KeyError()


@app.activity_trigger(input_name="x")
def cannot_be_json(x: object) -> object:
    return object()


@app.activity_trigger(input_name="x")
def ends_the_thread(x: object) -> str:
    raise SystemExit(3)


@app.activity_trigger(input_name="x")
def hangs(x: object) -> str:
    time.sleep(60)
    return "too late"


@app.activity_trigger(input_name="x")
def same(x: object) -> object:
    return x


@app.activity_trigger(input_name="size")
def make_text(size: int) -> str:
    return "\\u00e4" * size


@app.activity_trigger(input_name="levels")
def make_deep(levels: int) -> list:
    return deep(levels)
"""

HOST_JSON = '{"version": "2.0", "functionTimeout": "00:00:03", "extensions": {"durableTask": {"hubName": "BadInput"}}}'


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    app = tmp_path_factory.mktemp("bad_input")
    (app / "function_app.py").write_text(APP, encoding="utf-8")
    (app / "host.json").write_text(HOST_JSON)
    log = app / "host.log"
    log.touch()
    with HostProcess(script_root=app, log=log) as running:
        yield running.launch().wait_until_ready()


def _run(host: HostProcess, name: str, client_input: Any = None, seconds: float = 20.0) -> dict[str, Any]:
    instance_id = uuid.uuid4().hex
    answer = host.start(name, instance_id, client_input)
    assert answer.status == 202, answer.text
    status: dict[str, Any] = host.finished(instance_id, seconds)
    return status


def test_an_activity_that_raises_fails_its_orchestration_with_the_text(host: HostProcess) -> None:
    status = _run(host, "call", ["fails", "it"])

    assert status["runtimeStatus"] == "Failed"
    assert status["output"].startswith(
        "Orchestrator function 'call' failed: Activity function 'fails' failed:  RuntimeError: could not do it \n "
    )


def test_an_activity_failure_can_be_caught(host: HostProcess) -> None:
    status = _run(host, "catch", ["fails", "it"])

    assert status["output"] == {"caught": "Activity function 'fails' failed:  RuntimeError: could not do it "}


@pytest.mark.parametrize("name", ["fails_silently", "cannot_be_json", "ends_the_thread"])
def test_an_activity_that_cannot_answer_is_a_failure_that_names_it(host: HostProcess, name: str) -> None:
    status = _run(host, "call", [name, None])

    assert status["runtimeStatus"] == "Failed"
    assert f"Activity function '{name}' failed" in status["output"]


def test_an_activity_that_hangs_fails_at_the_function_timeout(host: HostProcess) -> None:
    status = _run(host, "catch", ["hangs", None])

    assert "exceeded by function: Functions.hangs" in status["output"]["caught"]


def test_an_unknown_activity_fails_with_the_known_names(host: HostProcess) -> None:
    status = _run(host, "call", ["no_such_activity", None])

    assert status["runtimeStatus"] == "Failed"
    assert "no_such_activity" in status["output"]
    assert "make_text" in status["output"]


def test_an_unknown_orchestrator_is_refused_or_fails_with_the_known_names(host: HostProcess) -> None:
    answer = host.start("no_such_orchestrator", "unknown-1")

    text = answer.text if answer.status == 400 else host.finished("unknown-1")["output"]
    assert "The function 'no_such_orchestrator' doesn't exist, is disabled, or is not an orchestrator function." in text


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1,
        1.5,
        10**30,
        "",
        "plain",
        "ünï-世界-😀-\u2028",
        'line\nbreak\ttab\\slash"quote',
        [],
        {},
        {"": {"nested": [1, [2, [3]]]}},
        {"__class__": "not a class", "x": 1},
    ],
    ids=repr,
)
def test_a_value_comes_back_as_it_went_in(host: HostProcess, value: Any) -> None:
    status = _run(host, "call", ["same", value])

    assert status["runtimeStatus"] == "Completed", status["output"]
    assert status["output"] == value


@pytest.mark.parametrize("size", [1_000_000, 10_000_000])
def test_large_results_pass_through_history(host: HostProcess, size: int) -> None:
    status = _run(host, "measure", size, seconds=60)

    assert status["output"] == size


def test_an_orchestrator_that_raises_fails_with_its_text(host: HostProcess) -> None:
    status = _run(host, "raises")

    assert status["runtimeStatus"] == "Failed"
    assert status["output"] == "Orchestrator function 'raises' failed: no good: ü世😀"


def test_an_output_that_is_no_json_fails_the_orchestration(host: HostProcess) -> None:
    status = _run(host, "returns_a_set")

    assert status["runtimeStatus"] == "Failed"
    assert "set" in status["output"]


def test_nan_comes_out_as_text(host: HostProcess) -> None:
    status = _run(host, "returns_nan")

    assert status["runtimeStatus"] == "Completed"
    assert status["output"] == ["NaN", "Infinity"]


@pytest.mark.parametrize("levels", [50, 900])
def test_deep_nesting_passes(host: HostProcess, levels: int) -> None:
    status = _run(host, "call", ["make_deep", levels])

    assert status["runtimeStatus"] == "Completed", status["output"]


def test_nesting_without_end_is_a_failure_not_a_crash(host: HostProcess) -> None:
    status = _run(host, "call", ["make_deep", 200_000])

    assert status["runtimeStatus"] == "Failed"


def test_yielding_something_that_is_no_task_fails_with_the_value(host: HostProcess) -> None:
    status = _run(host, "yields_a_number")

    assert status["runtimeStatus"] == "Failed"
    assert "42" in status["output"]


def test_awaiting_something_that_is_not_durable_fails_with_advice(host: HostProcess) -> None:
    status = _run(host, "awaits_a_sleep")

    assert status["runtimeStatus"] == "Failed"
    assert "context.create_timer()" in status["output"]


def test_a_custom_status_of_more_than_16_kb_fails_the_orchestration(host: HostProcess) -> None:
    status = _run(host, "big_status")

    assert status["runtimeStatus"] == "Failed"
    assert "16" in status["output"]


def test_an_orchestrator_that_never_yields_does_not_stop_the_others(host: HostProcess) -> None:
    host.start("loops_for_ever", "looping")
    eventually(lambda: host.status("looping")["runtimeStatus"] in {"Pending", "Running"})

    status = _run(host, "echo", "still here", seconds=30)

    assert status["output"] == "still here"
    assert host.post(f"{MANAGEMENT}/instances/looping/terminate?reason=enough").status == 202


ENDLESS = """
import durable_ext as df

app = df.DFApp()


@app.orchestration_trigger(context_name="context")
def spins(context):
    while True:
        pass


@app.orchestration_trigger(context_name="context")
def calls_for_ever(context):
    while True:
        context.call_activity("same", 1)


@app.orchestration_trigger(context_name="context")
def calls_itself(context):
    def deeper(level):
        return deeper(level + 1)

    return deeper(0)


@app.orchestration_trigger(context_name="context")
def calls_once(context):
    return (yield context.call_activity("same", "still here"))


@app.activity_trigger(input_name="x")
def same(x: object) -> object:
    return x
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_endless_loops_take_neither_the_host_nor_its_memory(
    make_app: Callable[..., Path], launch: Callable[..., HostProcess]
) -> None:
    own = launch(make_app(ENDLESS, host_json=HOST_JSON)).wait_until_ready()

    for name in ("spins", "calls_for_ever", "calls_itself"):
        own.start(name, name)
    own.start("calls_once", "once")
    once, failed = own.finished("once", 60), own.finished("calls_itself", 60)

    assert once["output"] == "still here"
    assert failed["runtimeStatus"] == "Failed"
    assert "recursion" in failed["output"]
    assert {own.status(name)["runtimeStatus"] for name in ("spins", "calls_for_ever")} <= {"Pending", "Running"}
    assert resident_mb(own) < 250


def test_a_start_with_broken_json_is_refused(host: HostProcess) -> None:
    answer = request(
        "POST",
        f"{host.management}/orchestrators/echo/broken",
        body='{"a" 1}',
        headers={"Content-Type": "application/json"},
    )

    assert answer.status == 400
    assert json.loads(answer.text)["Message"] == "Invalid JSON content"
    assert host.get(f"{MANAGEMENT}/instances/broken").status == 404


@pytest.mark.parametrize("instance_id", ["@at", "a%23b", "a%3Fb", "a%5Cb", "x" * 257])
def test_an_instance_id_that_cannot_be_is_refused(host: HostProcess, instance_id: str) -> None:
    assert host.post(f"{MANAGEMENT}/orchestrators/echo/{instance_id}").status == 400


@pytest.mark.parametrize("instance_id", ["ünïcode-世界", "with space", "semi;colon", "per%cent", "a:b", "x" * 100])
def test_an_unusual_instance_id_works(host: HostProcess, instance_id: str) -> None:
    from urllib.parse import quote

    path = quote(instance_id, safe="")
    assert host.post(f"{MANAGEMENT}/orchestrators/echo/{path}", 1).status == 202

    status = eventually(
        lambda: (found := host.status(path))["runtimeStatus"] == "Completed" and found, message="not completed"
    )
    assert status["instanceId"] == instance_id


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/instances/nobody", 404),
        ("POST", "/instances/nobody/terminate", 404),
        ("POST", "/instances/nobody/suspend", 404),
        ("POST", "/instances/nobody/raiseEvent/x", 404),
        ("DELETE", "/instances/nobody", 404),
        ("GET", "/no/such/route", 404),
        ("GET", "/entities/none/x", 404),
    ],
)
def test_what_does_not_exist_is_404(host: HostProcess, method: str, path: str, expected: int) -> None:
    assert request(method, host.management + path).status == expected


def test_an_event_for_a_finished_instance_is_gone(host: HostProcess) -> None:
    host.start("echo", "over", 1)
    host.finished("over")

    assert host.post(f"{MANAGEMENT}/instances/over/raiseEvent/x", 1).status == 410


@pytest.mark.slow
def test_fifty_megabytes_pass(host: HostProcess) -> None:
    status = _run(host, "measure", 50_000_000, seconds=120)

    assert status["output"] == 50_000_000
