"""Trigger and binding metadata as function indexing sees it (specs/sdk.md 3.3); knows no user function.

`azure.functions` turns the constructor parameters, in order, into the binding dictionary; `None`s are dropped.
"""

from __future__ import annotations

from typing import Final, Literal

from azure.functions.decorators.core import InputBinding, Trigger

ORCHESTRATION_TRIGGER: Final = "orchestrationTrigger"
ACTIVITY_TRIGGER: Final = "activityTrigger"
ENTITY_TRIGGER: Final = "entityTrigger"
DURABLE_CLIENT: Final = "durableClient"

ActivityExecutor = Literal["auto", "thread", "process"]


class OrchestrationTrigger(Trigger):
    """Binding of an orchestrator; `orchestration` is the name it is called by, `None` = the function's name."""

    @staticmethod
    def get_binding_name() -> str:
        return ORCHESTRATION_TRIGGER

    def __init__(self, name: str, orchestration: str | None = None) -> None:
        self.orchestration = orchestration
        super().__init__(name=name)


class ActivityTrigger(Trigger):
    """Binding of an activity; `activity` is the name it is called by.

    `executor` and `legacy` (registered under the old import names) never reach the binding dictionary.
    """

    executor: ActivityExecutor = "auto"
    legacy: bool = False

    @staticmethod
    def get_binding_name() -> str:
        return ACTIVITY_TRIGGER

    def __init__(self, name: str, activity: str | None = None) -> None:
        self.activity = activity
        super().__init__(name=name)


class EntityTrigger(Trigger):
    """Binding of an entity; `entity_name` is the name in its ids."""

    @staticmethod
    def get_binding_name() -> str:
        return ENTITY_TRIGGER

    def __init__(self, name: str, entity_name: str | None = None) -> None:
        self.entity_name = entity_name
        super().__init__(name=name)


class DurableClientInput(InputBinding):
    """Binding of a durable client; hub and connection default to those of host.json."""

    @staticmethod
    def get_binding_name() -> str:
        return DURABLE_CLIENT

    def __init__(self, name: str, task_hub: str | None = None, connection_name: str | None = None) -> None:
        self.task_hub = task_hub
        self.connection_name = connection_name
        super().__init__(name=name)
