"""Aggregator: a durable entity per account adds up what is signalled to it; an orchestration reads several."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import azure.functions as func

import durable_ext as df

bp = df.Blueprint()


@bp.entity_trigger(context_name="context")
def aggregator(context: df.DurableEntityContext) -> None:
    """Operations: `add` (a number), `get` (the balance), `reset`. State: the balance."""
    balance = context.get_state(lambda: 0)
    if context.operation_name == "add":
        balance += context.get_input()
    elif context.operation_name == "reset":
        balance = 0
    context.set_state(balance)
    context.set_result(balance)


@bp.route(route="aggregator/{account}", methods=["POST"])
@bp.durable_client_input(client_name="client")
async def aggregator_add(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    """Signal and forget: the body is the number to add."""
    account = df.EntityId("aggregator", req.route_params["account"])
    try:
        amount = req.get_json()
    except ValueError as exc:
        return func.HttpResponse(f"{exc}\n", status_code=400)
    if not isinstance(amount, (int, float)):
        return func.HttpResponse("The body has to be a number.\n", status_code=400)
    await client.signal_entity(account, "add", amount)
    return func.HttpResponse(status_code=202)


@bp.route(route="aggregator/{account}", methods=["GET"])
@bp.durable_client_input(client_name="client")
async def aggregator_read(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    account = df.EntityId("aggregator", req.route_params["account"])
    state = await client.read_entity_state(account)
    if not state.entity_exists:
        return func.HttpResponse(status_code=404)
    return func.HttpResponse(json.dumps(state.entity_state) + "\n", mimetype="application/json")


@bp.orchestration_trigger(context_name="context")
def aggregator_report(context: df.DurableOrchestrationContext) -> Generator[Any, Any, dict[str, int]]:
    """Ask several accounts at once and wait for their answers. Input: the list of accounts."""
    accounts: list[str] = context.get_input()
    balances = yield context.task_all(
        [context.call_entity(df.EntityId("aggregator", account), "get") for account in accounts]
    )
    return dict(zip(accounts, balances, strict=True))


app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(bp)
