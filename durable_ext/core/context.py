"""OrchestrationContext: what an orchestrator function is called with; its calls become tasks and decisions."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any, Final, TypeVar, Union, overload

from durable_ext.core.call_arguments import check_child_id, check_operation, check_text, checked_entities
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entity_calls import EntityCallTask, EntityLockTask
from durable_ext.core.events import HistoryEvent
from durable_ext.core.http_call import DurableHttpRequest, TokenSource
from durable_ext.core.instance_view import InstanceView
from durable_ext.core.orchestrators import (
    ACTIVITY_KIND,
    ORCHESTRATOR_KIND,
    NameResolver,
    ResultTypeResolver,
    function_name,
    no_result_type,
)
from durable_ext.core.replay import Replay
from durable_ext.core.retry import RetryOptions, check_retry_options
from durable_ext.core.task_chains import HttpPollTask, LongTimer, RetryableTask, http_activity
from durable_ext.core.tasks import (
    ActivityTask,
    EventTask,
    SubOrchestrationTask,
    Task,
    TimerTask,
    WhenAll,
    WhenAny,
    completed_task,
)
from durable_ext.core.timestamps import reachable, ticks_add, ticks_from_datetime
from durable_ext.errors import ArgumentTypeError
from durable_ext.failure import refusal

_RAW_CONTENT: Final = (
    "Invalid use of 'is_raw_str' parameter: 'is_raw_str' is set to 'True' but 'content' is not an instance of type 'str'. "
    "Either set 'is_raw_str' to 'False', or ensure your 'content' is of type 'str'."
)
R = TypeVar("R")
FunctionReference = Union[str, Callable[..., Any]]
"""A name, or the decorated function."""
OrchestratorResult = Union[Generator[Any, Any, R], Coroutine[Any, Any, R]]

_PLAIN: Final = frozenset({str, bool, type(None)})


class OrchestrationContext(InstanceView):
    """The orchestration as its own code sees it. Everything here is deterministic: the same at every replay.

    Methods that return a task record nothing until the task is yielded (or awaited), alone or inside `task_all` or
    `task_any`. After the engine has let go of an instance, calls on its context do nothing.

    Source: specs/sdk.md 2.4. Additions to 1.7.0 are keyword-only.
    """

    __slots__ = ("_resolve_name", "_resolve_type", "_to_text")

    def __init__(
        self,
        replay: Replay,
        *,
        histories: Sequence[HistoryEvent] = (),
        expected_type: Any = None,
        resolve_name: NameResolver = function_name,
        resolve_type: ResultTypeResolver = no_result_type,
        function_context: Any = None,
    ) -> None:
        super().__init__(replay, histories=histories, expected_type=expected_type, function_context=function_context)
        self._resolve_name = resolve_name
        self._resolve_type = resolve_type
        self._to_text = replay.converter.to_text
        replay.bind(self)

    # Activities and sub-orchestrations.

    @overload
    def call_activity(self, name: FunctionReference, input_: Any = None, *, expected_type: type[R]) -> Task[R]: ...
    @overload
    def call_activity(self, name: Callable[..., Coroutine[Any, Any, R]], input_: Any = None) -> Task[R]: ...
    @overload
    def call_activity(self, name: Callable[..., R], input_: Any = None) -> Task[R]: ...
    @overload
    def call_activity(self, name: str, input_: Any = None, expected_type: Any = None) -> Task[Any]: ...
    def call_activity(self, name: Any, input_: Any = None, expected_type: Any = None) -> Task[Any]:
        """Return a task that runs an activity.

        Args:
            name: Its name, or the decorated function.
            input_: Any serializable value; serialized now, so that later changes have no effect.
            expected_type: Decode the result into this type; otherwise what the function's annotation promises.

        Raises:
            ValueError: `name` is a function that is no activity.
            TypeError: The input cannot be serialized.
        """
        if name.__class__ is not str or not name:
            name, expected_type = self._referenced(name, ACTIVITY_KIND, expected_type)
        # What cannot change and always has a text gets it only if the call is new.
        text = None if input_.__class__ in _PLAIN else self._to_text(input_)
        return ActivityTask(name, input_, text, expected_type)

    @overload
    def call_activity_with_retry(
        self, name: FunctionReference, retry_options: RetryOptions, input_: Any = None, *, expected_type: type[R]
    ) -> Task[R]: ...
    @overload
    def call_activity_with_retry(
        self, name: Callable[..., Coroutine[Any, Any, R]], retry_options: RetryOptions, input_: Any = None
    ) -> Task[R]: ...
    @overload
    def call_activity_with_retry(
        self, name: Callable[..., R], retry_options: RetryOptions, input_: Any = None
    ) -> Task[R]: ...
    @overload
    def call_activity_with_retry(
        self, name: str, retry_options: RetryOptions, input_: Any = None, expected_type: Any = None
    ) -> Task[Any]: ...
    def call_activity_with_retry(
        self, name: Any, retry_options: RetryOptions, input_: Any = None, expected_type: Any = None
    ) -> Task[Any]:
        """Return a task that runs an activity, again if it fails; see `call_activity` and `RetryOptions`."""
        check_retry_options("call_activity_with_retry", retry_options, self._replay.options.max_timer)
        attempt = self.call_activity(name, input_, expected_type)
        assert isinstance(attempt, ActivityTask)
        return RetryableTask(attempt, retry_options)

    @overload
    def call_sub_orchestrator(
        self,
        name: Callable[..., OrchestratorResult[R]],
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
    ) -> Task[R]: ...
    @overload
    def call_sub_orchestrator(
        self,
        name: str,
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
        expected_type: Any = None,
    ) -> Task[Any]: ...
    def call_sub_orchestrator(
        self,
        name: Any,
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
        expected_type: Any = None,
    ) -> Task[Any]:
        """Return a task that runs another orchestrator as a child.

        Args:
            name: Its name, or the decorated function.
            input_: As for `call_activity`.
            instance_id: Of the child, not used before; none or empty = one is made up.
            version: What the child sees as its version.
            expected_type: As for `call_activity`.

        Raises:
            ValueError: The instance id is this instance's, its parent's, or an entity's.
            LockingRulesError: Entity locks are held.
        """
        self._replay.entities.section.check_sub_orchestration()
        if instance_id is not None:
            check_text("call_sub_orchestrator", "instance_id", instance_id, "a text, or None for an id that is made up")
            if instance_id:
                check_child_id(instance_id, (self.instance_id, self.parent_instance_id), self._histories)
        if version is not None:
            check_text("call_sub_orchestrator", "version", version, 'a text, as "1.0", or None')
        if name.__class__ is not str or not name:
            name, expected_type = self._referenced(name, ORCHESTRATOR_KIND, expected_type)
        text = None if input_.__class__ in _PLAIN else self._to_text(input_)
        return SubOrchestrationTask(
            name, input_, text, instance_id=instance_id, version=version, expected_type=expected_type
        )

    @overload
    def call_sub_orchestrator_with_retry(
        self,
        name: Callable[..., OrchestratorResult[R]],
        retry_options: RetryOptions,
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
    ) -> Task[R]: ...
    @overload
    def call_sub_orchestrator_with_retry(
        self,
        name: str,
        retry_options: RetryOptions,
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
        expected_type: Any = None,
    ) -> Task[Any]: ...
    def call_sub_orchestrator_with_retry(
        self,
        name: Any,
        retry_options: RetryOptions,
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
        expected_type: Any = None,
    ) -> Task[Any]:
        """Return a task that runs a child, again if it fails; a given instance id is used for every attempt."""
        check_retry_options("call_sub_orchestrator_with_retry", retry_options, self._replay.options.max_timer)
        attempt = self.call_sub_orchestrator(name, input_, instance_id, version, expected_type)
        assert isinstance(attempt, SubOrchestrationTask)
        return RetryableTask(attempt, retry_options)

    def _referenced(self, reference: Any, kind: str, expected_type: Any) -> tuple[str, Any]:
        if reference is None or reference == "":
            raise ValueError("function_name cannot be empty")
        name = self._resolve_name(reference, kind)
        return name, self._resolve_type(reference, kind) if expected_type is None else expected_type

    def call_http(
        self,
        method: str,
        uri: str,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        token_source: TokenSource | None = None,
        is_raw_str: bool = False,
        *,
        enable_polling: bool | None = None,
    ) -> Task[Any]:
        """Return a task that makes an HTTP request; it ends with a dict of `statusCode`, `headers`, `content` (text).

        Args:
            method: GET, POST, …
            uri: Absolute http(s) URL.
            content: Body: sent as JSON, also if it is a text.
            headers: Name → value.
            token_source: Where a bearer token comes from.
            is_raw_str: Send `content`, which must be a text, as it is.
            enable_polling: Follow 202 answers to their `Location`; default: yes, under the 1.x import names no.

        Raises:
            TypeError: `is_raw_str` with something else than a text, or content that JSON cannot hold.

        Any status is a result; the task fails only if there is no answer.
        """
        if is_raw_str and not isinstance(content, str):
            raise TypeError(_RAW_CONTENT)
        body = content if is_raw_str or content is None else self._to_text(content)
        options = self._replay.options
        polls = options.fixes if enable_polling is None else enable_polling
        request = DurableHttpRequest(method, uri, body, headers, token_source, enable_polling=polls)
        if polls:
            return HttpPollTask(request, self._http_leg, options.http_poll_interval)
        return self._http_leg(request)

    def _http_leg(self, request: DurableHttpRequest) -> ActivityTask[Any]:
        return http_activity(self._to_text(request.to_json()))

    # Time and events.

    def create_timer(self, fire_at: date | timedelta) -> TimerTask | LongTimer:
        """Return a timer task; cancel it (`task.cancel()`) when it is no longer needed.

        Args:
            fire_at: When, preferably aware, computed from `current_utc_datetime`; or how long from now.

        Raises:
            ValueError: It is neither, or later than the year 9999.
        """
        replay, options = self._replay, self._replay.options
        if isinstance(fire_at, date) and not isinstance(fire_at, datetime):  # its midnight, as in 1.x
            fire_at = datetime(fire_at.year, fire_at.month, fire_at.day, tzinfo=timezone.utc)
        if isinstance(fire_at, timedelta):
            due = ticks_add(replay.now, fire_at)
        elif isinstance(fire_at, datetime):
            # compat: 1.x writes the time as it stands, with a Z (specs/sdk.md 7, row 19).
            due = ticks_from_datetime(fire_at if options.fixes else fire_at.replace(tzinfo=timezone.utc))
        else:
            raise refusal(ValueError("fireAt: Expected valid datetime object but got ", fire_at))
        due, longest = reachable(due), options.max_timer
        if longest is None or due <= ticks_add(replay.now, longest):
            return TimerTask(due)
        return LongTimer(
            due,
            replay.now,
            longest=longest,
            step=options.long_timer_step or longest,
            value=None if options.fixes else [None],
            cancels_hops=options.fixes,
        )

    @overload
    def wait_for_external_event(self, name: str, expected_type: type[R]) -> Task[R]: ...
    @overload
    def wait_for_external_event(self, name: str, expected_type: Any = None) -> Task[Any]: ...
    def wait_for_external_event(self, name: str, expected_type: Any = None) -> Task[Any]:
        """Return a task that ends with the payload of the next event of that name.

        Among several waits for one name the newest gets the event; events that nobody waits for are kept.

        Raises:
            ValueError: The name is empty.
        """
        if not name:
            raise ValueError("external_event_name cannot be empty")
        check_text("wait_for_external_event", "name", name, "the event's name")
        return EventTask(name, expected_type)

    # Entities.

    def call_entity(
        self, entityId: EntityId, operationName: str, operationInput: Any = None, expected_type: Any = None
    ) -> Task[Any]:
        """Return a task that calls an operation of an entity and ends with its result.

        Raises:
            ValueError: No entity id.
            LockingRulesError: Locks are held, but not this entity's, or it still works on a call.
        """
        check_operation("call_entity", entityId, operationName, self._histories)
        entities = self._replay.entities
        entities.section.check_call(entityId)
        return EntityCallTask(entities, entityId, operationName, self._to_text(operationInput), expected_type)

    def signal_entity(
        self,
        entityId: EntityId,
        operationName: str,
        operationInput: Any = None,
        *,
        signal_time: datetime | None = None,
    ) -> Task[Any]:
        """Send an operation to an entity without waiting, at `signal_time` if given; returns a task that has ended.

        Raises:
            ValueError: No entity id.
            LockingRulesError: This orchestration holds the entity's lock.
        """
        check_operation("signal_entity", entityId, operationName, self._histories)
        if signal_time is not None and not isinstance(signal_time, datetime):
            raise ArgumentTypeError("signal_entity", "signal_time", signal_time, "a datetime, or None for at once")
        replay, text = self._replay, self._to_text(operationInput)
        replay.entities.section.check_signal(entityId)
        if replay.detached or replay.next_input is not None:
            return completed_task()
        due = ticks_from_datetime(signal_time) if signal_time is not None else None
        if replay.observer is not None:
            replay.observer.signalled(entityId.instance_id, operationName, text, due)
        replay.entities.signal(replay, entityId, operationName, text, due)
        return completed_task()

    def lock_entities(self, entities: Iterable[EntityId]) -> Task[Any]:
        """Return a task that ends with the locks of all these entities: `with (yield context.lock_entities([a, b])): ...`.

        Raises:
            ValueError: The list is empty.
            LockingRulesError: Locks are held already.
        """
        calls = self._replay.entities
        return EntityLockTask(calls, calls.lock_set(checked_entities("lock_entities", entities, self._histories)))

    # Compounds.

    def task_all(self, activities: Sequence[Task[R]]) -> Task[list[R]]:
        """Return a task that ends with the list of all results, in the given order, or with the first failure."""
        fixes = self._replay.options.fixes
        return WhenAll(_listed(activities), exclusive=not fixes, empty=[] if fixes else None)

    def task_any(self, activities: Sequence[Task[R]]) -> Task[Task[R]]:
        """Return a task that ends with the first of the tasks that ends, failed or not."""
        return WhenAny(_listed(activities), exclusive=not self._replay.options.fixes)

    # The instance itself.

    def continue_as_new(self, input_: Any, *, save_events: bool = False) -> None:
        """End this generation and start the next one with a new input; what is decided afterwards is dropped.

        Args:
            input_: Input of the next generation.
            save_events: Give it the events that arrived and that nobody has waited for; otherwise they are dropped.
        """
        replay = self._replay
        text = self._to_text(input_)
        if replay.detached:
            return
        if replay.observer is not None and replay.next_input is None:
            replay.observer.continued(text)
        replay.next_input = text
        replay.saves_events = save_events


def _listed(tasks: Iterable[Task[R]]) -> Sequence[Task[R]]:
    return tasks if isinstance(tasks, (list, tuple)) else list(tasks)
