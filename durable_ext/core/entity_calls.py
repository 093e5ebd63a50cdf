"""What one orchestration generation says to entities: calls, signals, locks, and whose answer an event is.

Rules and forms: specs/execution-semantics.md 12, specs/azure-storage.md 10.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from durable_ext.core.entities.codec_port import EntityCodec
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.locks import CriticalSection, lock_order
from durable_ext.core.entities.messages import (
    NO_STAMP,
    OPERATION_EVENT,
    RELEASE_EVENT,
    EntityRequest,
    EntityResponse,
    Stamp,
    delayed_event_name,
)
from durable_ext.core.entities.sorter import MessageSorter
from durable_ext.core.events import EventRaised, EventSent
from durable_ext.core.ids import asked_again_id, entity_request_id
from durable_ext.core.orchestrators import ReplayOptions
from durable_ext.core.payloads import PayloadConverter
from durable_ext.core.tasks import Task
from durable_ext.core.timestamps import Ticks, ticks_add
from durable_ext.errors import TaskFailedError

if TYPE_CHECKING:
    from durable_ext.core.replay import Replay

T = TypeVar("T")
_NO_WINDOW: Final = timedelta(0)
_NO_STAMPS: Final = (NO_STAMP, NO_STAMP)


class EntityCallTask(Task[T]):
    """A call of an entity's operation; `text` is the SDK text of its input."""

    __slots__ = ("_calls", "entity", "expected_type", "operation", "request_id", "text")

    def __init__(self, calls: EntityCalls, entity: EntityId, operation: str, text: str, expected_type: Any) -> None:
        super().__init__()
        self._calls = calls
        self.entity = entity
        self.operation = operation
        self.text = text
        self.expected_type = expected_type
        self.request_id = ""

    def open(self, replay: Replay) -> None:
        if not self.is_scheduled:
            self.is_scheduled = True
            self._calls.call(self, replay)


class EntityLockTask(Task["EntityLock"]):
    """A wait for the locks of a set of entities."""

    __slots__ = ("_calls", "lock_set", "request_id")

    def __init__(self, calls: EntityCalls, lock_set: tuple[EntityId, ...]) -> None:
        super().__init__()
        self._calls = calls
        self.lock_set = lock_set
        self.request_id = ""

    def open(self, replay: Replay) -> None:
        if not self.is_scheduled:
            self.is_scheduled = True
            self._calls.lock(self, replay)


class EntityLock:
    """A held critical section: `with (yield context.lock_entities([a, b])): ...`; leaving it releases the locks."""

    __slots__ = ("_calls", "_replay", "_request_id", "lock_set")

    def __init__(self, calls: EntityCalls, replay: Replay, task: EntityLockTask) -> None:
        self._calls, self._replay = calls, replay
        self._request_id, self.lock_set = task.request_id, task.lock_set

    def release(self) -> None:
        """Release these locks now; a second call does nothing, nor does one in a later section."""
        self._calls.release(self._replay, self._request_id)

    def __enter__(self) -> EntityLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


class EntityCalls:
    """Requests of one generation and their open answers; used from the orchestrator thread only."""

    __slots__ = ("_answers", "_by_number", "_codec", "_converter", "_counter", "_options", "_sorter", "_undone", "section")

    def __init__(self, *, codec: EntityCodec, converter: PayloadConverter, options: ReplayOptions) -> None:
        self._codec, self._converter, self._options = codec, converter, options
        self._counter = 0
        self._answers: dict[str, tuple[EntityCallTask[Any] | EntityLockTask, Replay]] = {}
        self._by_number: dict[int, EntityCallTask[Any] | EntityLockTask] = {}
        self._undone: set[str] = set()
        self._sorter = MessageSorter(_NO_WINDOW if options.deliver_in_order else options.reorder_window)
        self.section = CriticalSection()

    @property
    def waiting(self) -> dict[str, EntityCallTask[Any] | EntityLockTask]:
        """What waits for an answer, by request id."""
        return {request_id: task for request_id, (task, _) in self._answers.items()}

    # Sending.

    def call(self, task: EntityCallTask[Any], replay: Replay) -> None:
        """Send the request of an opened call and remember whose answer it is."""
        request = self._question(replay, task.entity, operation=task.operation, input=self._converter.wrap_text(task.text))
        self.section.call_started(task.entity)
        self._expect(task, request, replay)

    def signal(self, replay: Replay, entity: EntityId, operation: str, text: str, due: Ticks | None = None) -> None:
        """Send a request that nobody answers; `due` delays its delivery, in hops if it is too far away."""
        stamps = _NO_STAMPS if due is not None else self._sorter.stamp(entity.instance_id, replay.now)
        text = self._converter.wrap_text(text)
        request = self._request(
            replay, self._new_id(replay), stamps, operation=operation, is_signal=True, input=text, due=due
        )
        payload = self._codec.request_text(request, typed=True)
        if due is None:
            replay.send(entity.instance_id, OPERATION_EVENT, payload)
            return
        longest, step = self._options.max_timer, self._options.long_timer_step
        if longest is not None and due > ticks_add(replay.now, longest):
            due = ticks_add(replay.now, step or longest)
        replay.send(entity.instance_id, delayed_event_name(due), payload, due)

    def lock(self, task: EntityLockTask, replay: Replay) -> None:
        """Send the lock request to the first entity of the set."""
        request = self._question(replay, task.lock_set[0], lock_set=task.lock_set)
        self.section.request(request.request_id, task.lock_set)
        self._expect(task, request, replay)

    def lock_set(self, entities: Iterable[EntityId]) -> tuple[EntityId, ...]:
        """Return the entities of a lock in the order in which they are locked.

        Raises:
            ValueError: There is none.
            LockingRulesError: Locks are held already.
        """
        self.section.check_request()
        return lock_order(entities)

    def release(self, replay: Replay, request_id: str | None = None) -> None:
        """Release the locks of a request; without one, when the orchestrator ends, also those that it still waits for."""
        if replay.detached:
            return
        for entity, release in self.section.release(replay.instance_id, request_id):
            replay.send(entity.instance_id, RELEASE_EVENT, self._codec.release_text(release, typed=True))

    def _new_id(self, replay: Replay) -> str:
        number = self._counter
        self._counter = number + 1
        return entity_request_id(replay.instance_id, replay.now, number)

    def _question(self, replay: Replay, target: EntityId, **asked: Any) -> EntityRequest:
        """Return a request that waits for its answer.

        One that a rewind has undone is another one: of another id, and without stamps, because the entity may have had
        those. Answers to what was undone are nobody's.
        """
        own_id, times = self._new_id(replay), replay.undone.get(replay.sequence, 0)
        stamps = _NO_STAMPS if times else self._sorter.stamp(target.instance_id, replay.now)
        self._undone.update(asked_again_id(own_id, number) for number in range(times))
        return self._request(replay, asked_again_id(own_id, times), stamps, **asked)

    @staticmethod
    def _request(replay: Replay, request_id: str, stamps: tuple[Stamp, Stamp], **members: Any) -> EntityRequest:
        return EntityRequest(
            request_id=request_id,
            parent=replay.instance_id,
            parent_execution=_execution_id(replay),
            timestamp=stamps[0],
            predecessor=stamps[1],
            **members,
        )

    def _expect(self, task: EntityCallTask[Any] | EntityLockTask, request: EntityRequest, replay: Replay) -> None:
        target = task.entity if isinstance(task, EntityCallTask) else task.lock_set[0]
        number = replay.send(target.instance_id, OPERATION_EVENT, self._codec.request_text(request, typed=True))
        task.id = number
        task.request_id = request.request_id
        self._answers[request.request_id] = (task, replay)
        self._by_number[number] = task

    # Hearing.

    def sent(self, event: EventSent) -> None:
        """Take the request id that history has: another worker may have made it by another rule."""
        task = self._by_number.pop(event.event_id, None)
        if task is None or not event.input or task.request_id in event.input:
            return
        try:
            recorded = self._codec.read_request(event.input).request_id
        except ValueError:
            return
        self._answers[recorded] = self._answers.pop(task.request_id)
        self.section.renamed(task.request_id, recorded)
        task.request_id = recorded

    def answered(self, event: EventRaised) -> bool:
        """End the call or lock request whose answer this is; false if it is no answer.

        An answer to what a rewind has undone ends nothing.
        """
        expected = self._answers.pop(event.name, None) if self._answers else None
        if expected is None:
            return event.name in self._undone
        task, replay = expected
        try:
            response = self._codec.read_response(event.input or "")
        except ValueError as error:
            task.fail(error)
            return True
        if isinstance(task, EntityLockTask):
            self.section.granted(task.request_id)
            task.succeed(EntityLock(self, replay, task))
            return True
        self.section.call_ended(task.entity)
        self._end(task, response)
        return True

    def _end(self, task: EntityCallTask[Any], response: EntityResponse) -> None:
        if response.is_failure:
            task.fail(
                TaskFailedError(
                    self._failure_text(response),
                    task_name=f"{task.entity.name}.{task.operation}",
                    reason=response.result,
                    failure=response.failure,
                )
            )
            return
        try:
            value = None if response.result is None else self._converter.from_text(response.result, task.expected_type)
        except Exception as error:  # as any result that cannot be decoded: user code may catch it
            task.fail(error)
            return
        task.succeed(value)

    def _failure_text(self, response: EntityResponse) -> str:
        if response.failure is not None:
            return response.failure.error_message
        try:
            return str(self._converter.from_text(response.result or "null"))
        except ValueError:
            return str(response.result)  # a host's timeout text is no JSON


def _execution_id(replay: Replay) -> str | None:
    return replay.started.instance.execution_id if replay.started is not None else None
