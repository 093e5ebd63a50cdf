"""A tour of azure-functions-durable 1.7.0: every method of it, under its import names, without an edit."""

from __future__ import annotations

import os
from datetime import timedelta

import azure.durable_functions as df
import azure.functions as func
from client_tour import bp as client_tour

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(client_tour)

COUNTER = df.EntityId("Counter", "tour")
RETRY = df.RetryOptions(first_retry_interval_in_milliseconds=100, max_number_of_attempts=3)


class Order:
    """A payload type of its own: `to_json` and `from_json` are what 1.x asks for."""

    def __init__(self, item: str, amount: int) -> None:
        self.item, self.amount = item, amount

    @staticmethod
    def to_json(order: Order) -> dict:
        return {"item": order.item, "amount": order.amount}

    @staticmethod
    def from_json(data: dict) -> Order:
        return Order(data["item"], data["amount"])


# Activities, an entity and the orchestrators that use them.


@app.activity_trigger(input_name="city")
def say_hello(city: str) -> str:
    return f"Hello {city}!"


@app.activity_trigger(input_name="order", activity="ship")
async def ship_order(order: Order) -> Order:
    return Order(order.item, order.amount + 1)


@app.activity_trigger(input_name="attempt")
def flaky(attempt: str) -> str:
    marker = f".durable/{attempt}"
    if not os.path.exists(marker):
        os.makedirs(".durable", exist_ok=True)
        open(marker, "w").close()
        raise ValueError("not yet")
    return "at last"


@app.entity_trigger(context_name="context", entity_name="Counter")
def counter(context: df.DurableEntityContext) -> None:
    count = context.get_state(lambda: 0)
    if context.operation_name == "add":
        context.set_state(count + context.get_input(int))
    elif context.operation_name == "forget":
        context.destruct_on_exit()
    context.set_result({"entity": f"{context.entity_name}/{context.entity_key}", "count": context.get_state()})


@app.orchestration_trigger(context_name="context")
def child(context: df.DurableOrchestrationContext):
    parent = "with a parent" if context.parent_instance_id else "alone"
    return f"{parent}: {(yield context.call_activity(say_hello, context.get_input()))}"


@app.orchestration_trigger(context_name="context")
def countdown(context: df.DurableOrchestrationContext):
    left = context.get_input()
    yield context.call_activity("say_hello", str(left))
    if left:
        context.continue_as_new(left - 1)
    return f"{context.will_continue_as_new}"


@app.orchestration_trigger(context_name="context")
def fails(context: df.DurableOrchestrationContext):
    yield context.call_activity("flaky", f"rewind-{context.instance_id}")
    return "rewound"


@app.orchestration_trigger(context_name="context")
def waits(context: df.DurableOrchestrationContext):
    context.set_custom_status("waiting")
    return (yield context.wait_for_external_event("Go"))


@app.orchestration_trigger(context_name="context")
def tour(context: df.DurableOrchestrationContext):
    seen = {"id": context.instance_id, "input": context.get_input(), "version": context.version or ""}
    ids = {context.new_uuid(), str(context.new_guid())}
    seen["ids"] = len(ids)

    seen["hello"] = yield context.call_activity("say_hello", "Tokyo")
    order = yield context.call_activity(ship_order, Order("chair", 1))
    seen["order"] = f"{order.amount} x {order.item}"
    seen["retried"] = yield context.call_activity_with_retry("flaky", RETRY, f"tour-{context.instance_id}")
    seen["child"] = yield context.call_sub_orchestrator(child, "Seattle", f"{context.instance_id}-child")
    seen["retried child"] = yield context.call_sub_orchestrator_with_retry("child", RETRY, "London")
    seen["countdown"] = yield context.call_sub_orchestrator("countdown", 2)

    try:
        yield context.call_activity("flaky", f"failure-{context.instance_id}")
    except Exception as error:
        seen["failure"] = str(error).splitlines()[0].strip()

    context.signal_entity(COUNTER, "add", 2)
    seen["counter"] = yield context.call_entity(COUNTER, "add", 3)
    yield context.call_entity(COUNTER, "forget")

    answer = yield context.call_http("GET", f"http://{os.environ['WEBSITE_HOSTNAME']}/api/echo?text=hi")
    seen["http"] = [answer["statusCode"], answer["content"]]

    seen["all"] = yield context.task_all([context.call_activity("say_hello", city) for city in ("Oslo", "Rome")])
    deadline = context.create_timer(context.current_utc_datetime + timedelta(days=1))
    approval = context.wait_for_external_event("Approval")
    context.set_custom_status({"asked": context.custom_status is None})
    winner = yield context.task_any([approval, deadline])
    if winner == approval:
        deadline.cancel()
        seen["approval"] = approval.result
    seen["replaying"] = context.is_replaying
    return seen


@app.route(route="echo", methods=["GET"])
def echo(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(req.params["text"])
