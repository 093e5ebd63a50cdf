"""Apps of the 1.x import names under `durable start`: function.json folders, clients made by hand, clients in activities."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from support.host_process import MANAGEMENT, HostProcess, eventually

HTTP = {"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous", "methods": ["post"]}
OUT = {"type": "http", "direction": "out", "name": "$return"}
CLIENT = {"type": "durableClient", "direction": "in", "name": "starter"}

START = """
import json
import azure.durable_functions as df
import azure.functions as func
from ..shared import greeting

async def go(req: func.HttpRequest, starter: str) -> func.HttpResponse:
    client = df.DurableOrchestrationClient(starter)
    instance_id = await client.start_new(req.route_params["name"], None, {"greeting": greeting(), "city": "Rome"})
    await client.signal_entity(df.EntityId("Counter", "k"), "add", 2)
    await client.raise_event(instance_id, "Go", False)
    return await client.wait_for_completion_or_create_check_status_response(req, instance_id, 10_000, 50)
"""
ORCHESTRATOR = """
import azure.durable_functions as df

def orchestrate(context: df.DurableOrchestrationContext):
    given = context.get_input()
    first = yield context.call_activity("Hello", given)
    event = yield context.wait_for_external_event("Go")
    started = yield context.call_activity("Starts", "child-1")
    count = yield context.call_entity(df.EntityId("Counter", "k"), "get")
    return [first, event, started, count]

main = df.Orchestrator.create(orchestrate)
"""
CHILD = """
import azure.durable_functions as df

main = df.Orchestrator.create(lambda context: "child")
"""
ACTIVITY = """
def main(given: dict) -> str:
    return f"{given['greeting']} {given['city']}"
"""
STARTS = """
import azure.durable_functions as df

async def main(name: str, starter: str) -> str:
    return await df.DurableOrchestrationClient(starter).start_new("Child", name)
"""
ENTITY = """
import azure.durable_functions as df

def count(context: df.DurableEntityContext):
    state = context.get_state(lambda: 0)
    if context.operation_name == "add":
        context.set_state(state + context.get_input())
    context.set_result(context.get_state())
    return "ignored"

main = df.Entity.create(count)
"""

V2_APP = """
import azure.durable_functions as df
import azure.functions as func

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)

@app.route(route="start", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client) -> func.HttpResponse:
    assert isinstance(client, df.DurableOrchestrationClient)
    instance_id = await client.start_new("parent")
    return await client.wait_for_completion_or_create_check_status_response(req, instance_id)

@app.orchestration_trigger(context_name="context")
def parent(context):
    asked = yield context.call_activity("asks_async", "a")
    return [asked, (yield context.call_activity("asks", "b"))]

@app.orchestration_trigger(context_name="context")
def child(context):
    return "child"

@app.activity_trigger(input_name="name")
@app.durable_client_input(client_name="client")
async def asks_async(name: str, client) -> str:
    assert isinstance(client, df.DurableOrchestrationClient)
    return await client.start_new("child", name)

@app.activity_trigger(input_name="name")
@app.durable_client_input(client_name="client")
def asks(name: str, client) -> str:
    import asyncio
    return asyncio.run(client.start_new("child", name))
"""


def write_folders(root: Path, folders: Mapping[str, tuple[str, str, Mapping[str, Any]]]) -> Path:
    """Write a v1 app: name → script name, its code, function.json."""
    root.mkdir()
    (root / "host.json").write_text('{"version": "2.0", "extensions": {"durableTask": {"hubName": "OldApps"}}}')
    for name, (script, code, content) in folders.items():
        (root / name).mkdir()
        (root / name / script).write_text(code)
        (root / name / "function.json").write_text(json.dumps(content))
    return root


def test_an_app_of_function_json_folders_runs_unchanged(tmp_path: Path, launch: Callable[..., HostProcess]) -> None:
    def trigger(kind: str, name: str, *others: Mapping[str, Any]) -> dict[str, Any]:
        return {"bindings": [{"type": kind, "direction": "in", "name": name}, *others]}

    root = write_folders(
        tmp_path / "v1",
        {
            "HttpStart": (
                "start.py",
                START,
                {
                    "scriptFile": "start.py",
                    "entryPoint": "go",
                    "bindings": [{**HTTP, "route": "orchestrators/{name}"}, OUT, CLIENT],
                },
            ),
            "Orchestrate": ("__init__.py", ORCHESTRATOR, trigger("orchestrationTrigger", "context")),
            "Child": ("__init__.py", CHILD, trigger("orchestrationTrigger", "context")),
            "Hello": ("__init__.py", ACTIVITY, trigger("activityTrigger", "given")),
            "Starts": ("__init__.py", STARTS, trigger("activityTrigger", "name", CLIENT)),
            "Counter": ("__init__.py", ENTITY, trigger("entityTrigger", "context")),
        },
    )
    (root / "shared").mkdir()
    (root / "shared" / "__init__.py").write_text("def greeting():\n    return 'Hello'\n")
    host = launch(root).wait_until_ready()

    answer = host.post("/api/orchestrators/Orchestrate")

    assert answer.json() == ["Hello Rome", "false", "child-1", 2]
    child = eventually(lambda: _ended(host, "child-1"))
    assert child["output"] == "child"
    assert host.interrupt() == 0


def _ended(host: HostProcess, instance_id: str) -> Any:
    status = host.get(f"{MANAGEMENT}/instances/{instance_id}").json()
    return status if status["runtimeStatus"] == "Completed" else None


def test_activities_have_a_client_of_their_own(make_app: Callable[..., Path], launch: Callable[..., HostProcess]) -> None:
    host = launch(make_app(V2_APP)).wait_until_ready()

    answer = host.post("/api/start")

    assert answer.json() == ["a", "b"]
    assert eventually(lambda: _ended(host, "b"))["output"] == "child"


def test_a_client_for_another_hub_is_refused_when_the_app_is_loaded(
    make_app: Callable[..., Path], launch: Callable[..., HostProcess]
) -> None:
    app = V2_APP.replace(
        'client_input(client_name="client")\nasync def start', 'client_input("client", "Other")\nasync def start'
    )
    host = launch(make_app(app)).wait_until_ready()

    answer = host.post("/api/start")

    assert answer.status == 404
    assert "Its durable client 'client' is for the task hub 'Other', but this host has 'EndToEnd' open" in host.output
