"""Mistakes that type checkers must find: as many as there are lines marked so."""

from __future__ import annotations

import durable_ext as df

app = df.DFApp()


@app.activity_trigger(input_name="city")
def say_hello(city: str) -> str:
    return city


@app.orchestration_trigger(context_name="context")
async def orchestrator(context: df.DurableOrchestrationContext) -> int:
    result: int = await context.call_activity(say_hello, "x")  # mistake
    context.create_timer("tomorrow")  # mistake
    return result


say_hello(1)  # mistake
