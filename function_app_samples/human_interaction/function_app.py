"""Human interaction: wait for somebody's approval, but not for ever."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import Any

import azure.functions as func

import durable_ext as df

bp = df.Blueprint()


@bp.route(route="human_interaction/{instance_id}", methods=["POST"])
@bp.durable_client_input(client_name="client")
async def human_interaction_start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    try:
        instance_id = await client.start_new("human_interaction", req.route_params["instance_id"], req.get_json())
    except df.InstanceAlreadyExistsError as exc:
        return func.HttpResponse(f"{exc}\n", status_code=409)
    except ValueError as exc:  # no JSON, or an id that cannot be used
        return func.HttpResponse(f"{exc}\n", status_code=400)
    return client.create_check_status_response(req, instance_id)


@bp.route(route="human_interaction/{instance_id}/answer", methods=["POST"])
@bp.durable_client_input(client_name="client")
async def human_interaction_answer(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    """What the link in the approver's mail would call; the body is `true` or `false`."""
    try:
        await client.raise_event(req.route_params["instance_id"], "Approval", req.get_json())
    except df.InstanceNotFoundError as exc:
        return func.HttpResponse(f"{exc}\n", status_code=404)
    except df.InvalidInstanceStateError as exc:  # it has ended
        return func.HttpResponse(f"{exc}\n", status_code=410)
    except ValueError as exc:  # no JSON
        return func.HttpResponse(f"{exc}\n", status_code=400)
    return func.HttpResponse("Thank you.\n", status_code=202)


@bp.orchestration_trigger(context_name="context")
def human_interaction(context: df.DurableOrchestrationContext) -> Generator[Any, Any, str]:
    """Input: `request`, the text to approve, and `timeout_seconds`."""
    job = context.get_input()
    yield context.call_activity("human_interaction_ask", job["request"])
    deadline = context.create_timer(context.current_utc_datetime + timedelta(seconds=job["timeout_seconds"]))
    approval = context.wait_for_external_event("Approval")
    context.set_custom_status("waiting for approval")

    winner = yield context.task_any([approval, deadline])
    if winner == deadline:
        return (yield context.call_activity("human_interaction_escalate", job["request"]))
    deadline.cancel()
    return "approved" if approval.result else "rejected"


@bp.activity_trigger(input_name="request")
def human_interaction_ask(request: str) -> str:
    return f"Mail sent: please approve '{request}'."


@bp.activity_trigger(input_name="request")
def human_interaction_escalate(request: str) -> str:
    return f"escalated: nobody answered '{request}'"


app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(bp)
