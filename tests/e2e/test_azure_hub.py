"""`durable start` on Azure Storage (Azurite): the same promises; the samples are in `test_samples.py`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from azurite import Azurite
from support.host_process import HostProcess, eventually

from durable_ext.backends.azure_storage.lease_table import LeaseTable
from durable_ext.backends.azure_storage.leases import Lease
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport

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


def test_a_host_started_again_after_a_kill_does_not_wait_for_its_old_leases(
    make_app: Callable[..., Path], on_azure: Callable[[Path], HostProcess], azurite: Azurite, task_hub: str
) -> None:
    app = make_app(APP)
    first = on_azure(app).wait_until_ready(60)
    first.start("two_steps", "before")
    first.finished("before")
    before = asyncio.run(leases_of(azurite, task_hub))
    first.kill()

    second = on_azure(app).wait_until_ready(60)
    second.start("two_steps", "after")

    assert second.finished("after", 60)["output"] == ["after 1", "after 2"]
    after = asyncio.run(leases_of(azurite, task_hub))
    held_until = min(lease.expires_at for lease in before if lease.expires_at is not None)
    assert {lease.owner for lease in after}.isdisjoint(lease.owner for lease in before)
    assert all(lease.owned_since is not None and lease.owned_since < held_until for lease in after)


async def leases_of(azurite: Azurite, task_hub: str) -> list[Lease]:
    settings = AzureStorageSettings(connection=azurite.connection_string, task_hub=task_hub)
    transport = open_lean_transport(settings.account)
    try:
        return await LeaseTable(transport.tables, settings.names.partitions_table).load()
    finally:
        await transport.close()


def test_an_instance_started_on_one_host_is_seen_by_another(
    make_app: Callable[..., Path], on_azure: Callable[[Path], HostProcess]
) -> None:
    app = make_app(APP)
    one = on_azure(app).wait_until_ready(60)
    two = on_azure(app).wait_until_ready(60)

    one.start("two_steps", "shared")

    assert two.finished("shared", 60)["output"] == ["shared 1", "shared 2"]


def test_a_wrong_account_key_ends_the_start_with_one_line_that_says_so(
    azurite: Azurite, make_app: Callable[..., Path], launch: Callable[..., HostProcess]
) -> None:
    connection = re.sub("AccountKey=[^;]*", "AccountKey=" + "QUFB" * 21 + "QQ==", azurite.connection_string)

    host = launch(make_app(APP), options=("--drain", "1"), environment={"AzureWebJobsStorage": connection})
    code = host.wait_for_exit()

    assert code == 1
    assert "Traceback" not in host.output
    assert ": 403 " in host.output.splitlines()[-1]
    assert "Check the account key" in host.output.splitlines()[-1]
    assert host.output.count("Check the account key") == 1
