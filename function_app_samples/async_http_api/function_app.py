"""Async HTTP API: a long job behind HTTP; callers get 202 and poll, or wait a moment for the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import azure.functions as func

import durable_ext as df

bp = df.Blueprint()


@bp.route(route="async_http_api/{instance_id}", methods=["POST"])
@bp.durable_client_input(client_name="client")
async def async_http_api_start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    try:
        instance_id = await client.start_new("async_http_api", req.route_params["instance_id"], req.get_json())
    except df.InstanceAlreadyExistsError as exc:
        return func.HttpResponse(f"{exc}\n", status_code=409)
    except ValueError as exc:  # no JSON, or an id that cannot be used
        return func.HttpResponse(f"{exc}\n", status_code=400)
    return client.create_check_status_response(req, instance_id)


@bp.route(route="async_http_api/{instance_id}/wait", methods=["POST"])
@bp.durable_client_input(client_name="client")
async def async_http_api_start_and_wait(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    """Answer with the output if the job is done within ten seconds, else with 202 and the links."""
    try:
        instance_id = await client.start_new("async_http_api", req.route_params["instance_id"], req.get_json())
    except df.InstanceAlreadyExistsError as exc:
        return func.HttpResponse(f"{exc}\n", status_code=409)
    except ValueError as exc:  # no JSON, or an id that cannot be used
        return func.HttpResponse(f"{exc}\n", status_code=400)
    return await client.wait_for_completion_or_create_check_status_response(
        req, instance_id, timeout_in_milliseconds=10_000, retry_interval_in_milliseconds=100
    )


@bp.orchestration_trigger(context_name="context")
def async_http_api(context: df.DurableOrchestrationContext) -> Generator[Any, Any, dict[str, Any]]:
    job = context.get_input() or {}
    context.set_custom_status("rendering")
    pages = yield context.call_activity("async_http_api_render", job)
    context.set_custom_status("done")
    return {"title": job.get("title"), "pages": pages}


@bp.activity_trigger(input_name="job")
async def async_http_api_render(job: dict) -> int:
    """Stand in for slow work: `seconds` of the job, 0.5 by default."""
    await asyncio.sleep(float(job.get("seconds", 0.5)))
    return len(str(job.get("title", ""))) * 3


app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(bp)
