"""`durable start` on Azure Storage (Azurite): the same promises; the samples are in `test_samples.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.host_process import HostProcess, eventually

pytestmark = pytest.mark.azurite

APP = """
import asyncio
from pathlib import Path

import azure.functions as func
import durable_ext as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
LOG = Path(__file__).parent / "activities.log"


@app.orchestration_trigger(context_name="context")
def two_steps(context):
    first = yield context.call_activity("step", f"{context.instance_id} 1")
    second = yield context.call_activity("step", f"{context.instance_id} 2")
    return [first, second]


@app.activity_trigger(input_name="name")
async def step(name: str) -> str:
    with LOG.open("a") as log:
        log.write(name + "\\n")
    await asyncio.sleep(0.3)
    return name
"""


@pytest.mark.slow  # the leases and messages of the killed host have to expire first: more than a minute
def test_a_host_started_after_a_kill_goes_on(make_app: Callable[..., Path], on_azure: Callable[[Path], HostProcess]) -> None:
    app = make_app(APP)
    first = on_azure(app).wait_until_ready(60)
    first.start("two_steps", "survivor")
    eventually(lambda: (app / "activities.log").exists(), message=first.output)
    first.kill()

    second = on_azure(app).wait_until_ready(60)

    assert second.finished("survivor", 150)["output"] == ["survivor 1", "survivor 2"]


def test_an_instance_started_on_one_host_is_seen_by_another(
    make_app: Callable[..., Path], on_azure: Callable[[Path], HostProcess]
) -> None:
    app = make_app(APP)
    one = on_azure(app).wait_until_ready(60)
    two = on_azure(app).wait_until_ready(60)

    one.start("two_steps", "shared")

    assert two.finished("shared", 60)["output"] == ["shared 1", "shared 2"]
