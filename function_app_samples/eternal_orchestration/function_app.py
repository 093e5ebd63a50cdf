"""Eternal orchestration: works, sleeps, and starts over with a fresh history by continue-as-new."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import Any

import azure.functions as func

import durable_ext as df

bp = df.Blueprint()


@bp.route(route="eternal_orchestration/{instance_id}", methods=["POST"])
@bp.durable_client_input(client_name="client")
async def eternal_orchestration_start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    try:
        instance_id = await client.start_new("eternal_orchestration", req.route_params["instance_id"], {"round": 1})
    except df.InstanceAlreadyExistsError as exc:
        return func.HttpResponse(f"{exc}\n", status_code=409)
    except ValueError as exc:  # an id that cannot be used
        return func.HttpResponse(f"{exc}\n", status_code=400)
    return client.create_check_status_response(req, instance_id)


@bp.orchestration_trigger(context_name="context")
def eternal_orchestration(context: df.DurableOrchestrationContext) -> Generator[Any, Any, str | None]:
    """One round per generation; an event `Stop` ends it for good."""
    state = context.get_input()
    freed = yield context.call_activity("eternal_orchestration_clean_up", state["round"])
    context.set_custom_status({"round": state["round"], "freed_mb": freed})

    stop = context.wait_for_external_event("Stop")
    next_round = context.create_timer(context.current_utc_datetime + timedelta(seconds=1))
    if (yield context.task_any([stop, next_round])) == stop:
        next_round.cancel()
        return f"stopped: {stop.result}"
    context.continue_as_new({"round": state["round"] + 1})
    return None


@bp.activity_trigger(input_name="number")
def eternal_orchestration_clean_up(number: int) -> int:
    return number * 10


app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(bp)
