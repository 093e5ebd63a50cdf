"""Fan-out/fan-in: many activities at once, then one that works with all their results."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import azure.functions as func

import durable_ext as df

bp = df.Blueprint()


@bp.route(route="fan_out_fan_in/{instance_id}", methods=["POST"])
@bp.durable_client_input(client_name="client")
async def fan_out_fan_in_start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    try:
        documents: list[str] = req.get_json()
        instance_id = await client.start_new("fan_out_fan_in", req.route_params["instance_id"], documents)
    except df.InstanceAlreadyExistsError as exc:
        return func.HttpResponse(f"{exc}\n", status_code=409)
    except ValueError as exc:  # no JSON, or an id that cannot be used
        return func.HttpResponse(f"{exc}\n", status_code=400)
    return client.create_check_status_response(req, instance_id)


@bp.orchestration_trigger(context_name="context")
def fan_out_fan_in(context: df.DurableOrchestrationContext) -> Generator[Any, Any, dict[str, int]]:
    documents = context.get_input() or []
    counts = yield context.task_all(
        [context.call_activity("fan_out_fan_in_count_words", document) for document in documents]
    )
    total = yield context.call_activity("fan_out_fan_in_add_up", counts)
    return {"documents": len(documents), "words": total}


@bp.activity_trigger(input_name="document")
def fan_out_fan_in_count_words(document: str) -> int:
    return len(document.split())


@bp.activity_trigger(input_name="counts")
def fan_out_fan_in_add_up(counts: list) -> int:
    return sum(counts)


app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(bp)
