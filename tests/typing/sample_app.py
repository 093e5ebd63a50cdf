"""An app that type checkers must accept without a single ignore; test_typing.py runs them on it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import azure.functions as func
from typing_extensions import assert_type

import durable_ext as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@dataclass
class Order:
    sku: str
    amount: int


@app.entity_trigger(context_name="context")
class Counter(df.EntityBase):
    value: int = 0

    def add(self, amount: int) -> int:
        self.value += amount
        if self.value > 100:
            self.context.signal_entity(df.EntityId("Counter", "overflow"), "add", self.value)
            self.destruct_on_exit()
        return self.value


assert_type(Counter().add(1), int)


@app.activity_trigger(input_name="city")
def say_hello(city: str) -> str:
    return f"Hello {city}"


@app.activity_trigger(input_name="order", executor="process")
def price(order: Order) -> int:
    return order.amount * 2


@app.activity_trigger(input_name="order")
async def ship(order: Order) -> bool:
    return order.amount > 0


@app.entity_trigger(context_name="context")
def tally(context: df.DurableEntityContext) -> None:
    total: int = context.get_state(lambda: 0)
    context.set_state(total + context.get_input(int))


@app.orchestration_trigger(context_name="context")
def chain(context: df.DurableOrchestrationContext) -> Generator[df.Task[Any], Any, list[str]]:
    first: str = yield context.call_activity(say_hello, "Tokyo")
    second: str = yield context.call_activity("say_hello", "Seattle")
    deadline = context.create_timer(context.current_utc_datetime + timedelta(hours=1))
    approval = context.wait_for_external_event("Approval", bool)
    winner: df.Task[Any] = yield context.task_any([approval, deadline])
    if winner is approval:
        deadline.cancel()
    return [first, second]


@app.orchestration_trigger(context_name="context", input_type=Order)
async def buy(context: df.DurableOrchestrationContext) -> dict[str, int]:
    order = Order("a", 1)
    retry = df.RetryOptions(1000, 3)
    total = await context.call_activity(price, order)
    assert_type(total, int)
    assert_type(await context.call_activity(ship, order), bool)
    assert_type(await context.call_activity_with_retry(price, retry, order), int)
    assert_type(await context.call_activity("price", order, expected_type=int), int)
    assert_type(await context.call_sub_orchestrator(chain), list[str])
    assert_type(await context.call_sub_orchestrator_with_retry(chain, retry), list[str])
    both = await context.task_all([context.call_activity(price, order), context.call_activity(price, order)])
    assert_type(both, list[int])
    event = await context.wait_for_external_event("Approval", Order)
    assert_type(event, Order)
    try:
        await context.call_entity(df.EntityId("Counter", "k"), "add", total)
    except df.TaskFailedError as failed:
        context.set_custom_status(failed.failure.error_message if failed.failure is not None else str(failed))
    return {"total": total}


@app.orchestration_trigger(context_name="context")
async def parent(context: df.DurableOrchestrationContext) -> int:
    bought = await context.call_sub_orchestrator(buy, instance_id="child")
    assert_type(bought, dict[str, int])
    return bought["total"]


@app.route(route="start", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    instance_id = await client.start_new(parent, client_input=req.get_json())
    status = await client.get_status(instance_id)
    if status and status.runtime_status is df.OrchestrationRuntimeStatus.Failed:
        return func.HttpResponse(status_code=500)
    return client.create_check_status_response(req, instance_id)


@app.timer_trigger(schedule="0 */5 * * * *", arg_name="timer")
@app.durable_client_input(client_name="client")
async def sweep(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:
    await client.signal_entity(df.EntityId("Counter", "sweeps"), "add", 1)


# The decorated function is still callable as itself.
assert_type(say_hello("x"), str)
