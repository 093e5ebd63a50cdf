"""Plays a scenario once for every storage call, which fails or whose answer is lost; the process lives on."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from durable_ext.backends.azure_storage.transport.errors import StorageUnavailableError
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.client.client import DurableClient
from durable_ext.errors import BackendUnavailableError
from durable_ext.runtime.settings import LocalActivities
from durable_ext.testing.faults import FailingTransport, Send, When, is_work
from support.crash_matrix import (
    PATIENCE,
    MortalBackend,
    Scenario,
    Story,
    at_every_call,
    calls_named,
    room_for_runs,
    running_process,
)


class LosingTransport(FailingTransport):
    """The n-th counted call fails, as one whose retries are used up: before it is sent, or after it was carried out."""

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if not self.armed or not self._counts(call):
            return await send()
        self.count += 1
        if self.count != self._n:
            return await send()
        self.killed_at = call
        if self._when is When.AFTER:
            await send()
        raise StorageUnavailableError(
            call=f"{call.verb} {call.resource}", why=f"the test lost it {self._when.value} it was sent"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LossMatrix:
    """Where scenarios are played; `local` are the local activities of the only process."""

    open_backend: Callable[[str, FailingTransport | None], MortalBackend]
    local: LocalActivities

    async def run(self, scenario: Callable[[], Scenario], when: When) -> int:
        """Play it once to the end, then once per storage call; return the number of calls.

        Raises:
            AssertionError: Some runs did not end as they should; the text names the calls.
        """

        async def play(n: int) -> FailingTransport:
            transport = LosingTransport(n, when, is_work)
            with calls_named(transport):
                await self._play(scenario(), transport)
            return transport

        return await at_every_call(play, when, await room_for_runs(self.open_backend))

    async def _play(self, scenario: Scenario, transport: FailingTransport) -> None:
        story = Story()
        backend = self.open_backend(f"Hub{uuid.uuid4().hex[:12]}", transport)
        async with running_process(backend, scenario.registry(story), self.local) as process:
            transport.armed = True
            await asyncio.wait_for(_insist(scenario, process.client, story), PATIENCE.total_seconds())
            transport.armed = False
            story.is_disturbed = transport.killed_at is not None
            await scenario.check(process.client, process.backend, story)


async def _insist(scenario: Scenario, client: DurableClient, story: Story) -> None:
    """Play the client's part again from the first step that was not acknowledged."""
    while True:
        try:
            return await scenario.play(client, story)
        except BackendUnavailableError:
            continue
