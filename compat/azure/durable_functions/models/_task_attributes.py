"""What 1.x keeps of every task and of every compound, on top of the engine's tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from durable_ext.core import tasks
from durable_ext.core.tasks import TaskState


class OfTheEngine(type):
    """Tasks that the engine made are instances of the class with the name that 1.x gave them."""

    engine_classes: tuple[type, ...]

    def __new__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any], **options: Any) -> OfTheEngine:
        made = super().__new__(cls, name, bases, members)
        made.engine_classes = options.get("engine_classes", tuple(base for base in bases if issubclass(base, tasks.Task)))
        return made

    def __init__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any], **options: Any) -> None:
        super().__init__(name, bases, members)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.engine_classes) or type.__instancecheck__(cls, instance)


class TaskAttributes:
    """What 1.x keeps of every task. Adds no storage, so that a task of the engine can become one of these (`as_1x`)."""

    __slots__ = ()

    is_completed: bool
    is_scheduled: bool
    state: TaskState
    _parents: list[Any] | None

    @property
    def is_played(self) -> bool:
        """Whether an earlier episode has played its end."""
        known = self.__dict__
        return bool(known.get("is_played", "_context" in known and self.is_completed))

    @is_played.setter
    def is_played(self, is_played: bool) -> None:
        self.__dict__["is_played"] = is_played

    @property
    def action_repr(self) -> Any:
        """The action that it stands for; a list in schema V1."""
        known = self.__dict__
        if "action_repr" not in known and "_context" in known:
            known["action_repr"] = known["_context"]._actions_of_task(self)
        return known.get("action_repr")

    @action_repr.setter
    def action_repr(self, action: Any) -> None:
        self.__dict__["action_repr"] = action

    @property
    def _expected_output_type(self) -> Any:
        return getattr(self, "expected_type", None)

    def _get_action(self) -> Any:
        action = self.action_repr
        return action[0] if isinstance(action, list) and action else action

    @property
    def parent(self) -> Any:
        """The compound that hears of its end."""
        parents = self._parents
        return parents[-1] if parents else None

    @parent.setter
    def parent(self, parent: Any) -> None:
        self._parents = None if parent is None else [parent]

    @property
    def _is_scheduled(self) -> bool:
        return bool(self.is_scheduled)

    @property
    def _is_scheduled_flag(self) -> bool:
        return bool(self.is_scheduled)

    def _set_is_scheduled(self, is_scheduled: bool) -> None:
        self.is_scheduled = is_scheduled

    def set_is_played(self, is_played: bool) -> None:
        """Set whether an earlier episode has played its end."""
        self.is_played = is_played

    @property
    def _api_name(self) -> str:
        action = self.action_repr
        if isinstance(action, list) and len(action) == 1:
            action = action[0]
        return type(action).__name__

    def propagate(self) -> None:
        """Tell the compounds that it has ended."""
        for parent in tuple(self._parents or ()):
            parent.child_completed(self)

    def change_state(self, state: TaskState) -> None:
        """Set the state.

        Raises:
            ValueError: Back to RUNNING.
        """
        if state is TaskState.RUNNING:
            raise ValueError("Cannot change Task to the RUNNING state.")
        self.state = state

    def set_value(self, is_error: bool, value: Any) -> None:
        """End the task and tell its compounds.

        Raises:
            TypeError: An error that is no exception.
        """
        error = getattr(value, "result", value)  # a failed task stands for its exception
        if not is_error:
            self.succeed(value)
        elif isinstance(error, BaseException):
            self.fail(error)
        else:
            raise TypeError(f"Task ID {self.id} failed but it's value was not an Exception")


class CompoundAttributes:
    """What 1.x keeps of every compound."""

    __slots__ = ()

    children: Sequence[tasks.Task[Any]]

    @property
    def _is_scheduled(self) -> bool:
        return all(child.is_scheduled for child in self.children)

    @property
    def pending_tasks(self) -> set[Any]:
        """The children that run."""
        return {child for child in self.children if not child.is_completed}

    @property
    def completed_tasks(self) -> list[Any]:
        """The children that have ended."""
        return [child for child in self.children if child.is_completed]

    @property
    def _first_error(self) -> BaseException | None:
        return next((child.result for child in self.children if child.is_failed), None)

    def handle_completion(self, child: tasks.Task[Any]) -> None:
        """Take notice of a child that has ended.

        Raises:
            ValueError: It is no child of this.
        """
        if all(each is not child for each in self.children):
            raise ValueError(f"Parent Task {self.id} does not have pending sub-task with ID {child.id}.")  # type: ignore[attr-defined]
        self.try_set_value(child)

    def try_set_value(self, child: tasks.Task[Any]) -> None:
        """End if the child's end ends this."""
        self.child_completed(child)  # type: ignore[attr-defined]
