"""The plainest thing that is played while processes die: an orchestration that somebody starts, and its known end."""

from __future__ import annotations

from typing import Any

from durable_ext.backends.protocol import Backend
from durable_ext.client.client import DurableClient
from durable_ext.core.events import OrchestrationStatus
from durable_ext.runtime.registry import FunctionRegistry
from support.crash_matrix import Story, check_history, check_runs, finished
from support.functions import registry_of


def greeter(story: Story) -> Any:
    async def say_hello(name: str) -> str:
        story.has_run(name)
        return f"Hello {name}!"

    return say_hello


class OneOrchestration:
    """An instance `main` with a known output; `activities` are the arguments of say_hello."""

    name = ""
    given: Any = None
    output: Any = None
    activities: tuple[str, ...] = ()
    instances: tuple[str, ...] = ("main",)

    def registry(self, story: Story) -> FunctionRegistry:
        return registry_of(orchestrators=self.orchestrators(), activities=[greeter(story)])

    def orchestrators(self) -> list[Any]:
        raise NotImplementedError

    async def play(self, client: DurableClient, story: Story) -> None:
        await story.once("start", lambda: client.start(self.name, self.given, instance_id="main"))
        await finished(client, "main")

    async def check(self, client: DurableClient, backend: Backend, story: Story) -> None:
        status = await client.get_status("main")
        assert status is not None
        assert (status.runtime_status, status.output) == (OrchestrationStatus.COMPLETED, self.output)
        check_runs(story, self.activities)
        for instance_id in self.instances:
            await check_history(backend, instance_id)
