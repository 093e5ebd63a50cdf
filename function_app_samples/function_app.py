"""Every sample in one app; `durable start` in the root of the repository serves it."""

from __future__ import annotations

import azure.functions as func
from aggregator.function_app import bp as aggregator
from async_http_api.function_app import bp as async_http_api
from async_orchestrator.function_app import bp as async_orchestrator
from call_http_polling.function_app import bp as call_http_polling
from eternal_orchestration.function_app import bp as eternal_orchestration
from fan_out_fan_in.function_app import bp as fan_out_fan_in
from function_chaining.function_app import bp as function_chaining
from human_interaction.function_app import bp as human_interaction
from monitor.function_app import bp as monitor
from sub_orchestrations.function_app import bp as sub_orchestrations

import durable_ext as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)

for blueprint in (
    aggregator,
    async_http_api,
    async_orchestrator,
    call_http_polling,
    eternal_orchestration,
    fan_out_fan_in,
    function_chaining,
    human_interaction,
    monitor,
    sub_orchestrations,
):
    app.register_functions(blueprint)
