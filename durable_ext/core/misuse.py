"""What orchestrator code is told when it does what an orchestrator must not do; runs no user code."""

from __future__ import annotations

from durable_ext.errors import OrchestrationError


def not_a_task(value: object) -> TypeError:
    """Return the error for waiting for something that is no task."""
    return TypeError(
        f"The orchestrator waits for {value!r}, which is no durable task. Yield (or await) only what the context's methods "
        f"return: call_activity, call_sub_orchestrator, create_timer, wait_for_external_event, call_entity, call_http, "
        f"task_all, task_any. Everything else belongs into an activity."
    )


def async_generator(name: str) -> TypeError:
    """Return the error for an orchestrator that both yields and is an `async def`."""
    return TypeError(
        f"Orchestrator function '{name}' is an async generator. Use either `yield` in a plain function or `await` in an "
        f"`async def`."
    )


def too_many_actions(limit: int) -> OrchestrationError:
    """Return the error for one action more than a generation may have; the text is that of the Durable extension."""
    return OrchestrationError(
        f"Maximum amount of orchestration actions ({limit}) has been reached. This value can be configured in host.json "
        f"file as MaxOrchestrationActions."
    )


def no_event_loop(error: BaseException) -> BaseException:
    """Say what to do instead if an `async def` orchestrator used asyncio; return any other error as it is."""
    if not isinstance(error, RuntimeError) or str(error) != "no running event loop":
        return error
    advice = RuntimeError(
        "no running event loop. An orchestrator has none: it may await only durable tasks, which the context's methods "
        "return. Use context.create_timer() instead of asyncio.sleep(), context.task_all() instead of asyncio.gather(), and "
        "an activity for everything else."
    )
    advice.__cause__ = error
    return advice
