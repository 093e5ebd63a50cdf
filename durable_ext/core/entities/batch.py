"""EntityBatch: the operations of one work item, run one after the other by the runtime; sends nothing itself."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from durable_ext.core.entities.context import EntityContext, OutgoingSignal, OutgoingStart
from durable_ext.core.entities.definitions import EntityDefinition
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import FAILED_OPERATION_TYPE, EntityRequest, EntityResponse
from durable_ext.core.entities.scheduler import Arrivals, Turn
from durable_ext.core.entities.state import EntityState
from durable_ext.core.payloads import PayloadConverter
from durable_ext.failure import exception_text

_SENT_NAMESPACE: Final = uuid.UUID("5f0b2a2e-6a44-5c1c-8d0c-3c1f7d2f9b11")


def sent_id(request_id: str, index: int) -> str:
    """Return the id of the `index`-th thing that an operation sends: the same if the batch has to run again.

    That is how a receiver knows a signal that was sent before a crash and is sent once more.
    """
    return str(uuid.uuid5(_SENT_NAMESPACE, f"{request_id}_{index}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationOutcome:
    """What became of one operation; `error` is the exception of one that failed."""

    request: EntityRequest
    response: EntityResponse
    sent: tuple[OutgoingSignal | OutgoingStart, ...] = ()
    error: BaseException | None = None


class EntityBatch:
    """Open, run and close each of `operations` in order; then commit it with the entity that made it.

    `operations` may be empty: locks and queue may have changed all the same. Used from one thread at a time.
    """

    __slots__ = (
        "_arrivals",
        "_before",
        "_context",
        "_converter",
        "_definition",
        "_entity_id",
        "_open",
        "_original",
        "_outcomes",
        "_rollback",
        "_state",
        "_turn",
    )

    def __init__(
        self,
        *,
        entity_id: EntityId,
        definition: EntityDefinition,
        rollback: bool,
        converter: PayloadConverter,
        state: EntityState,
        arrivals: Arrivals,
        turn: Turn,
    ) -> None:
        self._entity_id, self._definition, self._rollback, self._converter = entity_id, definition, rollback, converter
        self._state, self._arrivals, self._turn = state, arrivals, turn
        self._original = self._before = (state.exists, state.text)
        self._outcomes: list[OperationOutcome] = []
        self._context: EntityContext | None = None
        self._open: EntityRequest | None = None

    @property
    def operations(self) -> Sequence[EntityRequest]:
        """What to run, in order."""
        return self._turn.operations

    @property
    def outcomes(self) -> Sequence[OperationOutcome]:
        """One for each operation that was closed."""
        return self._outcomes

    @property
    def failures(self) -> Sequence[OperationOutcome]:
        """The outcomes of operations that failed, for logs."""
        return [outcome for outcome in self._outcomes if outcome.error is not None]

    @property
    def unreadable(self) -> Sequence[str]:
        """Why messages were dropped that are no entity messages, for logs."""
        return self._arrivals.unreadable

    @property
    def arrivals(self) -> Arrivals:
        """What came with the messages besides operations."""
        return self._arrivals

    @property
    def turn(self) -> Turn:
        """Operations and lock request of this batch."""
        return self._turn

    @property
    def state(self) -> EntityState:
        """The state after the operations that were closed."""
        return self._state

    def open(self, operation: EntityRequest) -> EntityContext:
        """Return the context to call the entity function with."""
        if self._rollback:
            self._before = (self._state.exists, self._state.text)
        self._open = operation
        self._context = EntityContext(
            entity_id=self._entity_id,
            request=operation,
            state=self._state,
            converter=self._converter,
            start_id=lambda index: sent_id(operation.request_id, index),
            state_type=self._definition.state_type,
            input_type=self._definition.input_type,
        )
        return self._context

    def close(self, outcome: Any = None) -> OperationOutcome:
        """End the open operation with what its function returned, or with the exception it raised.

        A result or state that cannot be serialized fails the operation.
        """
        context, request = self._context, self._open
        if context is None or request is None:
            raise RuntimeError("No operation of this entity batch is open. Call open() before close().")
        self._context = self._open = None
        if isinstance(outcome, BaseException):
            return self._fail(request, context, outcome)
        try:
            result = context.take_result(outcome if self._definition.returns_result else None)
            text = self._converter.to_text(result)
            if self._rollback:
                self._state.settle()
        except (TypeError, ValueError) as error:
            return self._fail(request, context, error)
        return self._record(request, EntityResponse(result=text), tuple(context.take_outgoing()), None)

    def finish(self) -> Sequence[OperationOutcome]:
        """Bring the state's text up to date and return all outcomes.

        Raises:
            RuntimeError: Not every operation was closed.
        """
        if len(self._outcomes) != len(self._turn.operations):
            raise RuntimeError(
                f"{len(self._outcomes)} of {len(self._turn.operations)} operations of '{self._entity_id}' are closed. "
                f"Run all of them, or fail_all(), before the commit."
            )
        try:
            self._state.settle()
        except (TypeError, ValueError) as error:  # only without rollback: there close() finds out
            self._fail_each(self._converter.to_text(exception_text(error)), error)
        return self._outcomes

    def fail_all(self, message: str) -> None:
        """End the batch as the host does at its timeout: every operation fails with this plain text, nothing changes."""
        self._fail_each(message, TimeoutError(message))

    def _fail_each(self, result: str, error: BaseException) -> None:
        exists, text = self._original
        self._state.restore(exists=exists, text=text)
        self._context = self._open = None
        self._outcomes = []
        for request in self._turn.operations:
            self._record(request, EntityResponse(result=result, exception_type=FAILED_OPERATION_TYPE), (), error)

    def _fail(self, request: EntityRequest, context: EntityContext, error: BaseException) -> OperationOutcome:
        sent: tuple[OutgoingSignal | OutgoingStart, ...] = ()
        if self._rollback:
            exists, text = self._before
            self._state.restore(exists=exists, text=text)
        else:
            sent = tuple(context.take_outgoing())
        message = exception_text(error) or repr(error)
        response = EntityResponse(result=self._converter.to_text(message), exception_type=FAILED_OPERATION_TYPE)
        return self._record(request, response, sent, error)

    def _record(
        self,
        request: EntityRequest,
        response: EntityResponse,
        sent: tuple[OutgoingSignal | OutgoingStart, ...],
        error: BaseException | None,
    ) -> OperationOutcome:
        outcome = OperationOutcome(request=request, response=response, sent=sent, error=error)
        self._outcomes.append(outcome)
        return outcome
