"""Durable HTTP: `call_http` follows 202 answers to their `Location` until the service is done."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any
from urllib.parse import urlsplit

import azure.functions as func

import durable_ext as df

bp = df.Blueprint()


@bp.route(route="call_http_polling/{instance_id}", methods=["POST"])
@bp.durable_client_input(client_name="client")
async def call_http_polling_start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    here = urlsplit(req.url)
    service = f"{here.scheme}://{here.netloc}/api/call_http_polling_service?polls_left=2"
    try:
        instance_id = await client.start_new("call_http_polling", req.route_params["instance_id"], service)
    except df.InstanceAlreadyExistsError as exc:
        return func.HttpResponse(f"{exc}\n", status_code=409)
    except ValueError as exc:  # an id that cannot be used
        return func.HttpResponse(f"{exc}\n", status_code=400)
    return client.create_check_status_response(req, instance_id)


@bp.orchestration_trigger(context_name="context")
def call_http_polling(context: df.DurableOrchestrationContext) -> Generator[Any, Any, dict[str, Any]]:
    response = yield context.call_http("GET", context.get_input())
    return {"status": response["statusCode"], "answer": json.loads(response["content"])}


@bp.route(route="call_http_polling_service", methods=["GET"])
def call_http_polling_service(req: func.HttpRequest) -> func.HttpResponse:
    """Somebody's slow service: 202 with a place to ask again, and 200 with the answer at the last poll."""
    polls_left = int(req.params.get("polls_left", "0"))
    if polls_left == 0:
        return func.HttpResponse(json.dumps({"question": "6 x 7", "value": 42}), mimetype="application/json")
    location = f"{req.url.partition('?')[0]}?polls_left={polls_left - 1}"
    return func.HttpResponse(status_code=202, headers={"Location": location, "Retry-After": "1"})


app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(bp)
