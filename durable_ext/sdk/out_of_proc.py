"""Orchestrator and Entity: functions as the Durable extension calls them, request JSON in, state JSON out.

Source: specs/sdk.md 2.2, 2.3, 5. Byte for byte what azure-functions-durable 1.7.0 answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import azure.functions as func

from durable_ext.sdk.out_of_proc_context import OutOfProcContext
from durable_ext.sdk.out_of_proc_entity import OutOfProcEntityContext, run_batch


class Orchestrator:
    """One orchestrator function, run from the host's request; contexts are of `context_class`.

    `legacy`: on the engine no fix changes the replay of its histories.
    """

    context_class: ClassVar[type[OutOfProcContext]] = OutOfProcContext
    legacy: ClassVar[bool] = False

    def __init__(self, activity_func: Callable[[Any], Any]) -> None:
        self.fn = activity_func
        self.durable_context: OutOfProcContext | None = None

    def handle(self, context: OutOfProcContext) -> str:
        """Replay the orchestration and return its state JSON.

        Raises:
            OutOfProcError: It failed; the text ends with `$OutOfProcData$:` and the state JSON.
        """
        self.durable_context = context
        return context.run(self.fn)

    @classmethod
    def create(cls, fn: Callable[[Any], Any]) -> Callable[[Any], str]:
        """Return the function that the host calls: takes an `OrchestrationContext` or its JSON, returns the state JSON.

        Its attribute `orchestrator_function` is `fn`; `_df_input_type`, if set, decodes the input.
        """

        def handle(context: func.OrchestrationContext) -> str:
            request = cls.context_class.from_json(_body(context))
            request.expect_input(getattr(handle, "_df_input_type", None))
            return cls(fn).handle(request)

        handle.orchestrator_function = fn  # type: ignore[attr-defined]
        handle.legacy = cls.legacy  # type: ignore[attr-defined]
        return handle


class Entity:
    """One entity function, run for a batch of operations from the host's request; contexts are of `context_class`.

    `legacy`: on the engine nothing is rolled back and return values do not count.
    """

    context_class: ClassVar[type[OutOfProcEntityContext]] = OutOfProcEntityContext
    legacy: ClassVar[bool] = False

    def __init__(self, entity_func: Callable[[Any], Any]) -> None:
        self.fn = entity_func

    def handle(self, context: OutOfProcEntityContext, batch: Sequence[Mapping[str, Any]]) -> str:
        """Run the operations in order and return the response JSON.

        Raises:
            InternalEntityError: An operation has no name.
            TypeError: The state cannot be serialized.
        """
        return run_batch(self.fn, context, batch)

    @classmethod
    def create(cls, fn: Callable[[Any], Any]) -> Callable[[Any], str]:
        """Return the function that the host calls: takes an `EntityContext` or its JSON, returns the response JSON.

        Its attribute `entity_function` is `fn`.
        """

        def handle(context) -> str:  # type: ignore[no-untyped-def]  # compat: the parameter has no annotation
            request, batch = cls.context_class.from_json(_body(context))
            return cls(fn).handle(request, batch)

        handle.entity_function = fn  # type: ignore[attr-defined]
        handle.legacy = cls.legacy  # type: ignore[attr-defined]
        return handle


def _body(context: Any) -> Any:
    body = getattr(context, "body", None)
    return context if body is None else body
