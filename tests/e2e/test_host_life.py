"""`durable start` from its banner to Ctrl-C, and what it says when it cannot start."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.host_process import Answer, HostProcess, eventually
from support.permissions import obey_permissions

WAITING_APP = """
import azure.functions as func
import durable_ext as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="hello/{name}", methods=["GET"])
def hello(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("Hello " + req.route_params["name"])


@app.orchestration_trigger(context_name="context")
def wait_for_go(context):
    payload = yield context.wait_for_external_event("Go")
    return payload


@app.orchestration_trigger(context_name="context")
def slow(context):
    return (yield context.call_activity("sleep", 1.0))


@app.activity_trigger(input_name="seconds")
def sleep(seconds: float) -> str:
    import time

    time.sleep(seconds)
    return "slept"
"""

TWICE = """
import durable_ext as df

app = df.DFApp()


@app.function_name("same")
@app.activity_trigger(input_name="x")
def one(x: str) -> str:
    return x


@app.function_name("same")
@app.activity_trigger(input_name="x")
def two(x: str) -> str:
    return x
"""

MakeApp = Callable[..., Path]
Launch = Callable[..., HostProcess]


def _one_clear_line(output: str) -> str:
    assert "Traceback" not in output, output
    lines = [line for line in output.splitlines() if line.strip()]
    assert lines, "nothing was printed"
    return lines[-1]


def test_the_banner_lists_functions_urls_and_the_hub(make_app: MakeApp, launch: Launch) -> None:
    host = launch(make_app(WAITING_APP)).wait_until_ready()

    assert f"hello: [GET] http://localhost:{host.port}/api/hello/{{name}}" in host.output
    assert "wait_for_go: orchestrationTrigger" in host.output
    assert "sleep: activityTrigger" in host.output
    assert "embedded" in host.output
    assert "EndToEnd" in host.output


def test_an_http_function_answers(make_app: MakeApp, launch: Launch) -> None:
    host = launch(make_app(WAITING_APP)).wait_until_ready()

    answer = host.get("/api/hello/Ada")

    assert (answer.status, answer.text) == (200, "Hello Ada")


def test_ctrl_c_ends_the_host_with_exit_code_zero(make_app: MakeApp, launch: Launch) -> None:
    host = launch(make_app(WAITING_APP)).wait_until_ready()

    assert host.interrupt(10) == 0
    assert "Traceback" not in host.output


def test_ctrl_c_lets_a_running_activity_finish(make_app: MakeApp, launch: Launch) -> None:
    app = make_app(WAITING_APP)
    host = launch(app).wait_until_ready()
    host.start("slow", "drained")
    eventually(lambda: "Executing 'Functions.sleep'" in host.output, message=host.output)

    code = host.interrupt()
    again = launch(app).wait_until_ready()

    assert code == 0
    assert again.finished("drained")["output"] == "slept"
    assert "Executing 'Functions.sleep'" not in again.output


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_terminal_that_closes_lets_a_running_activity_finish_as_a_sigterm_does(
    make_app: MakeApp, launch: Launch, name: str
) -> None:
    app = make_app(WAITING_APP)
    host = launch(app).wait_until_ready()
    host.start("slow", "drained")
    eventually(lambda: "Executing 'Functions.sleep'" in host.output, message=host.output)
    assert host.process is not None

    host.process.send_signal(getattr(signal, name))
    code = host.wait_for_exit()
    again = launch(app).wait_until_ready()

    assert code == 0
    assert again.finished("drained")["output"] == "slept"
    assert "Executing 'Functions.sleep'" not in again.output


@pytest.mark.slow  # that a process does not hear it: tests/unit/runtime/test_process_crew.py
@pytest.mark.skipif(sys.platform == "win32", reason="no process groups")
def test_an_activity_in_a_process_finishes_though_all_processes_of_the_host_get_the_sigterm(
    make_app: MakeApp, launch: Launch, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    app = make_app(
        WAITING_APP.replace('input_name="seconds"', 'input_name="seconds", executor="process"').replace(
            "    time.sleep(", f"    with open({str(runs)!r}, 'a') as file:\n        file.write('1')\n    time.sleep("
        )
    )
    host = launch(app).wait_until_ready()
    host.start("slow", "drained")
    eventually(runs.exists, message=host.output)
    assert host.process is not None

    os.killpg(host.process.pid, signal.SIGTERM)
    code = host.wait_for_exit()
    again = launch(app).wait_until_ready()

    assert code == 0
    assert again.finished("drained")["output"] == "slept"
    assert runs.read_text() == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="gives the host a terminal")
def test_an_activity_that_prints_finishes_after_its_terminal_was_closed(make_app: MakeApp, launch: Launch) -> None:
    app = make_app(WAITING_APP.replace('return "slept"', 'print("awake", flush=True)\n    return "slept"'))
    ours, theirs = os.openpty()

    def live_in_terminal() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        for output in (1, 2):
            os.dup2(theirs, output)

    host = launch(app, before_start=live_in_terminal)
    os.close(theirs)
    host.wait_until_ready()
    host.start("slow", "unseen")
    shown = b""
    while b"Executing 'Functions.sleep'" not in shown:
        shown += os.read(ours, 65536)

    os.close(ours)
    code = host.wait_for_exit()
    again = launch(app).wait_until_ready()

    assert code == 0
    assert again.finished("unseen")["output"] == "slept"


def test_a_second_ctrl_c_stops_at_once(make_app: MakeApp, launch: Launch) -> None:
    host = launch(make_app(WAITING_APP)).wait_until_ready()
    host.start("slow", "cut-short", 30)
    assert host.process is not None

    host.process.send_signal(signal.SIGINT)
    eventually(lambda: host.process is not None and (host.process.poll() is not None or _refuses(host.port)))
    host.process.send_signal(signal.SIGINT)

    assert host.wait_for_exit(5) == 128 + signal.SIGINT


def _refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_waiting_instance_goes_on_after_a_restart(make_app: MakeApp, launch: Launch) -> None:
    app = make_app(WAITING_APP)
    before = launch(app).wait_until_ready()
    before.start("wait_for_go", "patient")
    eventually(lambda: before.status("patient")["runtimeStatus"] == "Running")
    before.interrupt()

    after = launch(app).wait_until_ready()
    after.post("/runtime/webhooks/durabletask/instances/patient/raiseEvent/Go", {"n": 1})

    assert after.finished("patient")["output"] == {"n": 1}


def test_the_host_answers_within_a_few_seconds_of_its_start(make_app: MakeApp, launch: Launch) -> None:
    # The product's mark is one second on an idle machine (docs/performance.md); this only catches a gross loss.
    launch(make_app(WAITING_APP)).wait_until_ready(10)


def test_a_port_in_use_is_one_line_and_a_failure(make_app: MakeApp, launch: Launch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        host = launch(make_app(WAITING_APP), port=port)

        assert host.wait_for_exit() != 0
    assert f"Port {port} is unavailable" in _one_clear_line(host.output)


def test_a_broken_import_names_the_file_and_the_reason(make_app: MakeApp, launch: Launch) -> None:
    host = launch(make_app("import no_such_package\n"))

    assert host.wait_for_exit() != 0
    assert "no_such_package" in host.output
    assert "function_app.py" in host.output
    assert "durable_ext/" not in host.output


def test_a_missing_host_json_is_one_line_that_says_where_it_was_looked_for(make_app: MakeApp, launch: Launch) -> None:
    app = make_app(WAITING_APP, host_json=None)

    host = launch(app)

    assert host.wait_for_exit() != 0
    assert re.search(r"host\.json", _one_clear_line(host.output))
    assert str(app) in host.output


def test_a_host_json_that_is_not_json_names_the_place(make_app: MakeApp, launch: Launch) -> None:
    host = launch(make_app(WAITING_APP, host_json='{"version": "2.0",\n'))

    assert host.wait_for_exit() != 0
    assert "host.json" in _one_clear_line(host.output)


IN_ERROR = (
    WAITING_APP
    + """

@app.route(route="hello/{name}", methods=["GET"])
def second(req: func.HttpRequest) -> str:
    return "never"


@app.route(route="a/{b", methods=["GET"])
def broken_route(req: func.HttpRequest) -> str:
    return "never"


@app.timer_trigger(schedule="nonsense", arg_name="timer")
def tick(timer: func.TimerRequest) -> None:
    pass
"""
)


def test_functions_in_error_are_named_one_by_one_and_the_others_are_served(make_app: MakeApp, launch: Launch) -> None:
    host = launch(make_app(IN_ERROR)).wait_until_ready()

    told = re.findall(r"^The '(\w+)' function is in error: (.*)$", host.output, re.MULTILINE)

    assert [name for name, _ in told] == ["broken_route", "second", "tick"]
    assert "already those of function 'hello'" in told[1][1]
    assert host.get("/api/hello/Ada").text == "Hello Ada"


def test_two_functions_of_one_name_are_refused(make_app: MakeApp, launch: Launch) -> None:
    host = launch(make_app(TWICE))

    assert host.wait_for_exit() != 0
    assert "same" in _one_clear_line(host.output)


def test_an_app_without_functions_is_refused(make_app: MakeApp, launch: Launch) -> None:
    host = launch(make_app("x = 1\n"))

    assert host.wait_for_exit() != 0
    assert "function_app.py" in _one_clear_line(host.output)


def test_a_hub_file_that_is_no_database_is_refused_and_kept(make_app: MakeApp, launch: Launch) -> None:
    app = make_app(WAITING_APP)
    first = launch(app).wait_until_ready()
    first.interrupt()
    (hub_file,) = [path for path in (app / ".durable").iterdir() if path.suffix in {".db", ".sqlite", ".sqlite3"}]
    for journal in (app / ".durable").glob(hub_file.name + "-*"):
        journal.unlink()
    hub_file.write_bytes(b"this is a letter to my aunt" * 1000)

    second = launch(app)

    assert second.wait_for_exit() != 0
    assert hub_file.name in _one_clear_line(second.output)
    assert hub_file.read_bytes().startswith(b"this is a letter")


@pytest.mark.skipif(sys.platform != "linux", reason="permissions of files that root obeys too")
def test_a_hub_folder_that_may_not_be_written_is_refused(make_app: MakeApp, launch: Launch) -> None:
    app = make_app(WAITING_APP)
    (app / ".durable").mkdir(mode=0o555)

    host = launch(app, before_start=obey_permissions)

    assert host.wait_for_exit() != 0
    assert ".durable" in _one_clear_line(host.output)


@pytest.mark.skipif(sys.platform != "linux", reason="permissions of files that root obeys too")
def test_a_read_only_hub_file_is_refused_and_goes_on_when_it_may_be_written(make_app: MakeApp, launch: Launch) -> None:
    app = make_app(WAITING_APP)
    first = launch(app).wait_until_ready()
    first.start("wait_for_go", "patient")
    eventually(lambda: first.status("patient")["runtimeStatus"] == "Running")
    first.interrupt()
    hub_file = app / ".durable" / "EndToEnd.db"
    hub_file.chmod(0o444)

    refused = launch(app, before_start=obey_permissions)
    code = refused.wait_for_exit()
    hub_file.chmod(0o644)
    again = launch(app).wait_until_ready()
    again.post("/runtime/webhooks/durabletask/instances/patient/raiseEvent/Go", 1)

    assert code != 0
    assert hub_file.name in _one_clear_line(refused.output)
    assert "cannot be written" in _one_clear_line(refused.output)
    assert again.finished("patient")["output"] == 1


def test_a_hub_file_of_a_newer_version_is_refused_and_kept(make_app: MakeApp, launch: Launch) -> None:
    app = make_app(WAITING_APP)
    launch(app).wait_until_ready().interrupt()
    hub_file = app / ".durable" / "EndToEnd.db"
    with closing(sqlite3.connect(hub_file)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 1}")
    before = hub_file.read_bytes()

    host = launch(app)

    assert host.wait_for_exit() != 0
    assert hub_file.name in _one_clear_line(host.output)
    assert f"version {version + 1}" in _one_clear_line(host.output)
    assert hub_file.read_bytes() == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 32 MB, which takes root on Linux."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk")
def test_a_full_disk_is_told_and_what_was_answered_goes_on_when_there_is_space(
    make_app: MakeApp, launch: Launch, small_disk: Path
) -> None:
    app = make_app(WAITING_APP)
    (app / ".durable").symlink_to(small_disk)
    host = launch(app).wait_until_ready()
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 500_000))

    answers: list[Answer] = []
    while len(answers) < 500 and (not answers or answers[-1].status == 202):
        answers.append(host.start("wait_for_go", f"i-{len(answers)}", "x" * 100_000))
    others = host.get("/api/hello/Ada")
    ballast.unlink()
    started = [f"i-{number}" for number, answer in enumerate(answers) if answer.status == 202]
    for instance_id in started:
        eventually(lambda found=instance_id: host.status(found)["runtimeStatus"] == "Running")
    host.post(f"/runtime/webhooks/durabletask/instances/{started[-1]}/raiseEvent/Go", "space")

    assert answers[-1].status == 503, answers[-1]
    assert "is full" in answers[-1].text
    assert len(started) > 3
    assert others.text == "Hello Ada"
    assert host.finished(started[-1])["output"] == "space"
    assert host.interrupt() == 0


def test_a_hub_folder_that_cannot_be_made_is_refused(make_app: MakeApp, launch: Launch) -> None:
    app = make_app(WAITING_APP)
    (app / ".durable").write_text("a file where the folder should be")

    host = launch(app)

    assert host.wait_for_exit() != 0
    assert ".durable" in _one_clear_line(host.output)


def test_an_instance_of_a_function_that_is_off_waits_for_a_host_that_serves_it(make_app: MakeApp, launch: Launch) -> None:
    folder = make_app(WAITING_APP)
    with launch(folder).wait_until_ready() as host:
        host.start("wait_for_go", "waits")
        eventually(lambda: host.status("waits")["runtimeStatus"] == "Running")
        host.interrupt()
    with launch(folder, options=("--hub", "embedded", "--functions", "slow")).wait_until_ready() as host:
        host.post("/runtime/webhooks/durabletask/instances/waits/raiseEvent/Go", 7)
        eventually(lambda: "orchestrator 'wait_for_go' is not served here" in host.output)
        left = host.status("waits")["runtimeStatus"]
        host.interrupt()
    with launch(folder).wait_until_ready() as host:
        found = host.finished("waits")

    assert left == "Running"
    assert found["output"] == 7


def test_a_change_of_a_file_is_announced_while_functions_still_run(make_app: MakeApp, launch: Launch) -> None:
    slow_app = WAITING_APP.replace("1.0", "8.0")
    app = make_app(slow_app)
    host = launch(app).wait_until_ready()
    host.start("slow", "running")
    eventually(lambda: "Executing 'Functions.sleep'" in host.output, message=host.output)

    (app / "function_app.py").write_text(slow_app + "\n# changed\n", encoding="utf-8")
    eventually(lambda: "File change detected in function_app.py; waiting up to 30 s" in host.output, message=host.output)

    assert "Executed 'Functions.sleep'" not in host.output


def test_after_a_change_that_cannot_be_loaded_the_host_waits_for_the_next_one(make_app: MakeApp, launch: Launch) -> None:
    app = make_app(WAITING_APP)
    host = launch(app).wait_until_ready()
    script = app / "function_app.py"

    script.write_text("import no_such_package\n", encoding="utf-8")
    eventually(lambda: "The host waits for a change of the app's files." in host.output, seconds=30)
    script.write_text(WAITING_APP.replace('"Hello "', '"Goodbye "'), encoding="utf-8")
    eventually(lambda: host.output.count("Management API: ") == 2, seconds=30)

    assert "function_app.py:1: ModuleNotFoundError: No module named 'no_such_package'." in host.output
    assert host.wait_until_ready().get("/api/hello/Ada").text == "Goodbye Ada"
    assert host.interrupt() == 0
