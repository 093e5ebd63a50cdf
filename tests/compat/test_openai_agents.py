"""Agents as orchestrators, with a provider that answers from a list; needs openai-agents (specs/sdk.md 2.22)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import azure.durable_functions as df
import pytest
from support.request_builder import RequestBuilder

from durable_ext.sdk.discovery import collect_durable_functions, result_type
from durable_ext.sdk.function_names import resolve_function_name
from durable_ext.testing.task_hub import run_task_hub

agents = pytest.importorskip("agents", reason="needs pip install ./compat[openai]")

from agents import Agent, Model, ModelProvider, ModelResponse, Runner  # noqa: E402
from agents.usage import Usage  # noqa: E402
from openai.types.responses import (  # noqa: E402
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
RETRY = df.RetryOptions(10, 3)


def says(text: str) -> ResponseOutputMessage:
    content = ResponseOutputText(text=text, type="output_text", annotations=[])
    return ResponseOutputMessage(id="m", content=[content], role="assistant", status="completed", type="message")


def calls(tool: str, **arguments: Any) -> ResponseFunctionToolCall:
    return ResponseFunctionToolCall(
        arguments=json.dumps(arguments), call_id="c1", name=tool, type="function_call", id="f1", status="completed"
    )


class Scripted(Model, ModelProvider):
    """Gives its answers one after the other; an exception is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), []

    def get_model(self, model_name: str | None) -> Model:
        return self

    async def get_response(self, system_instructions: Any, input: Any, *rest: Any, **more: Any) -> ModelResponse:
        self.asked.append(input)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return ModelResponse(output=[answer], usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        raise NotImplementedError


def app_of(provider: ModelProvider, *, weather: Any = "sunny") -> df.DFApp:
    app = df.DFApp()

    @app.activity_trigger(input_name="city")
    async def get_weather(city: str) -> str:
        if isinstance(weather, Exception):
            raise weather
        return f"{city}: {weather}"

    @app.orchestration_trigger(context_name="context")
    @app.durable_openai_agent_orchestrator(model_provider=provider, model_retry_options=RETRY)
    def asks(context: Any) -> Any:
        agent = Agent(
            name="A",
            instructions="Be brief.",
            tools=[context.create_activity_tool(get_weather, retry_options=None)],
        )
        return Runner.run_sync(agent, context.get_input()).final_output

    @app.orchestration_trigger(context_name="context")
    @app.durable_openai_agent_orchestrator(model_provider=provider)
    def mixed(context: Any) -> Any:
        city = yield context.call_activity("get_weather", "Rome")
        answer = Runner.run_sync(Agent(name="A", instructions="x"), f"about {city}").final_output
        return f"{city}|{answer}|{(yield context.call_activity('get_weather', 'Oslo'))}"

    return app


async def output_of(app: df.DFApp, name: str, given: Any, path: Path) -> tuple[str, Any]:
    registry = collect_durable_functions(app.get_functions()).to_registry()
    async with run_task_hub(path / "hub.db", registry, resolve_name=resolve_function_name, resolve_type=result_type) as hub:
        status = await hub.client.wait_for_completion(await hub.client.start(name, given))
        return status.runtime_status.value, status.output


async def test_an_agent_answers(tmp_path: Path) -> None:
    provider = Scripted(says("a haiku"))

    assert await output_of(app_of(provider), "asks", "write", tmp_path) == ("Completed", "a haiku")
    assert provider.asked == [[{"content": "write", "role": "user"}]]


async def test_a_tool_of_an_agent_is_an_activity(tmp_path: Path) -> None:
    provider = Scripted(calls("get_weather", city="Paris"), says("It is sunny."))

    assert await output_of(app_of(provider), "asks", "weather?", tmp_path) == ("Completed", "It is sunny.")
    assert len(provider.asked) == 2
    assert provider.asked[1][-1]["output"] == "Paris: sunny"


async def test_agents_and_plain_activities_mix(tmp_path: Path) -> None:
    provider = Scripted(says("fine"))

    assert await output_of(app_of(provider), "mixed", None, tmp_path) == (
        "Completed",
        "Rome: sunny|fine|Oslo: sunny",
    )


async def test_a_model_call_that_fails_is_tried_again(tmp_path: Path) -> None:
    provider = Scripted(RuntimeError("overloaded"), says("at last"))

    assert await output_of(app_of(provider), "asks", "x", tmp_path) == ("Completed", "at last")


def test_the_first_episode_asks_for_the_model_with_its_input() -> None:
    app = app_of(Scripted())
    handle = next(f for f in app.get_functions() if f.get_function_name() == "asks").get_user_function()

    state = json.loads(handle(RequestBuilder(input='"hi"').text()))

    action = state["actions"][0][0]["compoundActions"][0]
    assert action["functionName"] == "run_model"
    request = json.loads(json.loads(action["input"]))
    assert request["input"] == [{"content": "hi", "role": "user"}]
    assert (request["tracing"], request["system_instructions"]) == (0, "Be brief.")
    assert [tool["name"] for tool in request["tools"]] == ["get_weather"]


def test_a_provider_must_be_one() -> None:
    with pytest.raises(TypeError, match="Provided model provider must be of type ModelProvider"):
        df.DFApp().durable_openai_agent_orchestrator(model_provider=object())


@pytest.mark.parametrize("method", ["run", "run_streamed"])
def test_only_sync_runs_are_possible(method: str) -> None:
    from azure.durable_functions.openai_agents.runner import DurableOpenAIRunner

    with pytest.raises(RuntimeError, match="Durable Functions do not support"):
        getattr(DurableOpenAIRunner(None, "run_model"), method)(Agent(name="A"), "x")
