"""An orchestrator as `async def`: `await` instead of `yield`, the same history and the same replay."""

from __future__ import annotations

from datetime import timedelta

import azure.functions as func

import durable_ext as df

bp = df.Blueprint()


@bp.route(route="async_orchestrator/{instance_id}", methods=["POST"])
@bp.durable_client_input(client_name="client")
async def async_orchestrator_start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    try:
        instance_id = await client.start_new("async_orchestrator", req.route_params["instance_id"], req.get_json())
    except df.InstanceAlreadyExistsError as exc:
        return func.HttpResponse(f"{exc}\n", status_code=409)
    except ValueError as exc:  # no JSON, or an id that cannot be used
        return func.HttpResponse(f"{exc}\n", status_code=400)
    return client.create_check_status_response(req, instance_id)


@bp.orchestration_trigger(context_name="context")
async def async_orchestrator(context: df.DurableOrchestrationContext) -> dict[str, str]:
    """Book three things for a trip one after the other; on a failure undo what was booked, newest first."""
    destination = context.get_input()
    booked: list[str] = []
    try:
        for what in ("flight", "hotel", "car"):
            await context.call_activity("async_orchestrator_book", [what, destination])
            booked.append(what)
            await context.create_timer(context.current_utc_datetime + timedelta(milliseconds=100))
    except df.TaskFailedError:
        for what in reversed(booked):
            await context.call_activity("async_orchestrator_cancel", [what, destination])
        return {"trip": "cancelled", "undone": ", ".join(reversed(booked))}
    return {"trip": "booked", "parts": ", ".join(booked)}


@bp.activity_trigger(input_name="booking")
def async_orchestrator_book(booking: list) -> str:
    what, destination = booking
    if what == "car" and destination == "Venice":
        raise ValueError("There are no cars in Venice.")
    return f"{what} to {destination}"


@bp.activity_trigger(input_name="booking")
def async_orchestrator_cancel(booking: list) -> None:
    what, destination = booking
    print(f"{what} to {destination} cancelled")


app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(bp)
