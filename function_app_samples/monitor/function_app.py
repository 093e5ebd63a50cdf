"""Monitor: look at something again and again, with durable timers between, until it is ready or time is up."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import Any

import azure.functions as func

import durable_ext as df

bp = df.Blueprint()


@bp.route(route="monitor/{instance_id}", methods=["POST"])
@bp.durable_client_input(client_name="client")
async def monitor_start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    try:
        instance_id = await client.start_new("monitor", req.route_params["instance_id"], req.get_json())
    except df.InstanceAlreadyExistsError as exc:
        return func.HttpResponse(f"{exc}\n", status_code=409)
    except ValueError as exc:  # no JSON, or an id that cannot be used
        return func.HttpResponse(f"{exc}\n", status_code=400)
    return client.create_check_status_response(req, instance_id)


@bp.orchestration_trigger(context_name="context")
def monitor(context: df.DurableOrchestrationContext) -> Generator[Any, Any, dict[str, Any]]:
    """Input: `city`, `polling_seconds` between two looks and `expires_seconds` for all of them."""
    job = context.get_input()
    expires_at = context.current_utc_datetime + timedelta(seconds=job["expires_seconds"])
    looks = 0
    while context.current_utc_datetime < expires_at:
        looks += 1
        sky = yield context.call_activity("monitor_look_at_sky", {"city": job["city"], "look": looks})
        context.set_custom_status({"look": looks, "sky": sky})
        if sky == "clear":
            yield context.call_activity("monitor_send_alert", job["city"])
            return {"city": job["city"], "clear": True, "looks": looks}
        yield context.create_timer(context.current_utc_datetime + timedelta(seconds=job["polling_seconds"]))
    return {"city": job["city"], "clear": False, "looks": looks}


@bp.activity_trigger(input_name="place")
def monitor_look_at_sky(place: dict) -> str:
    """Stand in for a weather service: the sky over Seattle is never clear, elsewhere it is at the third look."""
    return "clear" if place["city"] != "Seattle" and place["look"] >= 3 else "cloudy"


@bp.activity_trigger(input_name="city")
def monitor_send_alert(city: str) -> str:
    return f"The sky over {city} is clear."


app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(bp)
