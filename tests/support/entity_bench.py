"""A bench for one entity: texts in, episodes out; time stands still unless moved."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.entities.batch import EntityBatch
from durable_ext.core.entities.context import EntityContext
from durable_ext.core.entities.definitions import EntityDefinition, EntityOptions
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.live import EntityEpisode, LiveEntity
from durable_ext.core.entities.messages import EntityRequest, EntityStatus, SchedulerState
from durable_ext.core.events import EventRaised, HistoryEvent
from durable_ext.core.messages import (
    ExecutionId,
    InstanceId,
    OrchestrationInstance,
    OutgoingMessage,
    ReceivedMessage,
    TaskMessage,
)
from durable_ext.core.timestamps import Ticks, ticks_add, ticks_from_iso

CODEC = JsonEntityCodec()
CONVERTER = DataConverter()


def counter(context: EntityContext) -> None:
    """add, get, delete, boom (adds 100, signals, raises)."""
    if context.operation_name == "add":
        context.set_state(context.get_state(lambda: 0) + context.get_input())
        context.set_result(context.get_state())
    elif context.operation_name == "get":
        context.set_result(context.get_state(lambda: 0))
    elif context.operation_name == "delete":
        context.destruct_on_exit()
    elif context.operation_name == "boom":
        context.set_state(context.get_state(lambda: 0) + 100)
        raise ValueError("boom")


class EntityBench:
    """Runs work items of one entity; `reload` makes a new session from what the last episode stored."""

    def __init__(
        self,
        function: Callable[[EntityContext], Any] = counter,
        *,
        instance_id: str = "@counter@one",
        history: tuple[HistoryEvent, ...] = (),
        options: EntityOptions | None = None,
        rollback: bool | None = None,
    ) -> None:
        self.now = ticks_from_iso("2026-11-21T12:00:00Z")
        self.instance_id = InstanceId(instance_id)
        self.definition = EntityDefinition(name="Counter", function=function, rollback=rollback)
        self.options = options or EntityOptions(max_delay=timedelta(days=6), delay_step=timedelta(days=3))
        self.history = history
        self._ids = itertools.count(1)
        self._message_ids = itertools.count(1)
        self.batch: EntityBatch | None = None
        self.reload()

    def reload(self) -> None:
        self.entity = LiveEntity(
            instance=OrchestrationInstance(instance_id=self.instance_id),
            history=self.history,
            definition=self.definition,
            converter=CONVERTER,
            entity_codec=CODEC,
            options=self.options,
            new_execution_id=lambda: ExecutionId(f"execution-{next(self._ids)}"),
        )

    def later(self, span: timedelta) -> None:
        self.now = ticks_add(self.now, span)

    def run(
        self, *requests: EntityRequest | EventRaised, at_most: int | None = None, dies_before_grant: bool = False
    ) -> EntityEpisode:
        """Take requests in as one work item, run what may run, and remember what was committed.

        A lock that takes two commits: both, unless the worker dies between; the episode returned has what both send.
        """
        messages = [self.received(request) for request in requests]
        self.batch = self.entity.begin(messages, lambda: self.now, at_most=at_most)
        for operation in self.batch.operations:
            context = self.batch.open(operation)
            try:
                outcome = self.definition.function(context)
            except Exception as error:
                outcome = error
            self.batch.close(outcome)
        episode = self._commit(self.batch)
        if not self.batch.turn.grants_next or dies_before_grant:
            return episode
        grant = self._commit(self.entity.begin((), lambda: self.now))
        return replace(grant, messages=(*episode.messages, *grant.messages))

    def _commit(self, batch: EntityBatch) -> EntityEpisode:
        episode = self.entity.commit(batch, lambda: self.now)
        if episode.starts_generation:
            self.history = episode.new_events
        return episode

    def received(self, request: EntityRequest | EventRaised) -> ReceivedMessage:
        event = request if isinstance(request, EventRaised) else raised(request, self.now)
        message = TaskMessage(event=event, target=OrchestrationInstance(instance_id=self.instance_id))
        return ReceivedMessage(message_id=f"m{next(self._message_ids)}", message=message)

    @property
    def stored(self) -> SchedulerState:
        started = self.history[1]
        return CODEC.read_state(started.input)  # type: ignore[attr-defined]

    @property
    def state(self) -> str | None:
        return self.stored.state

    @property
    def status(self) -> EntityStatus:
        return EntityStatus(exists=self.stored.exists, queue_size=len(self.stored.queue), locked_by=self.stored.locked_by)


def raised(request: EntityRequest, at: Ticks) -> EventRaised:
    return EventRaised(timestamp=at, name="op", input=CODEC.request_text(request, typed=False))


_numbers = itertools.count(1)


def signal(operation: str, value: Any = None, **changes: Any) -> EntityRequest:
    """A client's signal, with the input as the SDK sends it."""
    text = None if value is None else CONVERTER.wrap_text(CONVERTER.to_text(value))
    request = EntityRequest(
        request_id=f"{next(_numbers):08x}-0000-4000-8000-000000000000", operation=operation, is_signal=True, input=text
    )
    return replace(request, **changes)


def call(operation: str, value: Any = None, *, parent: str = "caller", **changes: Any) -> EntityRequest:
    """An orchestration's call."""
    request = signal(operation, value, is_signal=False, parent=parent, parent_execution=f"{parent}-execution")
    return replace(request, **changes)


def lock(owner: str, *keys: str, **changes: Any) -> EntityRequest:
    """A request for the locks of counters, as it comes to the first one."""
    lock_set = tuple(EntityId("counter", key) for key in keys)
    return replace(call("lock", parent=owner), operation=None, lock_set=lock_set, **changes)


def sent(episode: EntityEpisode) -> list[tuple[str, str, str | None]]:
    """Target, event name and text of each message."""
    return [named(message) for message in episode.messages]


def named(message: OutgoingMessage) -> tuple[str, str, str | None]:
    event = message.message.event
    assert isinstance(event, EventRaised)
    return message.message.target.instance_id, event.name, event.input
