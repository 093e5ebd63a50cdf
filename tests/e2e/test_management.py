"""The management API of a real host: the life of instances from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.host_process import MANAGEMENT, HostProcess, eventually, request

APP = """
import azure.functions as func
import durable_ext as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.orchestration_trigger(context_name="context")
def wait(context):
    context.set_custom_status({"waiting for": "Go"})
    return (yield context.wait_for_external_event("Go"))


@app.orchestration_trigger(context_name="context")
def collect(context):
    found = []
    while len(found) < 3:
        found.append((yield context.wait_for_external_event("item")))
    return found


@app.orchestration_trigger(context_name="context")
def greet(context):
    return (yield context.call_activity("greeting", context.get_input()))


@app.activity_trigger(input_name="name")
def greeting(name: object) -> str:
    return f"Hello {name}!"
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    app = tmp_path_factory.mktemp("management")
    (app / "function_app.py").write_text(APP, encoding="utf-8")
    (app / "host.json").write_text('{"version": "2.0", "extensions": {"durableTask": {"hubName": "Management"}}}')
    log = app / "host.log"
    log.touch()
    with HostProcess(script_root=app, log=log) as running:
        yield running.launch().wait_until_ready()


def _links(host: HostProcess, name: str, instance_id: str, client_input: Any = None) -> dict[str, str]:
    answer = host.start(name, instance_id, client_input)
    assert answer.status == 202, answer.text
    links: dict[str, str] = answer.json()
    return links


def _wait_for(host: HostProcess, instance_id: str, status: str) -> Any:
    return eventually(lambda: (found := host.status(instance_id))["runtimeStatus"] == status and found, message=status)


def test_a_start_answers_with_links_that_work(host: HostProcess) -> None:
    links = _links(host, "greet", "linked", "Ada")

    assert set(links) == {
        "id",
        "statusQueryGetUri",
        "sendEventPostUri",
        "terminatePostUri",
        "purgeHistoryDeleteUri",
        "restartPostUri",
        "suspendPostUri",
        "resumePostUri",
    }
    assert urlsplit(links["statusQueryGetUri"]).netloc == f"localhost:{host.port}"
    host.finished("linked")
    assert request("GET", links["statusQueryGetUri"]).json()["output"] == "Hello Ada!"


def test_a_start_without_an_id_makes_one_of_32_hex_digits(host: HostProcess) -> None:
    answer = host.post(f"{MANAGEMENT}/orchestrators/greet", "Bob")

    assert re.fullmatch("[0-9a-f]{32}", answer.json()["id"])
    assert answer.headers["Location"] == answer.json()["statusQueryGetUri"]


def test_a_running_id_cannot_be_started_again(host: HostProcess) -> None:
    _links(host, "wait", "taken")
    _wait_for(host, "taken", "Running")

    assert host.start("wait", "taken").status == 409


def test_a_finished_id_can_be_started_again(host: HostProcess) -> None:
    _links(host, "greet", "again", "one")
    host.finished("again")

    _links(host, "greet", "again", "two")

    eventually(lambda: host.status("again")["output"] == "Hello two!")


def test_status_shows_input_custom_status_and_times(host: HostProcess) -> None:
    _links(host, "wait", "shown", {"a": 1})

    status = eventually(lambda: (found := host.status("shown"))["customStatus"] is not None and found)

    assert status["name"] == "wait"
    assert status["input"] == {"a": 1}
    assert status["customStatus"] == {"waiting for": "Go"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", status["createdTime"])


def test_events_are_delivered_in_their_order(host: HostProcess) -> None:
    links = _links(host, "collect", "ordered")

    for number in range(3):
        url = links["sendEventPostUri"].replace("{eventName}", "item")
        assert request("POST", url, body=str(number), headers={"Content-Type": "application/json"}).status == 202

    assert host.finished("ordered")["output"] == [0, 1, 2]


def test_a_suspended_instance_waits_until_it_is_resumed(host: HostProcess) -> None:
    links = _links(host, "wait", "paused")
    _wait_for(host, "paused", "Running")

    assert request("POST", links["suspendPostUri"].replace("{text}", "lunch")).status == 202
    suspended = _wait_for(host, "paused", "Suspended")
    host.post(f"{MANAGEMENT}/instances/paused/raiseEvent/Go", "now")
    still = host.status("paused")
    assert request("POST", links["resumePostUri"].replace("{text}", "back")).status == 202

    assert suspended["output"] == "lunch"
    assert still["runtimeStatus"] == "Suspended"
    assert host.finished("paused")["output"] == "now"


def test_a_terminated_instance_has_its_reason_as_output(host: HostProcess) -> None:
    links = _links(host, "wait", "ended")
    _wait_for(host, "ended", "Running")

    assert request("POST", links["terminatePostUri"].replace("{text}", "enough")).status == 202

    assert host.finished("ended")["output"] == "enough"
    assert host.status("ended")["runtimeStatus"] == "Terminated"
    assert request("POST", links["terminatePostUri"].replace("{text}", "twice")).status == 410


def test_a_purged_instance_is_gone(host: HostProcess) -> None:
    links = _links(host, "greet", "purged", "x")
    host.finished("purged")

    answer = request("DELETE", links["purgeHistoryDeleteUri"])

    assert (answer.status, answer.json()) == (200, {"instancesDeleted": 1})
    assert request("GET", links["statusQueryGetUri"]).status == 404


def test_a_running_instance_is_not_purged(host: HostProcess) -> None:
    links = _links(host, "wait", "kept")
    _wait_for(host, "kept", "Running")

    assert request("DELETE", links["purgeHistoryDeleteUri"]).status == 412
    assert request("GET", links["statusQueryGetUri"]).status == 202


def test_a_restart_runs_again_with_the_same_input(host: HostProcess) -> None:
    links = _links(host, "greet", "first-run", "Cleo")
    host.finished("first-run")

    answer = request("POST", links["restartPostUri"])

    second = answer.json()["id"]
    assert second != "first-run"
    assert host.finished(second)["output"] == "Hello Cleo!"


def test_history_shows_what_happened(host: HostProcess) -> None:
    _links(host, "greet", "told", "Dora")
    host.finished("told")

    events = host.status("told", "?showHistory=true&showHistoryOutput=true")["historyEvents"]

    assert [event["EventType"] for event in events] == ["ExecutionStarted", "TaskCompleted", "ExecutionCompleted"]
    assert events[1]["FunctionName"] == "greeting"
    assert events[1]["Result"] == "Hello Dora!"


def test_lists_come_in_pages_that_hold_each_instance_once(host: HostProcess) -> None:
    for number in range(7):
        _links(host, "greet", f"page-{number}", number)

    found, token = [], None
    for _ in range(4):
        headers = {"x-ms-continuation-token": token} if token else {}
        answer = request("GET", f"{host.management}/instances?instanceIdPrefix=page-&top=3", headers=headers)
        found += [row["instanceId"] for row in answer.json()]
        token = answer.headers.get("x-ms-continuation-token")
        if not token:
            break

    assert found == [f"page-{number}" for number in range(7)]


def test_a_list_can_be_narrowed_to_statuses(host: HostProcess) -> None:
    _links(host, "wait", "narrow-waits")
    _links(host, "greet", "narrow-ends", 1)
    _wait_for(host, "narrow-waits", "Running")
    host.finished("narrow-ends")

    rows = host.get(f"{MANAGEMENT}/instances?instanceIdPrefix=narrow-&runtimeStatus=Completed").json()

    assert [row["instanceId"] for row in rows] == ["narrow-ends"]


def test_a_start_can_wait_for_the_output(host: HostProcess) -> None:
    answer = host.post(f"{MANAGEMENT}/orchestrators/greet/awaited?timeout=10&pollingInterval=0.1", "Eve")

    assert (answer.status, answer.json()) == (200, "Hello Eve!")


def test_a_request_may_name_another_hub(host: HostProcess, tmp_path: Path) -> None:
    started = host.post(f"{MANAGEMENT}/orchestrators/greet/there?taskHub=Neighbour", "Ada")
    own = host.get(f"{MANAGEMENT}/instances/there")
    pending = host.get(f"{MANAGEMENT}/instances/there?taskHub=neighbour").json()
    log = tmp_path / "neighbour.log"
    log.touch()
    name = {"AzureFunctionsJobHost__extensions__durableTask__hubName": "Neighbour"}
    with HostProcess(script_root=host.script_root, log=log, environment=name) as neighbour:
        found = neighbour.launch().wait_until_ready().finished("there")
    seen = request("GET", started.json()["statusQueryGetUri"]).json()

    assert (started.status, own.status, pending["runtimeStatus"]) == (202, 404, "Pending")
    assert found["output"] == "Hello Ada!"
    assert seen == found


@pytest.mark.parametrize(
    ("query", "text"),
    [("taskHub=no%20hub", "Task hub name 'no hub' should contain only"), ("connection=Other", "connection named 'Other'")],
)
def test_a_hub_that_cannot_be_is_refused_with_the_reason(host: HostProcess, query: str, text: str) -> None:
    answer = host.get(f"{MANAGEMENT}/instances?{query}")

    assert answer.status == 400
    assert text in answer.json()["ExceptionMessage"]


def test_the_embedded_hub_has_no_app_lease_to_take(host: HostProcess) -> None:
    assert host.post(f"{MANAGEMENT}/makeprimary").status == 501
