"""`durable start` on Azure Storage (Azurite): the same samples, unchanged, and the same promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from azurite import Azurite, running_azurite
from support.host_process import HostProcess, eventually
from support.readme_session import perform, read_steps

pytestmark = pytest.mark.azurite

ON_AZURE = ("--hub", "azure", "--drain", "1")

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


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with running_azurite(location=tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.fixture
def on_azure(azurite: Azurite, launch: Callable[..., HostProcess], task_hub: str) -> Callable[[Path], HostProcess]:
    """Launch a host on a task hub of its own in Azurite."""

    def launch_on_azure(script_root: Path) -> HostProcess:
        environment = {
            "AzureWebJobsStorage": azurite.connection_string,
            "AzureFunctionsJobHost__extensions__durableTask__hubName": task_hub,
        }
        return launch(script_root, options=ON_AZURE, environment=environment)

    return launch_on_azure


@pytest.mark.parametrize("name", ["function_chaining", "fan_out_fan_in", "human_interaction", "aggregator"])
def test_a_sample_behaves_as_its_readme_says(
    name: str, sample: Callable[[str], Path], on_azure: Callable[[Path], HostProcess]
) -> None:
    script_root = sample(name)
    host = on_azure(script_root).wait_until_ready(60)

    for step in read_steps(script_root / "README.md"):
        if step.command.startswith("curl "):
            perform(step, host.origin)

    assert host.interrupt() == 0


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
