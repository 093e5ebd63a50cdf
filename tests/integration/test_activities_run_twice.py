"""An activity that ran twice has two results: only the one that history holds is ever used (design.md 5, I2).

Each activity mints a token that nobody could know before. The first worker can delete no work item, and dies when it has
used the result of one: the item comes back, runs again, and its second result is there before the first one is delivered
again.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from azure_hub import short_settings
from azurite import Azurite
from support.crash_matrix import finished, running_process
from support.functions import registry_of

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.errors import StorageUnavailableError
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import LocalActivities
from durable_ext.testing.faults import FailingTransport, Send, When

pytestmark = pytest.mark.azurite

PATIENCE_SECONDS = 60
FIRST = "-"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an activity: the token it was given, and the one it made."""

    given: str
    token: str


class Dying(FailingTransport):
    """Deletes no work items, and dies before the history that is written after a work item with a second token was sent."""

    def __init__(self, runs: list[Run]) -> None:
        super().__init__(1, When.BEFORE, self._ends_here)
        self._runs, self._has_sent = runs, False

    def _ends_here(self, call: StorageCall) -> bool:
        return self._has_sent and call.verb == "table.batch" and b"History" in call.body

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if call.verb == "queue.delete" and "workitems" in call.resource and not self.died.is_set():
            raise StorageUnavailableError(call=call.verb, why="the test wants it")
        answer = await super().__call__(call, send)
        if call.verb == "queue.put" and "workitems" in call.resource:
            self._has_sent |= any(run.token.encode() in call.body for run in self._runs if run.given != FIRST)
        return answer


def app(runs: list[Run], begins: Callable[[str], Awaitable[None]]) -> FunctionRegistry:
    async def mint(given: str) -> str:
        await begins(given)
        runs.append(Run(given, uuid.uuid4().hex))
        return runs[-1].token

    def chain(context: Any) -> Any:
        tokens = [FIRST]
        for _ in range(3):
            tokens.append((yield context.call_activity("mint", tokens[-1])))
        return tokens[1:]

    def eternal(context: Any) -> Any:
        tokens = context.get_input() or []
        tokens.append((yield context.call_activity("mint", tokens[-1] if tokens else FIRST)))
        if len(tokens) < 3:
            context.continue_as_new(tokens)
        return tokens

    def second_generation(context: Any) -> Any:
        if context.get_input() is None:
            context.continue_as_new("chain")
            return None
        return (yield from chain(context))

    return registry_of(orchestrators=[chain, eternal, second_generation], activities=[mint])


def settings_of(azurite: Azurite, task_hub: str, *, claims: bool = True) -> AzureStorageSettings:
    return short_settings(
        azurite,
        task_hub,
        partition_count=1,
        control_queue_visibility=timedelta(seconds=7),  # a work item comes back first
        work_item_queue_visibility=timedelta(seconds=2),
        lease_interval=timedelta(seconds=3),
        claim_at_enqueue=claims,
        use_app_lease=False,
    )


async def check_that_results_were_used_once(
    azurite: Azurite, task_hub: str, orchestrator: str, local: LocalActivities, *, claims: bool, at_begin: bool = False
) -> None:
    """Let one worker die and another one go on; `at_begin` = it dies when an activity that is given a token begins."""
    runs: list[Run] = []
    dying = Dying(runs)

    async def first_begins(given: str) -> None:
        if at_begin and given != FIRST:
            runs.append(Run(given, "none"))
            dying.died.set()
        if dying.died.is_set():
            await asyncio.Event().wait()

    async def begins(given: str) -> None:
        await asyncio.sleep(0)

    first = AzureStorageBackend(settings_of(azurite, task_hub, claims=claims), interceptor=dying)
    async with running_process(first, app(runs, first_begins), local, dying) as process:
        dying.armed = True
        await process.client.start(orchestrator, instance_id="it")
        await asyncio.wait_for(dying.died.wait(), PATIENCE_SECONDS)
    second = AzureStorageBackend(settings_of(azurite, task_hub))
    async with running_process(second, app(runs, begins), local) as process:
        output = (await finished(process.client, "it")).output

    assert [run for run in runs if run.given != FIRST and run.given not in output] == []
    assert len({run.token for run in runs}) > len(output) == 3


@pytest.mark.parametrize(
    ("orchestrator", "local", "claims"),
    [
        ("chain", "off", False),
        ("eternal", "on", True),
        pytest.param("chain", "off", True, marks=pytest.mark.slow),
        pytest.param("eternal", "off", True, marks=pytest.mark.slow),
        pytest.param("eternal", "off", False, marks=pytest.mark.slow),
        pytest.param("eternal", "on", False, marks=pytest.mark.slow),
    ],
)
async def test_a_result_that_may_have_a_rival_is_stored_before_anything_computed_from_it_is_sent(
    azurite: Azurite, task_hub: str, orchestrator: str, local: LocalActivities, claims: bool
) -> None:
    await check_that_results_were_used_once(azurite, task_hub, orchestrator, local, claims=claims)


async def test_a_result_that_may_have_a_rival_is_stored_before_a_local_activity_that_is_given_it_begins(
    azurite: Azurite, task_hub: str
) -> None:
    await check_that_results_were_used_once(azurite, task_hub, "second_generation", "on", claims=True, at_begin=True)
