"""Sub-orchestrations: a parent starts one child per device and waits for all; flaky steps are tried again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import azure.functions as func

import durable_ext as df

bp = df.Blueprint()
RETRY = df.RetryOptions(first_retry_interval_in_milliseconds=200, max_number_of_attempts=3)


@bp.route(route="sub_orchestrations/{instance_id}", methods=["POST"])
@bp.durable_client_input(client_name="client")
async def sub_orchestrations_start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    try:
        devices: list[str] = req.get_json()
        instance_id = await client.start_new("sub_orchestrations", req.route_params["instance_id"], devices)
    except df.InstanceAlreadyExistsError as exc:
        return func.HttpResponse(f"{exc}\n", status_code=409)
    except ValueError as exc:  # no JSON, or an id that cannot be used
        return func.HttpResponse(f"{exc}\n", status_code=400)
    return client.create_check_status_response(req, instance_id)


@bp.orchestration_trigger(context_name="context")
def sub_orchestrations(context: df.DurableOrchestrationContext) -> Generator[Any, Any, list[str]]:
    devices = context.get_input() or []
    children = [
        context.call_sub_orchestrator("sub_orchestrations_provision", device, f"{context.instance_id}:{device}")
        for device in devices
    ]
    return (yield context.task_all(children))


@bp.orchestration_trigger(context_name="context")
def sub_orchestrations_provision(context: df.DurableOrchestrationContext) -> Generator[Any, Any, str]:
    device = context.get_input()
    address = yield context.call_activity_with_retry(
        "sub_orchestrations_connect", RETRY, {"device": device, "instance": context.instance_id}
    )
    firmware = yield context.call_activity("sub_orchestrations_update", device)
    return f"{device} at {address} runs {firmware}"


@bp.activity_trigger(input_name="job")
def sub_orchestrations_connect(job: dict) -> str:
    """Stand in for a flaky network: the first attempt for each device of an instance fails."""
    attempts = Path(tempfile.gettempdir()) / f"sub_orchestrations-{os.getpid()}-{job['instance'].replace(':', '-')}"
    if not attempts.exists():
        attempts.touch()
        raise ConnectionError(f"{job['device']} did not answer.")
    attempts.unlink()
    return f"10.0.0.{len(job['device'])}"


@bp.activity_trigger(input_name="device")
def sub_orchestrations_update(device: str) -> str:
    return "firmware 2.1"


app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(bp)
