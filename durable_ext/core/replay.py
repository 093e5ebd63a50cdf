"""One generation of an orchestration in memory: events go in, the user's code runs on, decisions pile up.

Knows nothing of messages, checkpoints or instance rows. Touched on the orchestrator thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from durable_ext.core.actions import SendEvent
from durable_ext.core.decision_observer import DecisionObserver
from durable_ext.core.event_steps import STEPS, while_held
from durable_ext.core.events import (
    EventRaised,
    ExecutionStarted,
    ExecutionTerminated,
    HistoryEvent,
)
from durable_ext.core.external_events import EventMailbox
from durable_ext.core.matching import Decision, diverged, is_same
from durable_ext.core.messages import InstanceId
from durable_ext.core.misuse import async_generator, no_event_loop, not_a_task, too_many_actions
from durable_ext.core.orchestrators import OrchestratorDefinition, ReplayOptions
from durable_ext.core.tasks import (
    ActivityTask,
    EventTask,
    SubOrchestrationTask,
    Task,
    TaskState,
    TimerTask,
    WhenAll,
    completed_task,
    failed_task,
)
from durable_ext.core.timestamps import MIN_TICKS, Ticks
from durable_ext.errors import NonDeterminismError

if TYPE_CHECKING:
    from durable_ext.core.entity_calls import EntityCalls
    from durable_ext.core.payloads import PayloadConverter

_SUCCEEDED: Final = TaskState.SUCCEEDED
_RUNNING: Final = TaskState.RUNNING


class Replay:
    """The user's function, its open tasks and its undecided decisions. Owned by one `LiveOrchestration`.

    Attributes:
        now: Time of the last OrchestratorStarted, or what user code set.
        is_replaying: Whether the code that runs has run before.
        started: The ExecutionStarted of this generation.
        pending: Decisions not (yet) found in history, by id, in order.
        ended: The user's code is over: it returned, raised, or continued as new.
        over_since: The time in history at which nothing kept the generation open any more; the same at every replay.
        error: What it raised.
        output: What it returned.
        next_input: SDK text of `continue_as_new`, `None` if it was not called.
        carried: Events that arrived after `continue_as_new`.
        terminated: The ExecutionTerminated that ended it.
        suspended: Between ExecutionSuspended and ExecutionResumed.
        held: Suspended or terminated: events have no effect now, or never.
        waiting: Events that came while it was suspended.
        divergence: Set when history and code do not fit; nothing is processed after it.
    """

    __slots__ = (
        "_context",
        "_current",
        "_deferred",
        "_definition",
        "_from_text",
        "_past",
        "_routine",
        "_send",
        "_throw",
        "_verify",
        "cancelled_timers",
        "carried",
        "converter",
        "detached",
        "divergence",
        "ended",
        "entities",
        "error",
        "held",
        "instance_id",
        "is_replaying",
        "mailbox",
        "next_input",
        "now",
        "observer",
        "open_tasks",
        "options",
        "output",
        "over_since",
        "pending",
        "saves_events",
        "sequence",
        "started",
        "suspended",
        "terminated",
        "undone",
        "waiting",
        "was_rewound",
    )

    def __init__(
        self,
        *,
        instance_id: str,
        definition: OrchestratorDefinition,
        converter: PayloadConverter,
        entities: EntityCalls,
        options: ReplayOptions,
        observer: DecisionObserver | None = None,
        verify: bool = True,
        undone: Mapping[int, int] | None = None,
        was_rewound: bool = False,
    ) -> None:
        """`undone`: how often a rewind has undone the entity request with an id.

        `verify=False` replays as the 1.x SDK does, without comparing history and decisions; results that come before
        their task wait for it then."""
        self.instance_id = instance_id
        self.converter = converter
        self.entities = entities
        self.options = options
        self.observer = observer
        self.undone = undone or {}
        self.was_rewound = was_rewound
        self.now: Ticks = MIN_TICKS
        self.is_replaying = True
        self.started: ExecutionStarted | None = None
        self.pending: dict[int, Decision] = {}
        self.open_tasks: dict[int, Any] = {}
        self.cancelled_timers = 0
        self.sequence = 0
        self.mailbox = EventMailbox(as_extension=options.fixes)
        self.ended = False
        self.over_since: Ticks = MIN_TICKS
        self.error: BaseException | None = None
        self.output: Any = None
        self.next_input: str | None = None
        self.saves_events = False
        self.carried: list[EventRaised] = []
        self.terminated: ExecutionTerminated | None = None
        self.suspended = False
        self.divergence: NonDeterminismError | None = None
        self.detached = False
        self._definition = definition
        self._context: Any = None
        self._from_text = converter.from_text
        self._verify = verify
        self._past = True
        self.held = False
        self.waiting: list[HistoryEvent] = []
        self._deferred: dict[int, HistoryEvent] = {}
        self._routine: Generator[Any, Any, Any] | Coroutine[Any, Any, Any] | None = None
        self._current: Task[Any] = Task()
        self._send: Callable[[Any], Any]
        self._throw: Callable[[BaseException], Any]

    @property
    def awaited_together(self) -> int:
        """How many running tasks the code waits for as one; fewer results do not wake it, unless one is a failure."""
        task = self._current
        return task.pending if isinstance(task, WhenAll) else 1

    def bind(self, context: Any) -> None:
        """Set the context that the user's function is called with."""
        self._context = context

    # Feeding events.

    def feed(self, events: Iterable[HistoryEvent], *, past: bool) -> None:
        """Process recorded (`past`) or new events in order and let the user's code run on after each."""
        self._past = past
        if self.divergence is not None:
            return
        steps = STEPS
        try:
            for event in events:
                if self.held:
                    while_held(self, event)
                    continue
                step = steps.get(event.__class__)
                if step is not None:
                    step(self, event)
        except NonDeterminismError as error:
            self.divergence = error

    def begin(self, event: ExecutionStarted) -> None:
        """Call the user's function; a second start changes nothing."""
        if self.started is not None:
            return
        self.started = event
        self.is_replaying = self._past or event.is_played
        try:
            result = self._definition.function(self._context)
        except BaseException as error:  # also SystemExit, KeyboardInterrupt, CancelledError: they end this instance only
            self._fail(error)
            return
        if isinstance(result, (Generator, Coroutine)):
            self._routine = result
            self._send, self._throw = result.send, result.throw
            self._current = completed_task()
            self._resume(event)
        elif hasattr(result, "__aiter__"):
            self._fail(async_generator(self._definition.name))
        else:
            self._return(result)

    def terminate(self, event: ExecutionTerminated) -> None:
        """End without the user's code."""
        self.terminated = event
        self.held = True
        self._end()

    def check(self, event: HistoryEvent, decision: Decision | None) -> None:
        """Compare an event that stands for a decision with what the code decided.

        Raises:
            NonDeterminismError: They are not the same.
        """
        if self._verify and not is_same(event, decision):
            raise diverged(
                event, decision, instance_id=self.instance_id, routine=self._routine, was_rewound=self.was_rewound
            )

    def succeed(self, task: Any, text: str | None) -> None:
        """End a task with a recorded result."""
        if text is None:
            task.succeed(None)
            return
        expected_type = task.expected_type
        try:
            value = self._from_text(text) if expected_type is None else self._from_text(text, expected_type)
        except Exception as error:
            # A result that cannot be decoded is the task's failure, so that user code can catch it (specs/sdk.md 7, row 7).
            task.fail(error)
            return
        task.succeed(value)

    def defer(self, task_id: int, event: HistoryEvent) -> None:
        """Ignore a copy of a result; as the SDK alone, keep a result until its task exists."""
        if not self._verify:
            self._deferred[task_id] = event

    # Opening tasks.

    def schedule(self, task: ActivityTask[Any] | SubOrchestrationTask[Any] | TimerTask) -> None:
        """Give a task the next id and make it a decision and an open task."""
        number = self.sequence
        if number >= self.options.max_actions:
            self._fail(too_many_actions(self.options.max_actions))
            return
        self.sequence = number + 1
        task.id = number
        self.pending[number] = task
        self.open_tasks[number] = task
        if self._deferred and number in self._deferred:
            event = self._deferred[number]
            STEPS[event.__class__](self, event)

    def send(self, target: str, name: str, text: str | None, due: Ticks | None = None) -> int:
        """Decide to send an event to another instance; return its id."""
        number = self.sequence
        if number >= self.options.max_actions and not self.ended:  # lock releases at the end are let through
            self._fail(too_many_actions(self.options.max_actions))
            return number
        self.sequence = number + 1
        self.pending[number] = SendEvent(task_id=number, target=InstanceId(target), name=name, input=text, due=due)
        return number

    def wait_for_event(self, task: EventTask[Any]) -> None:
        """Let a wait have an event that came early, or the next one of its name."""
        event = self.mailbox.wait(task)
        if event is not None:
            self.succeed(task, event.input)

    def timer_cancelled(self, task: TimerTask) -> None:
        """No longer count an open timer as a reason to stay open."""
        if task.id in self.open_tasks:
            self.cancelled_timers += 1

    def hopped(self, timer: TimerTask) -> None:
        """Tell the observer of a further hop of a long timer."""
        if self.observer is not None:
            self.observer.hopped(timer)

    # Running user code.

    def run_on(self, event: HistoryEvent) -> bool:
        """Let user code run on if the event has ended what it waits for; return whether it has."""
        if self._current.state is _RUNNING:
            return False
        self._resume(event)
        return True

    def _resume(self, event: HistoryEvent) -> None:
        """Run user code from its ended current task on until it waits, returns or raises."""
        self.is_replaying = self._past or event.is_played
        task = self._current
        while True:
            try:
                step = self._send(task.result) if task.state is _SUCCEEDED else self._throw(task.result)
            except StopIteration as stop:
                self._return(stop.value)
                return
            except BaseException as error:  # as in _execution_started
                self._fail(error)
                return
            if not isinstance(step, Task):
                task = failed_task(not_a_task(step))
                continue
            if self.next_input is None:
                if self.observer is not None:
                    self.observer.yielded(step)
                step.open(self)
                if self.ended:
                    return
            elif not self._verify:
                step.open(self)  # compat: 1.x goes on with a result that came before (specs/sdk.md 4.12)
            if step.state is _RUNNING:
                if self.next_input is not None:
                    self._end()
                else:
                    self._current = step
                return
            task = step

    def _return(self, output: Any) -> None:
        self.output = output
        self._end()

    def _fail(self, error: BaseException) -> None:
        if not self.ended:
            self.error = no_event_loop(error) if isinstance(self._routine, CoroutineType) else error
            self._end()

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self.over_since = self.now
            self._current = Task()
            self.entities.release(self)

    def close(self) -> BaseException | None:
        """Detach the context and close the user's code; return what it raised while closing."""
        self.detached = True
        self._current = Task()
        self._context = None  # it knows us: without this an ended instance would wait for the cycle collector
        routine, self._routine = self._routine, None
        if routine is not None:
            try:
                routine.close()
            except BaseException as error:  # user code in `finally`; the runtime logs it
                return error
        return None

    @property
    def waits_for_tasks(self) -> bool:
        """Whether something keeps the generation open: tasks, children, timers that are not cancelled."""
        return len(self.open_tasks) > self.cancelled_timers
