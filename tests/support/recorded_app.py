"""The functions behind the recorded requests of `tests/compat/out_of_proc`: orchestrators and the counter entity."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.retry import RetryOptions


def HelloSequence(context):
    out = []
    for city in ["Tokyo", "Seattle", "London"]:
        out.append((yield context.call_activity("SayHello", city)))
    return out


def FanOut(context):
    return (yield context.task_all([context.call_activity("SayHello", f"City{i}") for i in range(3)]))


def CatchFail(context):
    try:
        yield context.call_activity("Boom", {"x": 1})
    except Exception:
        return "caught"


def Failing(context):
    yield context.call_activity("SayHello", "before")
    raise ValueError("orchestrator threw")


def FailedChain(context):
    return (yield context.call_activity("Boom", None))


def Retry(context):
    return (yield context.call_activity_with_retry("Flaky", RetryOptions(1000, 3), context.instance_id))


def RetryGivesUp(context):
    retry = RetryOptions(500, 2)
    try:
        yield context.task_all(
            [context.call_activity_with_retry("Boom", retry, "again"), context.call_activity("SayHello", "sibling")]
        )
    except Exception:
        pass
    return (yield context.call_activity("SayHello", "after"))


def Timer(context):
    yield context.create_timer(context.current_utc_datetime + timedelta(seconds=2))
    return "fired"


def LongTimer(context):
    yield context.create_timer(context.current_utc_datetime + timedelta(days=7))


def WaitEvent(context):
    context.set_custom_status("waiting")
    return (yield context.wait_for_external_event("Approval"))


def EarlyEvent(context):
    yield context.create_timer(context.current_utc_datetime + timedelta(seconds=4))
    return (yield context.wait_for_external_event("Approval"))


def TwoEvents(context):
    first = yield context.task_all([context.wait_for_external_event("A"), context.wait_for_external_event("B")])
    second = yield context.wait_for_external_event("A")
    return [first, second]


def EventOrTimer(context):
    event = context.wait_for_external_event("Approval")
    timer = context.create_timer(context.current_utc_datetime + timedelta(hours=1))
    winner = yield context.task_any([event, timer])
    if winner is event:
        timer.cancel()
        return (yield context.call_activity("SayHello", event.result))
    return "timeout"


def SubOrch(context):
    first = yield context.call_sub_orchestrator("Child", {"n": 1})
    second = yield context.call_sub_orchestrator("Child", {"n": 2}, context.instance_id + "-child")
    return [first, second]


def Child(context):
    return {
        "id": context.instance_id,
        "parent": context.parent_instance_id,
        "got": context.get_input(),
        "said": (yield context.call_activity("SayHello", "child")),
    }


def SubFail(context):
    try:
        yield context.call_sub_orchestrator("ChildFail", None, context.instance_id + "-child")
    except Exception:
        return "caught"


def SubRetry(context):
    try:
        yield context.call_sub_orchestrator_with_retry("ChildFail", RetryOptions(500, 2), "again")
    except Exception:
        return "gave up"


def ChildFail(context):
    yield context.call_activity("Boom", "child")


def Eternal(context):
    n = context.get_input()
    context.set_custom_status({"left": n})
    yield context.call_activity("SayHello", f"round{n}")
    if n > 0:
        context.continue_as_new(n - 1)
    else:
        return "finished"


def Status(context):
    context.set_custom_status({"stage": 1, "text": "håller på"})
    yield context.call_activity("SayHello", "status")
    context.set_custom_status([1, "två", None])
    yield context.wait_for_external_event("Go")
    return "ok"


def StatusCleared(context):
    context.set_custom_status("early")
    yield context.call_activity("SayHello", "status")
    context.set_custom_status(0)
    yield context.wait_for_external_event("Go")
    return "ok"


def CallHttp(context):
    server = "http://127.0.0.1:26081"
    headers = {"Content-Type": "application/json", "X-Test": "1"}
    get = yield context.call_http("GET", f"{server}/ok")
    post = yield context.call_http("POST", f"{server}/echo", content={"name": "Åsa"}, headers=headers)
    missing = yield context.call_http("GET", f"{server}/missing")
    return [get["statusCode"], get["content"], post["content"], missing["statusCode"]]


def CallHttp202(context):
    response = yield context.call_http("GET", "http://127.0.0.1:26081/accepted")
    return response["statusCode"]


def AskCounter(context):
    counter = EntityId("Counter", context.get_input())
    context.signal_entity(counter, "add", 3)
    total = yield context.call_entity(counter, "add", 4)
    try:
        yield context.call_entity(counter, "zap")
    except Exception as error:
        text = str(error)
    return [total, text, (yield context.call_entity(counter, "get"))]


def Terminated(context):
    yield context.wait_for_external_event("Never")


def Echo(context):
    return (yield context.call_activity("Echo1", context.get_input()))


def Rewound(context):
    yield context.call_activity("SayHello", "before")
    return (yield context.call_activity("Flaky", context.instance_id))


def UnknownActivity(context):
    yield context.call_activity("NoSuchActivity", 1)
    return "unreachable"


def counter(context: Any) -> None:
    operation = context.operation_name
    if operation == "add":
        context.set_state((context.get_state() or 0) + context.get_input())
        context.set_result(context.get_state())
    elif operation == "slow":
        context.set_state((context.get_state() or 0) + 1)
        context.set_result(context.get_state())
    elif operation == "get":
        context.set_result(context.get_state())
    elif operation == "delete":
        context.destruct_on_exit()
    else:
        raise ValueError(f"unknown operation {operation}")


ORCHESTRATORS: dict[str, Callable[[Any], Any]] = {
    function.__name__: function
    for function in (
        HelloSequence,
        FanOut,
        CatchFail,
        Failing,
        FailedChain,
        Retry,
        RetryGivesUp,
        Timer,
        LongTimer,
        WaitEvent,
        EarlyEvent,
        TwoEvents,
        EventOrTimer,
        SubOrch,
        Child,
        SubFail,
        SubRetry,
        ChildFail,
        Eternal,
        Status,
        StatusCleared,
        CallHttp,
        CallHttp202,
        AskCounter,
        Terminated,
        Echo,
        Rewound,
        UnknownActivity,
    )
}
