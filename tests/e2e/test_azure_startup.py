"""`durable start` on storage that is away, not allowed or not what the settings say: one clear line, or patience."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import AccountSasPermissions, ResourceTypes, Services, generate_account_sas
from azurite import Azurite, connection_string_of, free_ports, running_azurite
from support.host_process import MANAGEMENT, HostProcess, eventually, hub_environment

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings

pytestmark = pytest.mark.azurite

APP = """
import azure.functions as func
import durable_ext as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.orchestration_trigger(context_name="context")
def steps(context):
    done = []
    for number in range(context.get_input()):
        done.append((yield context.call_activity("step", number)))
    return done


@app.activity_trigger(input_name="number")
def step(number: int) -> int:
    return number


@app.route(route="hello")
def hello(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("hello")


@app.route(route="begin")
@app.durable_client_input(client_name="client")
async def begin(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    return func.HttpResponse(await client.start_new("steps", None, 1))
"""
KEY_PART = re.compile("AccountKey=([^;]*)")
AWAY = "The task hub cannot be reached: "


def app_with(make_app: Callable[..., Path], **durable_task: Any) -> Path:
    return make_app(APP, host_json=json.dumps({"version": "2.0", "extensions": {"durableTask": durable_task}}))


def refusal_of(host: HostProcess, *secrets: str) -> str:
    """Wait until a host has ended as it should after a mistake of its user, and return the line that tells it."""
    assert host.wait_for_exit(60) == 1
    assert "Traceback" not in host.output
    assert not any(secret in host.output for secret in secrets)
    return host.output.splitlines()[-1]


def signature_for(azurite: Azurite, permissions: str = "rwdlacup", *, valid: timedelta = timedelta(hours=1)) -> str:
    key = KEY_PART.search(azurite.connection_string)
    assert key is not None
    return generate_account_sas(
        "devstoreaccount1",
        key[1],
        ResourceTypes(service=True, container=True, object=True),
        AccountSasPermissions.from_string(permissions),
        datetime.now(timezone.utc) + valid,
        services=Services.from_string("bqt"),
    )


def connection_with(azurite: Azurite, signature: str) -> dict[str, str]:
    endpoints = "".join(f"{name}Endpoint={uri};" for name, uri in azurite.endpoints.items())
    return {"AzureWebJobsStorage": f"{endpoints}SharedAccessSignature={signature}"}


@pytest.mark.parametrize(
    ("permissions", "valid", "says"),
    [
        ("rwdlacup", timedelta(hours=-1), "has expired: it was valid until "),
        ("rl", timedelta(hours=1), "lacks the permissions write, delete, add, create, update, process (sp)"),
        ("rwdlacu", timedelta(hours=1), "lacks the permissions process (sp)"),
    ],
)
def test_a_signature_that_is_not_enough_ends_the_start_with_what_it_lacks(
    azurite: Azurite,
    make_app: Callable[..., Path],
    launch: Callable[..., HostProcess],
    permissions: str,
    valid: timedelta,
    says: str,
) -> None:
    token = signature_for(azurite, permissions, valid=valid)

    host = launch(make_app(APP), options=("--drain", "1"), environment=connection_with(azurite, token))

    line = refusal_of(host, token.partition("sig=")[2])
    assert says in line
    assert "Make a new one for the account" in line


def test_a_signature_that_is_wrong_ends_the_start_without_showing_it(
    azurite: Azurite, make_app: Callable[..., Path], launch: Callable[..., HostProcess]
) -> None:
    token = re.sub("sig=[^&]*", "sig=V1JPTkc%3D", signature_for(azurite))

    host = launch(make_app(APP), options=("--drain", "1"), environment=connection_with(azurite, token))

    line = refusal_of(host, "V1JPTkc")
    assert f"The shared access signature for {azurite.endpoints['Table']}" in line


def test_a_hub_with_another_partition_count_ends_the_start_with_the_number_to_set(
    azurite: Azurite, make_app: Callable[..., Path], launch: Callable[..., HostProcess], task_hub: str
) -> None:
    async def use_hub() -> None:
        settings = AzureStorageSettings(connection=azurite.connection_string, task_hub=task_hub, partition_count=2)
        backend = AzureStorageBackend(settings)
        await backend.open()
        await backend.start_worker()
        assert await backend.listening(timedelta(seconds=30))
        await backend.close()

    asyncio.run(use_hub())
    environment = {"AzureWebJobsStorage": azurite.connection_string}

    host = launch(app_with(make_app, hubName=task_hub), options=("--drain", "1"), environment=environment)

    line = refusal_of(host)
    assert f"In task hub '{task_hub}' workers have served 2 partitions, the settings say 4" in line
    assert "storageProvider.partitionCount to 2" in line


@pytest.mark.parametrize(
    ("durable_task", "environment", "says"),
    [
        ({"hubName": "1hub"}, {}, "Task hub name '1hub' should contain only alphanumeric characters"),
        ({"storageProvider": {"connectionName": "Elsewhere"}}, {}, "Set Elsewhere in local.settings.json"),
        ({}, {"AzureWebJobsStorage": "AccountKey=U0VDUkVU"}, "AzureWebJobsStorage: The storage connection string cannot"),
        ({}, {"AzureWebJobsStorage__queueServiceUri": "https://q.x"}, "AzureWebJobsStorage: .*blobServiceUri is missing"),
    ],
)
def test_a_setting_that_cannot_be_used_ends_the_start_with_its_name(
    make_app: Callable[..., Path],
    launch: Callable[..., HostProcess],
    durable_task: dict[str, Any],
    environment: dict[str, str],
    says: str,
) -> None:
    host = launch(app_with(make_app, **durable_task), options=("--drain", "1"), environment=environment)

    assert re.search(says, refusal_of(host, "U0VDUkVU"))


def test_storage_that_comes_after_the_host_is_waited_for(
    make_app: Callable[..., Path], launch: Callable[..., HostProcess], tmp_path: Path
) -> None:
    ports = free_ports()
    host = launch(make_app(APP), options=("--drain", "1"), environment={"AzureWebJobsStorage": connection_string_of(ports)})
    eventually(lambda: AWAY in host.output, seconds=60, message="nothing is said about the storage")

    while_it_is_away = [
        host.get("/api/hello").text,
        host.get(f"{MANAGEMENT}/instances/nobody").status,
        host.start("steps", "early", 1).status,
    ]
    with running_azurite(location=tmp_path / "azurite", ports=ports):
        host.wait_until_ready(60)
        host.start("steps", "late", 3)
        output = host.finished("late", 60)["output"]

    assert while_it_is_away == ["hello", 503, 503]
    assert output == [0, 1, 2]
    assert host.output.count(AWAY) == 1
    assert "Start Azurite (npx azurite) or use --hub embedded." in host.output
    assert host.output.count("The task hub can be reached now.") == 1


def test_a_function_that_is_called_while_the_hub_opens_waits_for_its_client(
    azurite: Azurite, make_app: Callable[..., Path], launch: Callable[..., HostProcess], task_hub: str
) -> None:
    environment = hub_environment(azurite.connection_string, task_hub)
    with ThreadPoolExecutor(1) as caller:
        azurite.process.send_signal(signal.SIGSTOP)  # takes connections, and answers when it goes on
        try:
            host = launch(make_app(APP), options=("--drain", "1"), environment=environment)
            eventually(lambda: "Management API:" in host.output, seconds=60)
            answer = caller.submit(host.get, "/api/begin")
            eventually(lambda: "Executing 'Functions.begin'" in host.output)
        finally:
            azurite.process.send_signal(signal.SIGCONT)

        assert answer.result().status == 200, answer.result().text
        assert host.finished(answer.result().text)["output"] == [0]


def test_a_storage_that_takes_connections_and_does_not_answer_is_told_and_waited_for(
    azurite: Azurite, make_app: Callable[..., Path], launch: Callable[..., HostProcess], task_hub: str
) -> None:
    azurite.process.send_signal(signal.SIGSTOP)
    try:
        environment = hub_environment(azurite.connection_string, task_hub)
        host = launch(make_app(APP), options=("--drain", "1"), environment=environment)
        eventually(lambda: f"{AWAY}the storage has not answered for 5 s. It is waited for." in host.output, seconds=60)
        while_it_is_silent = [host.get("/api/hello").text, host.get(f"{MANAGEMENT}/instances/nobody").status]
    finally:
        azurite.process.send_signal(signal.SIGCONT)
    host.wait_until_ready(60)
    host.start("steps", "late", 3)

    assert while_it_is_silent == ["hello", 503]
    assert host.finished("late", 60)["output"] == [0, 1, 2]
    assert host.output.count(AWAY) == 1
    assert host.output.count("The task hub can be reached now.") == 1


@pytest.mark.slow  # a minute of outage, and up to another one until what was taken before becomes visible again
def test_a_minute_without_storage_loses_nothing_and_is_two_lines(
    make_app: Callable[..., Path], launch: Callable[..., HostProcess], tmp_path: Path
) -> None:
    ports, folder = free_ports(), tmp_path / "azurite"
    environment = {"AzureWebJobsStorage": connection_string_of(ports)}
    names = [f"instance-{number}" for number in range(30)]
    with running_azurite(location=folder, ports=ports):
        host = launch(make_app(APP), options=("--drain", "1"), environment=environment).wait_until_ready(60)
        for name in names:
            host.start("steps", name, 30)
        ready = len(host.output)
    stopped = time.monotonic()
    statuses = {host.get(f"{MANAGEMENT}/instances/{names[0]}").status for _ in range(3)}
    eventually(lambda: time.monotonic() - stopped > 60, seconds=70)

    with running_azurite(location=folder, ports=ports):
        outputs = [host.finished(name, 240)["output"] for name in names]
        eventually(lambda: "Azure Storage answers again" in host.output, seconds=60)

    assert statuses == {503}
    assert outputs == [list(range(30))] * len(names)
    work = re.compile(r"orchestration 'steps'|Execut(ing|ed) 'Functions\.step'")
    lines = [line for line in host.output[ready:].splitlines() if line and not work.search(line)]
    assert len(lines) == 2
    assert "What was under way is tried again until it answers" in lines[0]
    assert "Azure Storage answers again, after" in lines[1]
