"""Every method of the durable client, in a blueprint."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta, timezone

import azure.durable_functions as df
import azure.functions as func

bp = df.Blueprint()
STATUS = df.OrchestrationRuntimeStatus
COUNTER = df.EntityId("Counter", "client")


async def until(client: df.DurableOrchestrationClient, instance_id: str, wanted: df.OrchestrationRuntimeStatus):
    for _ in range(200):
        status = await client.get_status(instance_id)
        if status and status.runtime_status is wanted:
            return status
        await asyncio.sleep(0.05)
    raise TimeoutError(f"{instance_id} is not {wanted.value}")


@bp.route(route="tour/{instance_id}", methods=["POST"])
@bp.durable_client_input(client_name="client")
async def start_tour(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    instance_id = await client.start_new("tour", req.route_params["instance_id"], req.get_json())
    return client.create_check_status_response(req, instance_id)


@bp.route(route="tour/{instance_id}/approve", methods=["POST"])
@bp.durable_client_input(client_name="client")
async def approve(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    instance_id = req.route_params["instance_id"]
    for _ in range(200):
        status = await client.get_status(instance_id)
        if status.custom_status:
            break
        await asyncio.sleep(0.05)
    await client.raise_event(instance_id, "Approval", {"by": "me"})
    return await client.wait_for_completion_or_create_check_status_response(req, instance_id, 20_000, 100)


@bp.route(route="client/{instance_id}", methods=["POST"])
@bp.durable_client_input(client_name="client")
async def client_tour(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    name, seen = req.route_params["instance_id"], {}
    since = datetime.now(timezone.utc) - timedelta(minutes=1)

    waiting = await client.start_new("waits", f"{name}-waits", version="2")
    await until(client, waiting, STATUS.Running)
    await client.suspend(waiting, "a break")
    await until(client, waiting, STATUS.Suspended)
    await client.resume(waiting, "the break is over")
    await until(client, waiting, STATUS.Running)
    await client.raise_event(waiting, "Go", [1, 2])
    status = await until(client, waiting, STATUS.Completed)
    seen["event"] = status.output
    full = await client.get_status(waiting, show_history=True, show_history_output=True, show_input=True)
    seen["name"], seen["runtime"], seen["existed"] = full.name, full.runtime_status.name, bool(full)

    stopped = await client.start_new("waits", f"{name}-stopped")
    await until(client, stopped, STATUS.Running)
    await client.terminate(stopped, "enough")
    seen["terminated"] = (await until(client, stopped, STATUS.Terminated)).output

    failed = await client.start_new("fails", f"{name}-fails")
    await until(client, failed, STATUS.Failed)
    await client.rewind(failed, "try again")
    seen["rewound"] = (await until(client, failed, STATUS.Completed)).output

    again = await client.restart(stopped, restart_with_new_instance_id=False)
    await until(client, again, STATUS.Running)
    await client.raise_event(again, "Go", "restarted")
    seen["restarted"] = (await until(client, again, STATUS.Completed)).output

    await client.signal_entity(COUNTER, "add", 5)
    for _ in range(200):
        entity = await client.read_entity_state(COUNTER)
        if entity.entity_exists:
            break
        await asyncio.sleep(0.05)
    seen["entity"] = entity.entity_state

    found = await client.get_status_by(since, None, [STATUS.Completed], f"{name}-")
    seen["found"] = sorted(each.instance_id for each in found)
    seen["all"] = len(await client.get_status_all()) >= len(found)
    seen["purged"] = (await client.purge_instance_history(failed)).instances_deleted
    seen["purged many"] = (await client.purge_instance_history_by(since, None, [STATUS.Completed])).instances_deleted >= 2
    seen["gone"] = not await client.get_status(failed)
    try:
        await client.terminate("nobody", "x")
    except Exception as error:
        seen["error"] = str(error)

    links = client.create_http_management_payload("i1")
    seen["links"] = sorted(links)
    seen["origin"] = client.get_client_response_links(req, "i1")["statusQueryGetUri"].split("/runtime")[0] in req.url
    return func.HttpResponse(json.dumps(seen), mimetype="application/json")
