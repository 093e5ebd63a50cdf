"""A hub that our worker shares with the model of the .NET worker: what both sides start, and what must be at the end."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final

from azurite import Azurite

from durable_ext.client.client import DurableClient
from durable_ext.core.entities.ids import EntityId
from durable_ext.testing.eventually import eventually
from support.mixed_tasks import Task
from support.provider_model.client import ProviderClient
from support.provider_model.ledger import Ledger
from support.provider_model.live_storage import LiveStorage
from support.provider_model.storage import Row
from support.provider_model.worker import App, ProviderWorker

PATIENCE: Final = timedelta(seconds=60)
_ENDED: Final = ("Completed", "Failed", "Terminated")
_OFTEN: Final = timedelta(milliseconds=50)


@dataclass(slots=True)
class MixedHub:
    """A hub and what was started on it; the clients of both sides send. Use with `async with`.

    Attributes:
        amounts, locked: What counters must have, by key: what was added, and what was set under a lock.
        repeats: Whether a worker was stopped, so that activities may have run again.
        again: What counters may have more, because it was sent twice.
        owners: Every set of owners of the partitions that was seen, in order; it looks all the time.
    """

    ours: DurableClient
    azurite: Azurite
    hub: str
    app: App
    tasks: dict[str, Task] = field(default_factory=dict)
    amounts: Counter[str] = field(default_factory=Counter)
    locked: Counter[str] = field(default_factory=Counter)
    repeats: bool = False
    again: Counter[str] = field(default_factory=Counter)
    owners: list[dict[str, str]] = field(default_factory=list)
    _storage: LiveStorage = field(init=False)
    _watching: asyncio.Future[None] = field(init=False)
    _is_left: bool = False
    _theirs: ProviderClient = field(init=False)

    def __post_init__(self) -> None:
        self._storage = LiveStorage(self.azurite.connection_string, self.hub)
        self._theirs = ProviderClient(ProviderWorker(self._storage, self.hub, self.app, partitions=()))

    async def __aenter__(self) -> MixedHub:
        self._watching = asyncio.ensure_future(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_left = True
        await self._watching  # a call in a thread would open the connection again
        self._storage.close()

    async def _watch(self) -> None:
        while not self._is_left:
            await self.owner_counts()
            await asyncio.sleep(_OFTEN.total_seconds())

    async def start(self, prefix: str, tasks: Sequence[Task], *, from_ours: bool) -> None:
        """Start tasks with the client of one side."""
        for number, task in enumerate(tasks):
            instance_id = f"{prefix}-{number}-{task.orchestrator}"
            self.tasks[instance_id] = task
            self.amounts.update(task.amounts)
            self.locked.update(task.locked)
            if from_ours:
                await self.ours.start(task.orchestrator, task.given, instance_id=instance_id)
            else:
                await asyncio.to_thread(self._theirs.start, task.orchestrator, instance_id, task.given)

    async def tell(self, prefix: str, *, from_ours: bool) -> None:
        """Do what clients do with the tasks of a prefix, each when it is ready for it."""
        for instance_id, task in self.tasks.items():
            if instance_id.startswith(f"{prefix}-"):
                for what, *arguments in task.told:
                    is_ready = partial(self._is_ready, instance_id, what)
                    await eventually(is_ready, f"{what} {instance_id}", within=PATIENCE)
                    await self._tell(instance_id, what, arguments, from_ours=from_ours)

    async def _is_ready(self, instance_id: str, what: str) -> bool:
        status = await self.ours.get_status(instance_id)
        wanted = "Suspended" if what == "resume" else "Running"
        is_other = what == "raise_event"
        return status is not None and (
            status.runtime_status.value == wanted or (is_other and status.runtime_status.value == "Suspended")
        )

    async def _tell(self, instance_id: str, what: str, arguments: Sequence[Any], *, from_ours: bool) -> None:
        if from_ours:
            await getattr(self.ours, what)(instance_id, *arguments)
        else:
            await asyncio.to_thread(getattr(self._theirs, what), instance_id, *arguments)

    async def signal(self, entity: str, operation: str, value: Any, *, from_ours: bool) -> None:
        """Signal an entity (`@name@key`) as a client."""
        if from_ours:
            await self.ours.signal_entity(EntityId(*entity[1:].split("@", 1)), operation, value)
        else:
            await asyncio.to_thread(self._theirs.signal, entity, operation, value)

    async def relay(self, prefix: str, key: str, *, from_ours: bool) -> None:
        """Let entities pass amounts on to counters and start an orchestration."""
        to = [f"{key}-s", f"{key}-a", f"{key}-b", f"{key}-shared"]
        for number in range(3):
            relay = f"@relay@{prefix}-{number}"
            instance_id = f"{prefix}-{number}-started"
            start = {"name": "HelloSequence", "id": instance_id, "input": 2}
            self.tasks[instance_id] = Task(
                orchestrator="HelloSequence",
                given=2,
                output=["Hello Tokyo!", "Hello Seattle!"],
                runs={"Tokyo": 1, "Seattle": 1},
            )
            await self.signal(relay, "forward", {"to": to, "amount": 1000}, from_ours=from_ours)
            await self.signal(relay, "start", start, from_ours=from_ours)
            await self.signal(relay, "forward", {"to": to, "amount": 1000}, from_ours=not from_ours)
            self.amounts.update(dict.fromkeys(to, 2000))

    async def owner_counts(self) -> Counter[str]:
        """Return how many partitions each worker owns, and note who owns which."""
        rows = await asyncio.to_thread(self._storage.rows, "Partitions", "")
        found = {row["RowKey"]: row.get("CurrentOwner") or "" for row, _ in rows}
        if not self.owners or self.owners[-1] != found:
            self.owners.append(found)
        return Counter(found.values())

    async def until_owned(self, wanted: Mapping[str, int]) -> None:
        """Wait until the partitions are shared like this."""

        async def is_so() -> bool:
            return await self.owner_counts() == Counter(wanted)

        await eventually(is_so, f"shares {wanted}", within=PATIENCE, every=_OFTEN)

    async def until_shared(self, counts: Sequence[int]) -> None:
        """Wait until the partitions are shared into so many each, whoever has them."""

        async def is_so() -> bool:
            owned = await self.owner_counts()
            return "" not in owned and sorted(owned.values()) == list(counts)

        await eventually(is_so, f"shares {counts}", within=PATIENCE, every=_OFTEN)

    def moves(self) -> int:
        """Return how often a partition got another owner than its last one."""
        last: dict[str, str] = {}
        moved = 0
        for owners in self.owners:
            for queue, owner in owners.items():
                if owner and last.setdefault(queue, owner) != owner:
                    last[queue], moved = owner, moved + 1
        return moved

    async def until_done(self) -> None:
        """Wait until all tasks have ended and all queues are empty."""
        for instance_id in self.tasks:
            await eventually(partial(self._exists, instance_id), instance_id, within=PATIENCE)
            await self.ours.wait_for_completion(instance_id, timeout=PATIENCE)
        # An answer to a generation that was never written is put back five times, for 62 s in all (8.4).
        await eventually(self._is_quiet, "queues that are empty", within=2 * PATIENCE, every=_OFTEN)

    async def nudge_unfinished(self) -> None:
        """Send an event to every orchestration whose row says that it has not ended."""
        for row, _ in await asyncio.to_thread(self._storage.all_rows, "Instances"):
            if row["RuntimeStatus"] not in _ENDED and not row["PartitionKey"].startswith("@"):
                await asyncio.to_thread(self._theirs.raise_event, row["PartitionKey"], "Nudge", None)

    async def _exists(self, instance_id: str) -> bool:
        return await self.ours.get_status(instance_id) is not None

    async def _is_quiet(self) -> bool:
        return not await asyncio.to_thread(self._left)

    def _left(self) -> list[str]:
        queues = [f"{self.hub.lower()}-workitems", *(f"{self.hub.lower()}-control-{index:02}" for index in range(4))]
        return [queue for queue in queues if self._storage.length(queue)]

    async def wrong(self) -> list[str]:
        """Return what is not as it must be."""
        return await asyncio.to_thread(lambda: list(self._wrong()))

    def _wrong(self) -> Iterator[str]:
        tables = self._theirs_tables
        for instance_id, task in self.tasks.items():
            row = tables.instance_row(instance_id)
            yield from self._wrong_row(instance_id, task, row)
        for row, _ in self._storage.all_rows("Instances"):
            instance_id = row["PartitionKey"]
            if not instance_id.startswith("@"):
                yield from self._wrong_history(instance_id, row)
        for key, amount in (self.amounts + self.locked).items():
            row = tables.instance_row(f"@counter@{key}")
            document = json.loads(tables.payload_of(row, "Input") or "{}") if row is not None else {}
            value = json.loads(document.get("state") or "-1")
            if not amount <= value <= amount + self.again[key] or "queue" in document or "lockedBy" in document:
                yield f"counter {key} should be {amount} or {self.again[key]} more: {document}"

    @property
    def _theirs_tables(self) -> Any:
        return self._theirs._worker.tables

    def _wrong_row(self, instance_id: str, task: Task, row: Row | None) -> Iterator[str]:
        if row is None or row.get("RuntimeStatus") != task.status:
            yield f"{instance_id}: row {row}"
            return
        output = self._theirs_tables.payload_of(row, "Output")
        if task.output is not None and output != task.output and json.loads(output or "null") != task.output:
            yield f"{instance_id}: output {output!r}"

    def _wrong_history(self, instance_id: str, row: Row) -> Iterator[str]:
        history = self._theirs_tables.load(instance_id)
        kinds = Counter(event.kind for event in history.events)
        if kinds["ExecutionStarted"] != 1 or kinds["ExecutionCompleted"] != 1 or history.execution_id != row["ExecutionId"]:
            yield f"{instance_id}: {dict(kinds)}, {history.execution_id} in the row {row}"
        scheduled = [event.event_id for event in history.events if event.kind == "TaskScheduled"]
        answers = [event["TaskScheduledId"] for event in history.events if event.kind in ("TaskCompleted", "TaskFailed")]
        is_right = set(scheduled) == set(answers) if self.repeats else sorted(scheduled) == sorted(answers)
        if not is_right or row["RuntimeStatus"] not in _ENDED:
            yield f"{instance_id}: scheduled {scheduled}, answered {answers}"

    def wrong_runs(self, ours: Sequence[tuple[str, Any]]) -> list[str]:
        """Return which activities ran another number of times (if it `repeats`, fewer times), on both sides together."""
        wanted: Counter[str] = Counter()
        for task in self.tasks.values():
            wanted.update({str(argument): count for argument, count in task.runs.items()})
        ran = Counter(str(argument) for _, argument in [*ours, *self.app.ran])
        wrong = wanted - ran if self.repeats else (wanted - ran) | (ran - wanted)
        return [f"{one}: ran {ran[one]} times, not {wanted[one]}" for one in wrong]

    def allow_sent_again(self, texts: Iterable[str]) -> dict[str, int]:
        """Allow counters what was sent twice; return how much that is.

        An episode that has sent something and could not be stored is played again, and what it sends then are other
        requests (specs/azure-storage.md 8.10). No request is carried out twice; an older one of a sender is dropped (10.6).
        """
        ledger = Ledger(texts)
        sent = {key: sum(ledger.amounts(f"@counter@{key}")) for key in self.amounts}
        self.again = Counter({key: sent[key] - amount for key, amount in self.amounts.items() if sent[key] != amount})
        return dict(self.again)
