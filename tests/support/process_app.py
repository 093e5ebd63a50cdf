"""An app with CPU work: its activity is imported by name in a worker process."""

from __future__ import annotations

import os

import durable_ext as df

app = df.DFApp()


@app.activity_trigger(input_name="count", executor="process")
def burn_cpu(count: int) -> list[int]:
    return [sum(range(count)), os.getpid()]


@app.orchestration_trigger(context_name="context")
async def burn(context: df.DurableOrchestrationContext) -> list[int]:
    return await context.call_activity(burn_cpu, 5)
