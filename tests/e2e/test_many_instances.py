"""Ten thousand instances in one hub: starting and listing stay fast, memory stays bounded."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.host_process import MANAGEMENT, HostProcess, eventually, resident_mb

pytestmark = pytest.mark.slow

COUNT = 10_000

APP = """
import azure.functions as func
import durable_ext as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="start/{name}/{begin}/{end}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client) -> func.HttpResponse:
    name = req.route_params["name"]
    for number in range(int(req.route_params["begin"]), int(req.route_params["end"])):
        await client.start_new(name, f"{name}-{number:05}")
    return func.HttpResponse("started")


@app.orchestration_trigger(context_name="context")
def waits(context):
    return (yield context.wait_for_external_event("Go"))


@app.orchestration_trigger(context_name="context")
def ends(context):
    return 1
"""


def _start_all(host: HostProcess, name: str) -> None:
    for begin in range(0, COUNT, 500):
        host.post(f"/api/start/{name}/{begin}/{begin + 500}")


def _count(host: HostProcess, status: str) -> int:
    return len(host.get(f"{MANAGEMENT}/instances?runtimeStatus={status}&top={COUNT + 1}&showInput=false").json())


def test_a_hub_with_ten_thousand_finished_instances_starts_and_lists_fast(
    make_app: Callable[..., Path], launch: Callable[..., HostProcess]
) -> None:
    app = make_app(APP)
    first = launch(app).wait_until_ready()
    _start_all(first, "ends")
    eventually(lambda: _count(first, "Completed") == COUNT, seconds=120)
    first.interrupt()

    began = time.monotonic()
    second = launch(app).wait_until_ready()
    start_up = time.monotonic() - began
    began = time.monotonic()
    page = second.get(f"{MANAGEMENT}/instances?top=100").json()
    listing = time.monotonic() - began

    print(f"start-up {start_up:.2f} s, a page of 100 {listing * 1000:.0f} ms, {resident_mb(second):.0f} MB")
    assert len(page) == 100
    assert start_up < 3
    assert listing < 0.5


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_ten_thousand_waiting_instances_do_not_fill_memory(
    make_app: Callable[..., Path], launch: Callable[..., HostProcess]
) -> None:
    host = launch(make_app(APP)).wait_until_ready()
    _start_all(host, "waits")
    eventually(lambda: _count(host, "Running") == COUNT, seconds=180)
    resident = resident_mb(host)

    host.post(f"{MANAGEMENT}/instances/waits-09999/raiseEvent/Go", "at last")

    print(f"{resident:.0f} MB with {COUNT} waiting instances")
    assert resident < 300
    assert host.finished("waits-09999")["output"] == "at last"
