"""Function chaining: activities one after the other, each waiting for the one before."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import azure.functions as func

import durable_ext as df

bp = df.Blueprint()


@bp.route(route="function_chaining/{instance_id}", methods=["POST"])
@bp.durable_client_input(client_name="client")
async def function_chaining_start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    try:
        instance_id = await client.start_new("function_chaining", req.route_params["instance_id"])
    except df.InstanceAlreadyExistsError as exc:
        return func.HttpResponse(f"{exc}\n", status_code=409)
    except ValueError as exc:  # an id that cannot be used
        return func.HttpResponse(f"{exc}\n", status_code=400)
    return client.create_check_status_response(req, instance_id)


@bp.orchestration_trigger(context_name="context")
def function_chaining(context: df.DurableOrchestrationContext) -> Generator[Any, Any, list[str]]:
    greetings = []
    for city in ("Tokyo", "Seattle", "London"):
        greetings.append((yield context.call_activity("function_chaining_say_hello", city)))
    return greetings


@bp.activity_trigger(input_name="city")
def function_chaining_say_hello(city: str) -> str:
    return f"Hello {city}!"


app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(bp)
